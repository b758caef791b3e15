"""Why what is missing is missing: every job that waits for an instance, every instance that is not there, has one."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from lambdas.domain.fleet.fleet_view import FleetView, awaited
from lambdas.domain.fleet.packing import Demand
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.plan.needs import Needs
from lambdas.domain.reasons import OwnCode, Reason, ReasonClass
from lambdas.domain.refusals.boots import IN_A_ROW, last_boot_in_vain
from lambdas.domain.words import dollars, several

CENT = Decimal("0.01")


def reasons_of(snapshot: Snapshot, fleet: FleetView, wanted: Needs | None, now: datetime) -> list[Reason]:
    """Without history: `since` is now, or when EC2 refused. `wanted` is None for a pool that may not grow."""
    if wanted is None:
        return _stopped(snapshot, now)
    return [
        *(_blocked(snapshot, wanted, now) if wanted.blocked or wanted.offerings.probing else ()),
        *_budget(snapshot, wanted, now),
        *_deferred(wanted, now),
        *_starting(snapshot, fleet, wanted, now),
        *_limit(snapshot, fleet, wanted, now),
        *_never_fits(snapshot, wanted, now),
    ]


def _own(code: OwnCode, reason_class: ReasonClass, message: str, remedy: str, now: datetime) -> Reason:
    return Reason(reason_class=reason_class, code=code, message=message, remedy=remedy, since=now, last_seen=now)


def _stopped(snapshot: Snapshot, now: datetime) -> list[Reason]:
    pool = snapshot.pool
    if not snapshot.queue and snapshot.queue_complete:
        return []
    if pool.deleted:
        message, remedy = "the pool is deleted", "Send the parked jobs to another pool: `lowtide parked list`."
        return [_own(OwnCode.DELETED, ReasonClass.PAUSED, message, remedy, now)]
    if snapshot.stack_closing:
        message, remedy = "the stack is being deleted", "Deploy the stack again: `cdk deploy`."
        return [_own(OwnCode.STACK_CLOSING, ReasonClass.PAUSED, message, remedy, now)]
    message, remedy = (
        "the pool is paused: nothing is launched, nothing is claimed",
        f"`lowtide pools resume {pool.name}`.",
    )
    return [_own(OwnCode.PAUSED, ReasonClass.PAUSED, message, remedy, now)]


def _blocked(snapshot: Snapshot, wanted: Needs, now: datetime) -> list[Reason]:
    """What keeps the pool from asking: marks, prices, holds, and what EC2 said before and still stands by."""
    told = [reason for each in wanted.shops for reason in each.offerings.blocked]
    told += [*_job_limits(wanted, now), *wanted.held]
    codes = {(reason.code, reason.capacity_type) for reason in told}
    standing = [
        reason
        for reason in snapshot.reasons
        if (reason.code, reason.capacity_type) not in codes and _stands(reason, snapshot, now)
    ]
    if told or standing:
        return [*told, *standing]
    message = "the jobs that wait fit none of the offerings that may be asked for now"
    remedy = "Nothing to do: the next pass asks again. If it lasts, run `lowtide why` on the pool."
    return [_own(OwnCode.DEFERRED, ReasonClass.TRANSIENT, message, remedy, now)]


def _job_limits(wanted: Needs, now: datetime) -> list[Reason]:
    """Jobs whose own price limit, and not the pool's, keeps them from what could be asked for."""
    own = wanted.shops[0]
    held_back = [job for job in wanted.capped if own.askable and not own.under(job.terms.spot_max_price)]
    if not held_back:
        return []
    job = max(held_back, key=lambda each: each.terms.spot_max_price or Decimal())
    limit = dollars(job.terms.spot_max_price or Decimal())
    cheapest = min(own.askable, key=lambda each: each.expected_price)
    where = f"{cheapest.zone} ({cheapest.facts.name})"
    message = (
        f"{several(len(held_back), 'job')} with spot_max_price of up to {limit}, job {job.job_id} for one: "
        f"cheapest offering {dollars(cheapest.expected_price)} in {where}"
    )
    remedy = "Wait for the price to fall, or send the job with a higher spot_max_price."
    return [_own(OwnCode.JOB_PRICE_LIMIT, ReasonClass.PRICE, message, remedy, now)]


def _budget(snapshot: Snapshot, wanted: Needs, now: datetime) -> list[Reason]:
    most = snapshot.pool.max_hourly_cost
    if not wanted.over_budget or most is None:
        return []
    message = (
        f"{several(wanted.over_budget, 'more instance')} would cost more than max_hourly_cost of {dollars(most)}: "
        f"{dollars(wanted.cost_now.quantize(CENT))} an hour is spent or on its way"
    )
    remedy = "Raise max_hourly_cost, lower spot_max_price, or wait for instances to end."
    return [_own(OwnCode.OVER_BUDGET, ReasonClass.BUDGET, message, remedy, now)]


