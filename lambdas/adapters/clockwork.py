"""The tick's own records: its lease, the pages of an observation under way, the last complete observation.

STACK/TICK: `{"holder": "…", "held_until": instant, "observing": instant, "unseen": ["i-…"], "busy": true}`.
`holder` is empty after a tick that came to its end; a name that is still there says that the tick of that name did not.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from lambdas.adapters import keys
from lambdas.adapters.table import Conflict, Table
from lambdas.domain.instants import from_text, to_text

_NOBODY = ""
_PAGES_KEPT = timedelta(days=1)
"""TTL of an abandoned observation's pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What one tick leaves to the next."""

    missing: frozenset[str] = frozenset()
    """Recorded instances that the last complete observation did not list."""
    busy: bool = False
    """There was a pool that was not at rest, or an instance."""
    observing: datetime | None = None
    """Start of an observation of several pages that is not complete; None: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The lease, and what was found with it."""

    holder: str
    memory: Memory
    unfinished: bool
    """True: the tick before did not come to its end, so it may have changed records without telling their pools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an observation has come."""

    started_at: datetime
    pages: int = 0
    next_token: str | None = None
    """Where the next page begins; None: at the first."""
    seen: frozenset[str] = frozenset()
    """Ids on the pages so far."""


class Clockwork:
    def __init__(self, table: Table) -> None:
        self._table = table

    # --- the lease ---

    def take(self, holder: str, *, now: datetime, until: datetime) -> Taken | None:
        """Take the tick's lease up to `until`; None: another tick holds it."""
        try:
            item = self._table.update(
                keys.STACK,
                keys.TICK,
                "SET previous = if_not_exists(holder, :nobody), holder = :me, held_until = :until",
                condition="attribute_not_exists(held_until) OR held_until <= :now",
                values={":nobody": _NOBODY, ":me": holder, ":until": to_text(until), ":now": to_text(now)},
            )
        except Conflict:
            return None
        observing = item.get("observing")
        return Taken(
            holder=holder,
            memory=Memory(
                missing=frozenset(item.get("unseen", ())),
                busy=item.get("busy", False),
                observing=None if observing is None else from_text(observing),
            ),
            unfinished=item["previous"] != _NOBODY,
        )

    def release(self, holder: str, memory: Memory, *, now: datetime) -> bool:
        """Give the lease back at the end of a tick's work; False: it had run out and another tick has it."""
        observing = memory.observing
        return self._write(
            holder,
            "SET holder = :nobody, held_until = :now, unseen = :unseen, busy = :busy"
            + (", observing = :observing" if observing else " REMOVE observing"),
            **{":nobody": _NOBODY, ":now": to_text(now)},
            **{":unseen": sorted(memory.missing), ":busy": memory.busy},
            **({":observing": to_text(observing)} if observing else {}),
        )

    def abandon(self, holder: str, *, now: datetime, anew: bool) -> bool:
        """Let the next tick begin at once after a failure; it will know that this one did not come to its end.

        `anew`: it is not to go on from this one's pages (EC2 may refuse their token for ever)."""
        return self._write(
            holder, f"SET held_until = :now{' REMOVE observing' if anew else ''}", **{":now": to_text(now)}
        )

    def _write(self, holder: str, expression: str, **values: object) -> bool:
        try:
            self._table.update(
                keys.STACK,
                keys.TICK,
                expression,
                condition="holder = :me",
                values={":me": holder, **values},
            )
        except Conflict:
            return False
        return True

    # --- an observation of several pages ---

    def resume(self, started_at: datetime) -> Progress:
        """How far the observation that began then has come; nowhere if its pages are dropped or being dropped."""
        pages = list(self._table.query(keys.pages(started_at)))
        if not pages or pages[0]["sk"] != keys.page(1):
            return Progress(started_at=started_at)
        return Progress(
            started_at=started_at,
            pages=len(pages),
            next_token=pages[-1]["next_token"],
            seen=frozenset(instance_id for page in pages for instance_id in page["instance_ids"]),
        )

    def keep_page(self, holder: str, progress: Progress, instance_ids: frozenset[str]) -> bool:
        """Remember the page that `progress` ends with, some 20 KB, so that another tick can go on behind it.

        False: the lease is lost; whoever has it goes on from what it found."""
        if progress.pages == 1 and not self._write(
            holder, "SET observing = :started", **{":started": to_text(progress.started_at)}
        ):
            return False
        self._table.put(
            {
                **{"pk": keys.pages(progress.started_at), "sk": keys.page(progress.pages)},
                **{"next_token": progress.next_token, "instance_ids": sorted(instance_ids)},
                "expires_at": int((progress.started_at + _PAGES_KEPT).timestamp()),
            }
        )
        return True

    def drop_pages(self, progress: Progress) -> None:
        """Drop the kept pages of a complete observation: all but its last. The first goes first: without it there is
        nothing to go on from."""
        for number in range(1, progress.pages):
            self._table.delete(keys.pages(progress.started_at), keys.page(number))

    # --- the last complete observation ---

    def put_observation(self, progress: Progress, *, completed_at: datetime, missing: int) -> None:
        """What `status` shows of the last complete look at EC2."""
        self._table.put(
            {
                **{"pk": keys.STACK, "sk": keys.OBSERVATION, "started_at": to_text(progress.started_at)},
                **{"completed_at": to_text(completed_at), "instances": len(progress.seen), "missing": missing},
            }
        )
