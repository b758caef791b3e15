"""What deadlines change about who gets which room: who goes first, what is kept for whom, who comes back to spot.

A job whose deadline bears no more waiting has an instance kept for it as soon as one is planned (`Instance.kept_for`),
and claims from there give it room before any other: an instance that was bought for it must not go to the next in the
queue. One that runs on on-demand comes back to spot in three steps, over several passes, so that it stops only when its
new place is there: a spot instance is asked for beside it; that instance runs and has room for it (`Move`); its worker
ends it with a last save, and it waits like any job, with its deadline.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from lambdas.domain.buying.shops import on_demand_instances
from lambdas.domain.fleet.actions import Move
from lambdas.domain.fleet.fleet import Instance, Lease
from lambdas.domain.fleet.fleet_view import FleetView, is_ending
from lambdas.domain.fleet.packing import Demand, Room
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.jobs.jobs import QueuedJob
from lambdas.domain.jobs.terms import OnDemand, Terms
from lambdas.domain.plan.urgency import Verdicts, Way
from lambdas.domain.pools.pools import CapacityType

WHY_MOVED = "spot can be had again, and pays for the restart"


def first_in_time(queue: Sequence[QueuedJob], found: Verdicts) -> Sequence[QueuedJob]:
    """The queue, within each priority those first whose deadline bears no more waiting; else as it was."""
    if not any(each.struck for each in found.values()):
        return queue
    return sorted(queue, key=lambda job: (-job.priority, not _struck(job.job_id, found)))


def _struck(job_id: str, found: Verdicts) -> bool:
    return job_id in found and found[job_id].struck


# --- kept -------------------------------------------------------------------------------------------------------------


def kept_rooms(
    jobs: Sequence[Demand], found: Sequence[Room], snapshot: Snapshot
) -> tuple[Mapping[str, tuple[str, Demand]], Sequence[Room]]:
    """(job -> the room that is kept for it, what is free beside): jobs with a deadline whose room suffices."""
    names = _kept_names(snapshot)
    waiting = {names[job.job_id]: job for job in jobs if job.job_id in names and not job.auxiliary}
    kept: dict[str, tuple[str, Demand]] = {}
    free: list[Room] = []
    for room in found:
        job = waiting.get(room.name)
        needed = job and job.load(room.facts)
        if job is None or needed is None or not needed.within(room.free) or not job.terms.accept(room.market):
            free.append(room)
            continue
        kept[job.job_id] = (room.name, job)
        free.append(replace(room, free=room.free.and_(needed, -1)))
    return kept, free


def _kept_names(snapshot: Snapshot) -> Mapping[str, str]:
    waiting = (*snapshot.leases, *snapshot.queue)  # a lease's job waits soon, if its instance ends
    timely = {job.job_id for job in waiting if job.deadline is not None}
    kept = [(each.kept_for, each.instance_id) for each in snapshot.instances if each.kept_for]
    return {job_id: instance_id for job_id, instance_id in kept if job_id in timely}


def kept_in_time(snapshot: Snapshot, fleet: FleetView, found: Verdicts, places: Mapping[str, str]) -> dict[str, str]:
    """Instance -> the job that it is to be kept for: those of struck jobs, and what was kept before and still suits."""
    there = {each.instance_id for each in (*fleet.running, *fleet.launching)}
    before = _kept_names(snapshot)
    jobs = [lease.job_id for lease in snapshot.leases] + [job.job_id for job in first_in_time(snapshot.queue, found)]
    chosen: dict[str, str] = {}
    for job_id in jobs:
        place = places.get(job_id)
        if (_struck(job_id, found) or job_id in before) and place in there and place not in chosen:
            chosen[place] = job_id
    return chosen


# --- back to spot -----------------------------------------------------------------------------------------------------


def returning_jobs(snapshot: Snapshot, fleet: FleetView, found: Verdicts, now: datetime) -> tuple[Demand, ...]:
    """The jobs that would go on on spot for less, as a demand for spot instances alone; behind all that waits."""
    if not found:
        return ()
    return tuple(
        Demand(
            job_id=lease.job_id,
            slots=lease.slots,
            resources=lease.resources,
            returns=True,
            terms=Terms(on_demand=OnDemand.NEVER, spot_max_price=lease.spot_max_price),
            buys=frozenset({CapacityType.SPOT}),
        )
        for each in _to_leave(snapshot, fleet, found, now)
        for lease in fleet.leases[each.instance_id]
    )


def moved(
    snapshot: Snapshot, fleet: FleetView, found: Verdicts, places: Mapping[str, str], now: datetime
) -> list[Move]:
    """The instances all of whose jobs have their room on running spot instances now."""
    running = {each.instance_id for each in fleet.running}
    return [
        Move(instance_id=each.instance_id, job_ids=tuple(job_ids), why=WHY_MOVED)
        for each in _to_leave(snapshot, fleet, found, now)
        if (job_ids := [lease.job_id for lease in fleet.leases[each.instance_id]])
        and all(places.get(job_id) in running for job_id in job_ids)
    ]


def _to_leave(snapshot: Snapshot, fleet: FleetView, found: Verdicts, now: datetime) -> Iterator[Instance]:
    """On-demand instances beyond the base, old enough by the owner's `return_after`, whose every job goes back."""
    fallback = snapshot.pool.on_demand_fallback
    if fallback is None or not snapshot.pool.spot:
        return
    base = {each.instance_id for each in on_demand_instances(snapshot, fleet)[: snapshot.pool.on_demand_base]}
    for each in _serving(fleet):
        held = fleet.leases.get(each.instance_id, ())
        young = now - each.launched_at < fallback.return_after
        if each.instance_id in base or young or not held:
            continue
        if all(_goes_back(lease, found) for lease in held):
            yield each


def _serving(fleet: FleetView) -> Iterable[Instance]:
    """On-demand instances that run jobs, also those that take no more of them."""
    there = (*fleet.running, *fleet.draining)
    return (
        each
        for each in there
        if each.capacity_type is CapacityType.ON_DEMAND and not is_ending(each) and not each.termination_requested_at
    )


def _goes_back(lease: Lease, found: Verdicts) -> bool:
    """Only a job that has saved something: any other would begin anew."""
    saved = lease.saved_seconds is not None
    chosen = lease.job_id in found and found[lease.job_id].way is Way.SPOT
    return saved and chosen and lease.moving_since is None and lease.part.slots > 0
