"""What a change of a pool's STATE says of its shortage: it lasts, its first reason is another one, it is over.

A pass writes the shortage that people are told of with everything else that it concludes
(domain/refusals/shortages.py), so each change of it is in the table's stream once, in order, whatever becomes of the
pass or of those who tell.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from lambdas import names
from lambdas.adapters.attributes import decode
from lambdas.adapters.items import alarmed_from, reason_from
from lambdas.domain.commands import with_stack
from lambdas.domain.instants import to_text
from lambdas.domain.reasons import Reason
from lambdas.domain.refusals.shortages import Alarmed
from lambdas.domain.words import several

_SUBJECT_MOST = 100
"""SNS takes ASCII text of so many characters as a subject."""


class Turn(StrEnum):
    LASTS = "lasts"
    REASON_CHANGED = "reason-changed"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortageNews:
    stack: str
    pool: str
    turn: Turn
    at: datetime
    told: Alarmed
    """As it is told of now; of an end, as it was told of last."""
    before: Alarmed | None
    reason: Reason | None
    """The first one now; None: there is none, or the pool is gone."""
    desired: int
    there: int
    """Running and launching."""
    gone: bool = False
    """The pool is no more."""

    def detail(self) -> dict[str, Any]:
        """Of the event, JSON values; an end's class and code are those told last."""
        told, before = self.told, self.before
        changed = before is not None and self.turn is Turn.REASON_CHANGED
        reason = None if self.turn is Turn.ENDED else self.reason
        return {
            **{"stack": self.stack, "pool": self.pool, "status": self.turn.value, "since": to_text(told.since)},
            **{"class": told.reason_class.value, "code": told.code},
            "previous_class": before.reason_class.value if changed and before else None,
            "previous_code": before.code if changed and before else None,
            "message": reason and reason.message,
            "remedy": reason and self._typed(reason.remedy),
            **{"capacity_type": reason and reason.capacity_type, "instance_type": reason and reason.instance_type},
            "availability_zone": reason and reason.availability_zone,
            **{"desired": self.desired, "there": self.there, "command": self._command()},
        }

    def subject(self) -> str:
        """ASCII, at most a hundred characters."""
        about = {
            Turn.LASTS: f"lacks {several(max(1, self.desired - self.there), 'instance')}: {self.told.reason_class}",
            Turn.REASON_CHANGED: f"still lacks capacity, now for another reason: {self.told.reason_class}",
            Turn.ENDED: "lacks nothing any more",
        }[self.turn]
        return f"{self.stack}: pool {self.pool} {about}"[:_SUBJECT_MOST]

    def text(self) -> str:
        """What a person reads, a paragraph each: what it is, why, what to do, the command."""
        return "\n\n".join([self._situation(), *self._cause(), self._further()]) + "\n"

    def _situation(self) -> str:
        since = f"since {self.told.since:%Y-%m-%d %H:%M} UTC ({_period(self.at - self.told.since)})"
        has = f"has {self.there} of the {several(self.desired, 'instance')} that it wants"
        if self.turn is not Turn.ENDED:
            return f"Pool {self.pool} of stack {self.stack} {has}, {since}."
        over = f"The shortage of pool {self.pool} of stack {self.stack} is over: it lacked capacity {since}."
        if self.gone:
            return f"{over} The pool is no more."
        if self.reason is not None and self.desired > self.there:
            return f"{over} What is missing now is missing by its owner's own setting: {self.reason.message}."
        return f"{over} It {has} now."

    def _cause(self) -> list[str]:
        if self.turn is Turn.ENDED or self.reason is None:
            return []
        before = f" Until now: {self.before.reason_class}, {self.before.code}." if self.before else ""
        why = f"Why: {self.reason.message} ({self.told.reason_class}, {self.told.code}).{before}"
        return [why, f"What to do: {self._typed(self.reason.remedy)}"]

    def _further(self) -> str:
        if self.turn is Turn.ENDED:
            return f"Nothing is to be done. More: {self._command()}"
        return (
            f"Every reason with its numbers and its next try: {self._command()}\n"
            "You are told again when the first reason changes, and when it is over."
        )

    def _command(self) -> str:
        return self._typed(f"lowtide why {self.pool}")

    def _typed(self, text: str) -> str:
        """With the stack named in every command, unless it is the default one."""
        return with_stack(text, self.stack, names.STACK)


def shortage_news(record: Mapping[str, Any], stack: str) -> ShortageNews | None:
    """What the record of a STATE says; None: nothing that is told of changed in it."""
    told = record["dynamodb"]
    new, old = _image(told, "NewImage"), _image(told, "OldImage")
    now_told, before = _alarmed(new), _alarmed(old)
    if now_told is None:
        known, turn = before, Turn.ENDED
    else:
        known = now_told
        same = before is not None and before.since == now_told.since
        turn = Turn.REASON_CHANGED if same else Turn.LASTS
    if known is None or now_told == before:
        return None
    summary = new.get("summary", {})
    return ShortageNews(
        stack=stack,
        pool=str((new or old)["pk"]).removeprefix("POOL#"),
        turn=turn,
        at=datetime.fromtimestamp(float(told["ApproximateCreationDateTime"]), tz=UTC),
        told=known,
        before=before if turn is Turn.REASON_CHANGED else None,
        reason=next(map(reason_from, new.get("reasons", ())), None),
        desired=int(summary.get("desired", 0)),
        there=int(summary.get("running", 0)) + int(summary.get("launching", 0)),
        gone=not new,
    )


def _image(told: Mapping[str, Any], name: str) -> dict[str, Any]:
    return decode(told[name]) if name in told else {}


def _alarmed(state: Mapping[str, Any]) -> Alarmed | None:
    return alarmed_from(state.get(names.ATTRIBUTE_ALARMED))


def _period(lasted: timedelta) -> str:
    """`45 seconds`, `12 minutes`, `3 hours`: in the largest whole unit of which there are two or more."""
    seconds = max(0, int(lasted.total_seconds()))
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return several(seconds // size, unit)
    return several(seconds, "second")
