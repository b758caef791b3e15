"""What became of an action: a value, whatever happened. One action's failure is an outcome, not the end of the pass."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from lambdas.domain.reasons import Reason


class Result(StrEnum):
    DONE = "done"
    NOTHING = "nothing"
    """The world had moved on: there was nothing left to do."""
    REFUSED = "refused"
    """EC2 answered no, to all or to a part."""
    LOST = "lost"
    """No answer came: what EC2 did is not known yet."""
    THROTTLED = "throttled"
    """The stack's share of EC2's request rate is used up; no call was made."""
    POSTPONED = "postponed"
    """The function's time is nearly over; no call was made."""
    SUPERSEDED = "superseded"
    """A later pass of the pool has begun; this one decides nothing any more."""
    FAILED = "failed"
    """An AWS call failed; the next pass decides again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    action: str
    why: str
    result: Result
    detail: str = ""
    decision: str | None = None
    """The decision id that what was launched is tagged with."""
    launched: tuple[str, ...] = ()
    """Instance ids that came as asked for."""
    in_flight: int = 0
    """Instances that an unanswered call may have launched."""
    ended: tuple[str, ...] = ()
    """Instance ids that EC2 accepted to end for the first time."""
    reasons: tuple[Reason, ...] = ()
    refused_classes: tuple[str, ...] = ()
    """The reason classes of a launch's refusals, each once."""
    unknown_codes: tuple[str, ...] = ()
    again: bool = False
    """True: another pass is worth asking for at once."""
    due: datetime | None = None
    """When to look at the pool again on account of this outcome."""

    def document(self) -> dict[str, Any]:
        """For the log line and the stored decision: what is empty is left out."""
        told = {
            **{"action": self.action, "why": self.why, "result": str(self.result), "detail": self.detail},
            **{"decision": self.decision, "launched": list(self.launched), "ended": list(self.ended)},
            **{"in_flight": self.in_flight, "codes": [reason.code for reason in self.reasons]},
        }
        return {name: value for name, value in told.items() if value}


def soonest(instants: Iterable[datetime | None]) -> datetime | None:
    return min((instant for instant in instants if instant is not None), default=None)