def _stands(reason: Reason, snapshot: Snapshot, now: datetime) -> bool:
    """EC2's refusal whose rest is not over, unless the owner has changed the pool since."""
    if reason.code in set(OwnCode) or reason.next_attempt is None or reason.next_attempt <= now:
        return False
    return snapshot.pool.applied_at is None or reason.last_seen >= snapshot.pool.applied_at


def _deferred(wanted: Needs, now: datetime) -> list[Reason]:
    if not wanted.deferred:
        return []
    message = f"{several(wanted.deferred, 'more instance')} to be asked for in the next pass"
    return [_own(OwnCode.DEFERRED, ReasonClass.STARTING, message, "Nothing to do: one pass makes few requests.", now)]


def _starting(snapshot: Snapshot, fleet: FleetView, wanted: Needs, now: datetime) -> list[Reason]:
    """While instances are asked for or boot, and something waits for them."""
    asked = sum(launch.request.count for launch in wanted.launches)
    coming = len(fleet.launching) + sum(map(awaited, snapshot.intentions))
    awaited_names = {each.instance_id for each in fleet.launching} | {name for name in wanted.used if "/" in name}
    if not asked and not (coming and wanted.used & awaited_names):
        return []
    told = [(asked, "being asked for"), (coming, "starting")]
    message = ", ".join(f"{several(count, 'instance')} {what}" for count, what in told if count)
    remedy = "Nothing to do: wait for them to start."
    if vain := last_boot_in_vain(snapshot):
        message = f"{message}; {vain}"
        remedy = (
            f"Wait for them to start, or mend image_id, startup_script or the network now: after {IN_A_ROW} boots in "
            "vain one after the other nothing more is launched for an hour, or until the pool is applied again."
        )
    return [_own(OwnCode.LAUNCHING, ReasonClass.STARTING, message, remedy, now)]


def _limit(snapshot: Snapshot, fleet: FleetView, wanted: Needs, now: datetime) -> list[Reason]:
    if not wanted.short and snapshot.queue_complete:
        return []
    if wanted.short and not wanted.at_maximum:
        return [_on_demand_full(snapshot, wanted, now)]
    most = snapshot.pool.max_instances
    ending = sum(each.ends_at is None for each in fleet.draining)
    message = f"the pool is at its maximum of {several(most, 'instance')}" + (
        f", {ending} of them ending" if ending else ""
    )
    return [
        _own(OwnCode.MAX_INSTANCES, ReasonClass.LIMIT, message, "Raise max_instances, or wait for jobs to end.", now)
    ]


def _on_demand_full(snapshot: Snapshot, wanted: Needs, now: datetime) -> Reason:
    fallback = snapshot.pool.on_demand_fallback
    most = snapshot.pool.on_demand_base + (fallback.max_instances if fallback else 0)
    count = several(len(wanted.over_maximum), "job")
    message = (
        f"{count} may get no spot instance, and the pool has the {several(most, 'on-demand instance')} it may have"
    )
    remedy = "Raise on_demand_fallback.max_instances or on_demand_base, or wait for jobs to end."
    return _own(OwnCode.ON_DEMAND_FULL, ReasonClass.LIMIT, message, remedy, now)


def _never_fits(snapshot: Snapshot, wanted: Needs, now: datetime) -> list[Reason]:
    forbidden = [job for job in wanted.never_fits if not job.buys]
    large = [job for job in wanted.never_fits if job.buys]
    return [*_forbidden(snapshot, forbidden, now), *_too_large(snapshot, large, now)]


def _forbidden(snapshot: Snapshot, jobs: Sequence[Demand], now: datetime) -> list[Reason]:
    if not jobs:
        return []
    has = "allows no on-demand instances" if snapshot.pool.spot else "has only on-demand instances"
    message = f"on_demand of {several(len(jobs), 'queued job')}, the first is {jobs[0].job_id}: the pool {has}"
    remedy = f"Change pool {snapshot.pool.name}, or cancel them: `lowtide jobs cancel {jobs[0].job_id}`."
    return [_own(OwnCode.LIFECYCLE_FORBIDDEN, ReasonClass.NEVER_FITS, message, remedy, now)]


def _too_large(snapshot: Snapshot, jobs: Sequence[Demand], now: datetime) -> list[Reason]:
    if not jobs:
        return []
    first = jobs[0].job_id
    count = several(len(jobs), "queued job")
    message = f"no instance type of the pool holds {count} any more, the first is {first}"
    remedy = f"Add a type that holds them to pool {snapshot.pool.name}, or cancel them: `lowtide jobs cancel {first}`."
    return [_own(OwnCode.NEVER_FITS, ReasonClass.NEVER_FITS, message, remedy, now)]
