"""A pool's fleet as one pass sees it: every instance put into the one group that the decisions are about."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from lambdas.domain.fleet.fleet import Instance, InstanceState, Intention, Lease, facts_of
from lambdas.domain.fleet.packing import TO_STAY_WARM, Room
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.jobs.fit import NOTHING, Load, free_beside, load, sum_of, whole
from lambdas.domain.jobs.jobs import QueuedJob
from lambdas.domain.jobs.terms import market_of
from lambdas.domain.pools.pools import Pool, TypeFacts
from lambdas.domain.settings import Settings

_NO_LONGER_THERE = frozenset({"terminated", "gone"})
_ENDING_STATES = frozenset({"shutting-down", "stopping", "stopped"})
"""EC2's states from which no worker comes back: Lowtide's instances terminate when they shut down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    gone: tuple[Instance, ...]
    """EC2 has ended them."""
    draining: tuple[Instance, ...]
    """Take no new job: drained, asked to terminate, or announced or seen to end."""
    launching: tuple[Instance, ...]
    running: tuple[Instance, ...]
    """Their workers have called, not long ago, and may be given jobs."""
    silent: tuple[Instance, ...]
    """Their workers called once, but have not for a full lease length when they should: no job is taken there."""
    leases: Mapping[str, tuple[Lease, ...]]
    """By instance id; an id that is no instance of the pool's is among them."""

    def busy(self, instance: Instance) -> bool:
        return bool(self.leases.get(instance.instance_id))

    def free(self, instance: Instance, facts: TypeFacts) -> Load:
        """`facts`: those of the instance (fleet.facts_of)."""
        held = self.leases.get(instance.instance_id, ())
        return free_beside(sum_of(lease.part.load(facts) for lease in held), facts)

    @property
    def present(self) -> tuple[Instance, ...]:
        return (*self.running, *self.silent, *self.launching, *self.draining)


def view(snapshot: Snapshot, now: datetime) -> FleetView:
    groups: dict[str, list[Instance]] = {g: [] for g in ("gone", "draining", "launching", "running", "silent")}
    for instance in sorted(snapshot.instances, key=lambda each: (each.launched_at, each.instance_id)):
        groups[_group(instance, snapshot, now)].append(instance)
    leases: dict[str, list[Lease]] = {}
    for lease in sorted(snapshot.leases, key=lambda each: each.job_id):
        leases.setdefault(lease.instance_id, []).append(lease)
    return FleetView(
        **{name: tuple(members) for name, members in groups.items()},
        leases={instance_id: tuple(held) for instance_id, held in leases.items()},
    )


def _group(instance: Instance, snapshot: Snapshot, now: datetime) -> str:
    if is_gone(instance, now, snapshot.settings):
        return "gone"
    if instance.state is InstanceState.DRAINING or is_ending(instance) or instance.termination_requested_at:
        return "draining"
    if instance.state is InstanceState.LAUNCHING:
        return "launching"
    return "silent" if _is_silent(instance, snapshot, now) else "running"


def is_gone(instance: Instance, now: datetime, settings: Settings) -> bool:
    """EC2 reported it terminated, or no longer lists it; not listed in its first five minutes means nothing yet."""
    if instance.observed_state == "gone":
        return now - instance.launched_at >= settings.unseen_grace
    return instance.observed_state in _NO_LONGER_THERE


def is_ending(instance: Instance) -> bool:
    """EC2 has announced its end, or has begun with it."""
    return instance.ends_at is not None or instance.observed_state in _ENDING_STATES


def _is_silent(instance: Instance, snapshot: Snapshot, now: datetime) -> bool:
    """No call for a lease length, although there was cause for one."""
    called = last_call(instance, snapshot)
    if called is None or now - called < snapshot.settings.lease:
        return False
    return _ought_to_have_called(instance, called, snapshot, now)


def _ought_to_have_called(instance: Instance, called: datetime, snapshot: Snapshot, now: datetime) -> bool:
    """An idle worker's polls that find nothing are not written down, so their absence alone says nothing. But a worker
    with a job heartbeats, and one with room claims what fits within `poll_most`, far below a lease length."""
    period = snapshot.settings.lease
    if any(lease.instance_id == instance.instance_id for lease in snapshot.leases):
        return True
    idle_since = instance.idle_since or called
    if idle_since - called >= period:
        return True
    since = max(at for at in (idle_since, snapshot.pool.applied_at, snapshot.outage_ended_at) if at)
    waiting = (job for job in snapshot.queue if now - max(job.queued_at, since) >= period)
    return any(suits(job, instance, snapshot.pool) for job in waiting)


