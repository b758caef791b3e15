"""The plan's effects on a snapshot, as the control plane and EC2 would bring them about at once."""

from dataclasses import replace
from datetime import datetime
from itertools import count, zip_longest

from lambdas.domain.fleet import actions
from lambdas.domain.fleet.fleet import Instance, InstanceState, LaunchRequest, Lease, facts_of
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.jobs.fit import Part, Used, part_of, used_by, whole
from lambdas.domain.jobs.jobs import QueuedJob
from lambdas.domain.jobs.terms import market_of
from lambdas.domain.plan.plan import Plan
from lambdas.domain.pools.pools import TypeFacts
from lambdas.domain.refusals.refusals import Refusal, consequences

_numbers = count(1)


def applied(world: Snapshot, decided: Plan, now: datetime, *, refusing: str | None = None) -> Snapshot:
    """The world after every action. EC2 launches all that is asked for, or refuses all of it with this code."""
    world = replace(world, reasons=decided.reasons)
    for action in decided.actions:
        world = _effect(world, action, now, refusing)
    return world


def _effect(world: Snapshot, action: actions.Action, now: datetime, refusing: str | None) -> Snapshot:
    match action:
        case actions.Launch():
            return _answered(world, action.request, action.request.count, now, refusing, action.kept_for)
        case actions.Repeat():
            missing = action.intention.request.count - action.intention.adopted
            world = _answered(world, action.intention.request, missing, now, refusing)
            return replace(world, intentions=tuple(i for i in world.intentions if i != action.intention))
        case actions.Close():
            return replace(world, intentions=tuple(i for i in world.intentions if i != action.intention))
        case actions.Retire() | actions.Terminate():
            leased = {lease.instance_id for lease in world.leases}
            ending = set(action.instance_ids) - leased
            return replace(world, instances=tuple(_ending(i, ending, now) for i in world.instances))
        case actions.Drain():
            ids = set(action.instance_ids)
            return replace(world, instances=tuple(_draining(i, ids, now) for i in world.instances))
        case actions.Move():
            return _moved(world, action, now)
        case actions.ReturnJob():
            return _returned(world, action, now)
        case actions.Forget():
            return replace(world, instances=tuple(i for i in world.instances if i.instance_id != action.instance_id))
        case actions.Keep():
            kept = (
                replace(i, kept_for=action.job_id) if i.instance_id == action.instance_id else i
                for i in world.instances
            )
            return replace(world, instances=tuple(kept))
        case actions.FailQueued():
            return replace(world, queue=tuple(job for job in world.queue if job.job_id not in action.job_ids))
        case actions.ParkQueued():
            return replace(world, queue=(), queue_complete=True)


def _answered(
    world: Snapshot,
    asked: LaunchRequest,
    number: int,
    now: datetime,
    refusing: str | None,
    kept_for: tuple[str, ...] = (),
) -> Snapshot:
    if refusing is None:
        new = [_launched(world, asked, now) for _ in range(number)]
        kept = (replace(each, kept_for=job_id) for each, job_id in zip_longest(new, kept_for))
        return replace(world, instances=(*world.instances, *kept))
    refused = [
        Refusal(
            code=refusing,
            message="",
            capacity_type=asked.capacity_type,
            instance_type=each.instance_type,
            zone=each.zone,
        )
        for each in asked.overrides
    ]
    follows = consequences(
        refused, request=asked, marks=world.marks, now=now, settings=world.settings, reasons=world.reasons
    )
    marked = {(m.capacity_type, m.instance_type, m.zone): m for m in (*world.marks, *follows.marks)}
    return replace(world, marks=tuple(marked.values()), reasons=(*world.reasons, *follows.reasons))


def _launched(world: Snapshot, asked: LaunchRequest, now: datetime) -> Instance:
    """On the first override: any of them is right."""
    chosen = asked.overrides[0]
    facts = world.pool.facts(chosen.instance_type)
    return Instance(
        instance_id=f"i-new-{next(_numbers)}",
        pool=world.pool.name,
        decision="d",
        state=InstanceState.LAUNCHING,
        capacity_type=asked.capacity_type,
        instance_type=chosen.instance_type,
        zone=chosen.zone,
        slots=facts.slots if facts else 0,
        launched_at=now,
        price_limit=chosen.max_price,
    )


