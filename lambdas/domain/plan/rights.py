"""What a new instance for a job may be: the owner's rules about on-demand money, and the job's own word within them."""

from datetime import datetime

from lambdas.domain.fleet.fleet import Lease
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.jobs.jobs import QueuedJob
from lambdas.domain.jobs.terms import OnDemand
from lambdas.domain.plan.urgency import Way
from lambdas.domain.pools.pools import CapacityType, Pool

_SPOT = frozenset({CapacityType.SPOT})
_ON_DEMAND = frozenset({CapacityType.ON_DEMAND})
_NOTHING: frozenset[CapacityType] = frozenset()


def buys_of_queued(
    job: QueuedJob, snapshot: Snapshot, now: datetime, *, may_buy: bool, way: Way | None = None
) -> frozenset[CapacityType]:
    """A waiting job's. In a spot pool on-demand comes in only after the owner's waiting time, in which both the job
    waited and the pool lacked spot capacity, or after so many interruptions of the job; `way`, where its deadline
    decides (urgency.py), takes the place of both.

    `may_buy`: the pool has not as many as it may; where it has, such a job may have spot."""
    waited = now - max(job.queued_at, snapshot.unfulfilled_since or now)
    fallback = snapshot.pool.on_demand_fallback
    late = fallback is not None and fallback.after is not None and waited >= fallback.after
    return _buys(job.on_demand, job.interruptions, snapshot.pool, late=late, may_buy=may_buy, way=way)


def buys_of_lease(
    lease: Lease, snapshot: Snapshot, *, may_buy: bool, way: Way | None = None
) -> frozenset[CapacityType]:
    """A job's that is about to lose its instance: that will be one interruption more."""
    return _buys(lease.on_demand, lease.interruptions + 1, snapshot.pool, late=False, may_buy=may_buy, way=way)


def _buys(
    word: OnDemand, interruptions: int, pool: Pool, *, late: bool, may_buy: bool, way: Way | None
) -> frozenset[CapacityType]:
    if not pool.spot:
        return _NOTHING if word is OnDemand.NEVER else _ON_DEMAND
    if word is OnDemand.NEVER:
        return _SPOT
    if word is OnDemand.ALWAYS:
        return _ON_DEMAND if pool.allows_on_demand() else _NOTHING
    if way is not None:
        return _ON_DEMAND if way is Way.ON_DEMAND and may_buy else _SPOT
    fallback = pool.on_demand_fallback
    unlucky = (
        fallback is not None
        and fallback.after_interruptions is not None
        and interruptions >= fallback.after_interruptions
    )
    return _ON_DEMAND if may_buy and (late or unlucky) else _SPOT
