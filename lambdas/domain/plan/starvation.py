"""Wide jobs that narrow ones pass over: after `starvation_after` an instance is kept free for each of them.

An instance is *kept* for a job: until that job has its room there, nothing that ranks behind it takes any (jobs that
rank before it, and auxiliary jobs, do as always). What it runs goes on, so the room comes as its jobs end. The pass
chooses the instance and writes it down (`Instance.kept_for`); claims obey (control/claiming.py), and so does packing.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

from lambdas.domain.durations import format_duration
from lambdas.domain.fleet.actions import Keep
from lambdas.domain.fleet.fleet import Instance, facts_of
from lambdas.domain.fleet.fleet_view import FleetView, suits
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.jobs.fit import NOTHING, Load, taken, whole
from lambdas.domain.jobs.jobs import QueuedJob, Resources
from lambdas.domain.jobs.terms import Terms
from lambdas.domain.plan.in_time import kept_in_time
from lambdas.domain.plan.needs import Needs
from lambdas.domain.plan.urgency import Verdicts
from lambdas.domain.pools.pools import TypeFacts


def kept(snapshot: Snapshot, fleet: FleetView, wanted: Needs | None, found: Verdicts, now: datetime) -> list[Keep]:
    """What changes about who is kept for whom. Jobs whose deadline bears no more waiting come first (in_time.py). Of
    the starved, a job keeps its instance; of the others, the job of highest rank chooses first, and takes the instance
    that has least to wait for (ties: the longest launched)."""
    if wanted is None:
        return []
    timely = kept_in_time(snapshot, fleet, found, wanted.places)
    chosen, served = dict(timely), set(timely.values())
    nowhere: set[tuple[int, Resources | None, Terms]] = set()  # what has no place now has none later: places only go
    for job in _starving(snapshot, fleet, wanted, now):
        alike = (job.slots, job.resources, job.terms)
        if job.job_id in served or alike in nowhere:
            continue
        if place := _place(job, chosen, fleet, snapshot):
            chosen[place.instance_id] = job.job_id
        else:
            nowhere.add(alike)
    return [
        _keep(each, chosen.get(each.instance_id), snapshot, timely=each.instance_id in timely)
        for each in (*fleet.running, *fleet.launching)
        if each.kept_for != chosen.get(each.instance_id)
    ]


def _starving(snapshot: Snapshot, fleet: FleetView, wanted: Needs, now: datetime) -> Iterator[QueuedJob]:
    """In rank order: those that waited so long, and have neither room nor an instance on its way."""
    waiting_in_vain = {job.job_id for job in wanted.homeless}
    holders = {each.kept_for for each in fleet.running}
    for job in snapshot.queue:
        in_vain = job.job_id in waiting_in_vain or job.job_id in holders
        if in_vain and now - job.queued_at >= snapshot.pool.starvation_after:
            yield job


def _place(job: QueuedJob, chosen: Iterable[str], fleet: FleetView, snapshot: Snapshot) -> Instance | None:
    places = [each for each in fleet.running if each.instance_id not in chosen and _holds(each, job, fleet, snapshot)]
    return min(
        places, key=lambda each: (each.kept_for != job.job_id, _lacking(each, job, fleet, snapshot)), default=None
    )


def _holds(instance: Instance, job: QueuedJob, fleet: FleetView, snapshot: Snapshot) -> bool:
    """Where all that runs is at least as large as the job, nothing smaller has passed it over: what becomes free there
    suffices, and is offered to it first."""
    if instance.rebalance_at is not None or not suits(job, instance, snapshot.pool):
        return False
    facts, needed = _needed(instance, job, snapshot)
    running = [lease.part.load(facts) for lease in fleet.leases.get(instance.instance_id, ())]
    return any(not needed.within(each) for each in running if each != NOTHING)


def _lacking(instance: Instance, job: QueuedJob, fleet: FleetView, snapshot: Snapshot) -> int:
    """The largest part of the instance that has to become free first, in PARTS."""
    facts, needed = _needed(instance, job, snapshot)
    pairs = zip(needed, fleet.free(instance, facts), strict=True)
    return Load(*(max(0, want - free) for want, free in pairs)).largest_share(whole(facts))


def _needed(instance: Instance, job: QueuedJob, snapshot: Snapshot) -> tuple[TypeFacts, Load]:
    """What a job takes of an instance that suits it."""
    facts = facts_of(instance, snapshot.pool)
    assert facts is not None
    return facts, taken(job.slots, job.resources, facts)


def _keep(instance: Instance, job_id: str | None, snapshot: Snapshot, *, timely: bool) -> Keep:
    if job_id is None:
        why = f"job {instance.kept_for} no longer waits for it"
    elif timely:
        why = f"the deadline of job {job_id} bears no more waiting"
    else:
        why = f"job {job_id} was passed over by smaller ones for {format_duration(snapshot.pool.starvation_after)}"
    return Keep(instance_id=instance.instance_id, job_id=job_id, why=why)
