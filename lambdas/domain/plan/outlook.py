"""Whether spot alone would do for a deadline, by what the pool has seen: for people, no decision is made of it."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from lambdas.domain.buying.availability import past
from lambdas.domain.fleet.snapshot import Stretch
from lambdas.domain.plan.urgency import Verdict
from lambdas.domain.pools.pools import CapacityType

LEAST_SEEN = timedelta(hours=1)
"""Less says nothing."""
BEGINNINGS = 200
"""Places in the record from which the job is played: one in 200 is as fine as the record bears."""
STEP = timedelta(minutes=1)


def chance_on_spot(verdict: Verdict, record: Sequence[Stretch], now: datetime) -> float | None:
    """The part of the places in the pool's record from which the job would be done in time on spot alone, if what
    follows there went on repeating; of those places alone at which the market was as it was seen last. A start costs
    its restart, also in a stretch that ends before it is over. None: the record is too short, or the work not known."""
    seen = past(record, now, STEP)
    if verdict.work_seconds is None or len(seen) * STEP < LEAST_SEEN:
        return None
    left, work = _steps(verdict.deadline - now), _steps(timedelta(seconds=verdict.work_seconds))
    restart = _steps(timedelta(seconds=verdict.restart_seconds))
    alike = [place for place, state in enumerate(seen) if state == seen[-1]]
    places = alike[:: max(1, len(alike) // BEGINNINGS)]
    held = verdict.runs_on is CapacityType.SPOT
    done = sum(_in_time(seen, place, left=left, work=work, restart=restart, held=held) for place in places)
    return done / len(places)


def seen_for(record: Sequence[Stretch], now: datetime) -> timedelta:
    return len(past(record, now, STEP)) * STEP


def _steps(period: timedelta) -> int:
    """Rounded up; not below 0."""
    return max(0, -(-period // STEP))


def _in_time(seen: str, place: int, *, left: int, work: int, restart: int, held: bool) -> bool:
    overhead = 0 if held else restart
    for step in range(left):
        if work <= 0:
            return True
        if seen[(place + step) % len(seen)] == "0":
            held = False
            continue
        overhead = overhead if held else restart
        held = True
        if overhead:
            overhead -= 1
        else:
            work -= 1
    return work <= 0