def _ending(each: Instance, ending: set[str], now: datetime) -> Instance:
    if each.instance_id not in ending:
        return each
    return replace(each, state=InstanceState.DRAINING, draining_since=now, termination_requested_at=now)


def _draining(each: Instance, ids: set[str], now: datetime) -> Instance:
    return replace(each, state=InstanceState.DRAINING, draining_since=now) if each.instance_id in ids else each


def _moved(world: Snapshot, action: actions.Move, now: datetime) -> Snapshot:
    told = {(action.instance_id, job_id) for job_id in action.job_ids}
    return replace(
        world,
        instances=tuple(_draining(i, {action.instance_id}, now) for i in world.instances),
        leases=tuple(
            replace(each, moving_since=now) if (each.instance_id, each.job_id) in told else each
            for each in world.leases
        ),
    )


def _returned(world: Snapshot, action: actions.ReturnJob, now: datetime) -> Snapshot:
    lease = next(each for each in world.leases if each.job_id == action.job_id)
    job = QueuedJob(
        job_id=lease.job_id,
        slots=lease.slots,
        resources=lease.resources,
        priority=lease.priority,
        submitted_at=lease.submitted_at or lease.claimed_at,
        queued_at=now,
        interruptions=lease.interruptions + 1,
        on_demand=lease.on_demand,
        spot_max_price=lease.spot_max_price,
        deadline=lease.deadline,
        estimated_seconds=lease.estimated_seconds,
        kept_seconds=lease.saved_seconds,
    )
    leases = tuple(each for each in world.leases if each is not lease)
    return _freed(replace(world, leases=leases, queue=(job, *world.queue)), lease.instance_id, now)


def _freed(world: Snapshot, instance_id: str, now: datetime) -> Snapshot:
    """An instance whose last lease has ended is idle from now on."""
    busy = {lease.instance_id for lease in world.leases}
    return replace(
        world,
        instances=tuple(
            replace(i, idle_since=now) if i.instance_id == instance_id and i.instance_id not in busy else i
            for i in world.instances
        ),
    )


def claimed(world: Snapshot, instance: Instance, now: datetime) -> Snapshot:
    """The instance takes what fits, in rank order, as the ledger hands it out."""
    facts = facts_of(instance, world.pool)
    if facts is None or instance.state is InstanceState.DRAINING or world.pool.paused or world.pool.deleted:
        return world
    behind = False
    for job in sorted(world.queue, key=lambda job: job.deadline is None or job.job_id != instance.kept_for):
        hindered, behind = behind, behind or job.job_id == instance.kept_for
        part = part_of(job.slots, job.resources, facts, in_slots=False)
        held = [lease for lease in world.leases if lease.instance_id == instance.instance_id]
        used = used_by(lease.part for lease in held)
        market = market_of(instance.capacity_type, instance.price_limit, facts)
        if part is None or not job.terms.accept(market) or (hindered and not part.auxiliary):
            continue
        if used.aux >= world.pool.max_aux_containers_per_agent if part.auxiliary else not fits(part, used, facts):
            continue
        world = replace(
            world,
            queue=tuple(each for each in world.queue if each is not job),
            leases=(*world.leases, _lease(job, instance, part, now)),
        )
    return world


def fits(part: Part, used: Used, facts: TypeFacts) -> bool:
    return used.with_(part).load(facts).within(whole(facts))


def _lease(job: QueuedJob, instance: Instance, part: Part, now: datetime) -> Lease:
    return Lease(
        job_id=job.job_id,
        pool=instance.pool,
        instance_id=instance.instance_id,
        fence=next(_numbers),
        slots=part.slots,
        resources=part.resources,
        share=part.share,
        claimed_at=now,
        request_id="r",
        renewed_at=now,
        priority=job.priority,
        submitted_at=job.submitted_at,
        interruptions=job.interruptions,
        on_demand=job.on_demand,
        spot_max_price=job.spot_max_price,
        deadline=job.deadline,
        estimated_seconds=job.estimated_seconds,
        kept_seconds=job.kept_seconds,
    )


def finished(world: Snapshot, job_id: str, now: datetime) -> Snapshot:
    lease = next(each for each in world.leases if each.job_id == job_id)
    return _freed(
        replace(world, leases=tuple(each for each in world.leases if each is not lease)), lease.instance_id, now
    )
