"""The clock of the control plane: every minute one look at EC2, a message to every pool that is due, and metrics.

An idle minute costs IDLE_CALLS calls, however many pools rest: two writes and no more for the lease, one for the
observation, one Describe, and five reads of lists that are empty or short.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lambdas import names
from lambdas.adapters.clockwork import Clockwork, Memory, Taken
from lambdas.adapters.metrics import Metrics
from lambdas.adapters.observations import DuePool, Known, Observations
from lambdas.adapters.table import Fault
from lambdas.control import gauges
from lambdas.control.observe import Eyes, Seen, observe

_log = logging.getLogger(__name__)

IDLE_CALLS = 9
"""AWS calls of a tick when nothing goes on: take and give back the lease (2 writes), the lists FLEET, NEWS, INTENT and
DUE, the parked messages (5 reads), DescribeInstances, and the record of the observation (1 write). Instances of pools
at rest cost one more, a batch read of their pools' conclusions (a call per 100 pools)."""
PARKED_MOST = 100
"""Parked messages are counted up to this in each tick; the alarm asks only for more than none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Works:
    """What a tick needs."""

    eyes: Eyes
    metrics: Metrics
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    """A name that no other tick has, not even a repeated delivery of the same event."""

    @property
    def observations(self) -> Observations:
        return self.eyes.observations

    @property
    def clockwork(self) -> Clockwork:
        return self.eyes.clockwork


def tick(works: Works, cause: str, time_left: Callable[[], timedelta]) -> Seen | None:
    """One tick, caused by the event `cause`; None: another one is at work, and nothing was done.

    `time_left` is what remains until the function is killed; the lease is taken for that long. Metrics are collected,
    not flushed. What fails is raised, after the pools that are due have been told."""
    now = works.now()
    taken = works.clockwork.take(works.new_id(), now=now, until=now + time_left())
    if taken is None:
        _log.info("another tick is at work", extra={"cause": cause})
        return None
    try:
        seen = _work(works, taken, cause, time_left)
    except Fault:
        works.clockwork.abandon(taken.holder, now=works.now(), anew=False)
        raise
    except Exception:
        works.clockwork.abandon(taken.holder, now=works.now(), anew=True)
        raise
    works.metrics.put(names.METRIC_TICKS, 1)
    return seen


def _work(works: Works, taken: Taken, cause: str, time_left: Callable[[], timedelta]) -> Seen:
    """What is due is read before the look and told after it: EC2's trouble delays no pool, and a pool that is due and
    changed gets one message."""
    fleet, due = works.observations.fleet(), works.observations.due()
    try:
        seen = observe(works.eyes, taken, fleet, cause, time_left)
    finally:
        told = _tell(works, due, cause)
        _publish(works, due, fleet, taken.memory)
    for pool in seen.interrupted:
        works.metrics.put(names.METRIC_INTERRUPTIONS, 1)
        works.metrics.put(names.METRIC_INTERRUPTIONS, 1, pool=pool)
    works.clockwork.release(taken.holder, _memory(taken, seen, busy=bool(due or fleet)), now=works.now())
    _log_canonical(cause, taken, seen, told=told, active=len(due), recorded=len(fleet))
    return seen


def _tell(works: Works, due: Sequence[DuePool], cause: str) -> int:
    """Ask for a pass of every pool that is due now; how many."""
    now = works.now()
    pools = [entry.pool for entry in due if entry.at <= now]
    works.eyes.doorbell.remind(pools, cause)
    return len(pools)


def _publish(works: Works, due: Sequence[DuePool], fleet: Mapping[str, Known], before: Memory) -> None:
    """Totals while there is a pool not at rest or an instance, and once more when there is none any more."""
    active = {entry.pool: entry.summary for entry in due}
    resting = {known.pool for known in fleet.values()} - active.keys()
    if active or resting or before.busy:
        summaries = [*active.values(), *works.observations.summaries(sorted(resting)).values()]
        gauges.publish_totals(works.metrics, summaries, works.now())
    parked = works.observations.parked(most=PARKED_MOST)
    gauges.publish_for_alarms(works.metrics, active.values(), parked=parked, now=works.now())


def _memory(taken: Taken, seen: Seen, *, busy: bool) -> Memory:
    unfinished = not seen.complete and seen.progress.next_token is not None
    return Memory(
        missing=seen.missing if seen.complete else taken.memory.missing,
        busy=busy,
        observing=seen.progress.started_at if unfinished else None,
    )


def _log_canonical(cause: str, taken: Taken, seen: Seen, *, told: int, active: int, recorded: int) -> None:
    _log.info(
        "tick",
        extra={
            **{"cause": cause, "complete": seen.complete, "pages": seen.progress.pages},
            **{"observed": len(seen.progress.seen), "recorded": recorded, "missing": len(seen.missing)},
            **{"changed": seen.changed, "adopted": list(seen.adopted), "orphans": list(seen.orphans)},
            **{"interrupted": list(seen.interrupted), "after_failure": taken.unfinished},
            **{"active_pools": active, "told_pools": told},
        },
    )
