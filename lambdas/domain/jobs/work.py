"""The work of a job with a deadline: how much is done, what an end right now would keep, how much is left. Pure.

Work is running time on one instance. What counts is what the next attempt would not do again: the time of earlier
attempts up to their last saves, and of the running one its own.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

LEAST_PROGRESS = Decimal("0.01")
"""What is judged by: below it, the time it took says mostly how long the job takes to begin."""
OVERRUN = Decimal("0.1")
"""Of the estimate: a job that has run for longer than all of it is thought to need so much more."""


class EstimateFrom(StrEnum):
    """Where a job's estimate comes from."""

    ASKED = "asked"
    """`estimated_duration`."""
    LEARNED = "learned"
    """The pool's own past of the same recurring job (recurrence.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a worker tells of a running attempt. Each None: there is nothing to tell."""

    ran_seconds: Decimal | None = None
    """Since its process began."""
    saved_seconds: Decimal | None = None
    """Of these, up to the last save of its checkpoint that held something new; None: nothing was saved."""
    progress: Decimal | None = None
    """0 to 1, of the whole job: the number in LOWTIDE_PROGRESS_FILE."""
    saved_progress: Decimal | None = None
    """That number at the last save."""


UNTOLD = Standing()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a job's ended attempts leave to the next one."""

    seconds: Decimal | None = None
    progress: Decimal | None = None
    restoring_seconds: Decimal | None = None
    """From the last attempt's claim to its process: inputs, image and checkpoint fetched."""


def kept_after(before: Kept, told: Standing, restoring_seconds: Decimal | None) -> Kept:
    """After one more attempt that did not finish the job. One that saved nothing adds nothing, and takes nothing
    away: the next begins from where it began."""
    seconds, progress = before.seconds, before.progress
    if told.saved_seconds is not None:
        seconds = (seconds or Decimal(0)) + told.saved_seconds
        progress = progress if told.saved_progress is None else told.saved_progress
    took = before.restoring_seconds if restoring_seconds is None else restoring_seconds
    return Kept(seconds=seconds, progress=progress, restoring_seconds=took)


def restoring(claimed_at: datetime, began_at: datetime) -> Decimal:
    return max(Decimal(0), Decimal(round((began_at - claimed_at).total_seconds())))


def seconds_left(estimated: Decimal | None, ran: Decimal, progress: Decimal | None) -> Decimal | None:
    """What is left of a job that has done `ran` seconds of work, at least a second; None: nothing tells.

    By the estimate, what it leaves: 2 h of which 30 min are done leave 1 h 30 min. By progress, in proportion: 30 min
    for a quarter leave 1 h 30 min. Where both tell, the longer holds: it errs towards being in time."""
    found: list[Decimal] = []
    if estimated is not None:
        found.append(max(estimated - ran, estimated * OVERRUN if ran > estimated else Decimal(0)))
    if progress is not None and progress >= LEAST_PROGRESS and ran > 0:
        found.append(ran * (1 - progress) / progress)
    return max(Decimal(1), *found) if found else None