def suits(job: QueuedJob, instance: Instance, pool: Pool) -> bool:
    """Whether the job may run on the instance, were it empty."""
    if (facts := facts_of(instance, pool)) is None:
        return False
    market = market_of(instance.capacity_type, instance.price_limit, facts)
    return load(job.slots, job.resources, facts) is not None and job.terms.accept(market)


def last_call(instance: Instance, snapshot: Snapshot) -> datetime | None:
    """When its worker last called, or the end of the last outage if that was later; None: it has never called."""
    called = max((at for at in (instance.reported_at, instance.heartbeat_at) if at), default=None)
    return called and max(called, snapshot.outage_ended_at or called)


def counted(fleet: FleetView, intentions: tuple[Intention, ...]) -> int:
    """Law 3: what counts against the maximum. All that is not known to be gone, save what EC2 announced to end, and
    what open intentions may still bring."""
    return sum(each.ends_at is None for each in fleet.present) + sum(map(awaited, intentions))


def awaited(intention: Intention) -> int:
    """Instances that an open intention may still bring."""
    return max(0, intention.request.count - intention.adopted)


def lease_expiry(lease: Lease, snapshot: Snapshot) -> datetime:
    """A lease length after the last sign of it, or after the end of the last outage, whichever is later."""
    signs = [at for at in (lease.renewed_at, snapshot.outage_ended_at) if at is not None]
    return max(signs) + snapshot.settings.lease


def rooms(fleet: FleetView, snapshot: Snapshot) -> tuple[Room, ...]:
    """Free room of running and launching instances, then of open intentions."""
    pool, waiting = snapshot.pool, {job.job_id: job for job in snapshot.queue}
    found = (
        *_rooms_of(fleet.running, fleet, pool, 0, waiting),
        *_rooms_of(fleet.launching, fleet, pool, 1, waiting),
        *(room for intention in snapshot.intentions for room in _awaited_rooms(intention, pool)),
    )
    return _staying_warm(found, fleet, pool)


def _staying_warm(found: tuple[Room, ...], fleet: FleetView, pool: Pool) -> tuple[Room, ...]:
    """As many empty rooms as are to be warm are filled last, the smallest and of these the latest to come: best fit
    would spread the jobs over an instance that came to be warm, and the next pass would launch another. They are the
    smallest so that whatever fitted before it came still fits without it."""
    latest = [room for room in reversed(found) if not fleet.leases.get(room.name)]
    latest.sort(key=lambda room: (room.facts.slots, room.facts.vcpus, room.facts.memory_mib, -room.tier))
    warm = {room.name for room in latest[: pool.warm_instances]}
    return tuple(replace(room, tier=TO_STAY_WARM) if room.name in warm else room for room in found)


def _rooms_of(
    instances: Iterable[Instance], fleet: FleetView, pool: Pool, tier: int, waiting: Mapping[str, QueuedJob]
) -> Iterator[Room]:
    """An instance of a type that the pool no longer names gets no job, and so has no room; one that is kept for a
    waiting job has none until that job fits."""
    for instance in instances:
        held = fleet.leases.get(instance.instance_id, ())
        if (facts := facts_of(instance, pool)) is not None:
            free = fleet.free(instance, facts)
            first = waiting.get(instance.kept_for) if instance.kept_for else None
            needed = load(first.slots, first.resources, facts) if first else None
            yield Room(
                name=instance.instance_id,
                facts=facts,
                free=free if needed is None or needed.within(free) else NOTHING,
                free_aux=max(0, pool.max_aux_containers_per_agent - sum(lease.slots == 0 for lease in held)),
                tier=tier,
                market=market_of(instance.capacity_type, instance.price_limit, facts),
            )


def _awaited_rooms(intention: Intention, pool: Pool) -> list[Room]:
    """One room for each instance still to come, as large as the smallest type that it may turn out to be, and under the
    highest limit."""
    asked = [(facts, o.max_price) for o in intention.request.overrides if (facts := pool.facts(o.instance_type))]
    if not asked:
        return []
    smallest = min((facts for facts, _ in asked), key=lambda facts: (facts.slots, facts.vcpus, facts.memory_mib))
    markets = [market_of(intention.request.capacity_type, limit, facts) for facts, limit in asked]
    dearest = max(markets, key=lambda market: (market.limit is None, market.limit or 0))
    return [
        Room(
            name=f"{intention.intention_id}/{number}",
            facts=smallest,
            free=whole(smallest),
            free_aux=pool.max_aux_containers_per_agent,
            tier=2,
            market=dearest,
        )
        for number in range(awaited(intention))
    ]
