"""Why what is missing is missing: every job that waits for an instance, every instance that is not there, has one."""

from datetime import datetime

from lambdas.domain.fleet_view import FleetView, awaited
from lambdas.domain.needs import Needs
from lambdas.domain.reasons import OwnCode, Reason, ReasonClass
from lambdas.domain.snapshot import Snapshot


def reasons_of(snapshot: Snapshot, fleet: FleetView, wanted: Needs | None, now: datetime) -> list[Reason]:
    """Without history: `since` is now, or when EC2 refused. `wanted` is None for a pool that may not grow."""
    if wanted is None:
        return _stopped(snapshot, now)
    return [
        *(_blocked(snapshot, wanted, now) if wanted.blocked else ()),
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
    told = [*wanted.offerings.blocked, *wanted.held]
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


def _stands(reason: Reason, snapshot: Snapshot, now: datetime) -> bool:
    """EC2's refusal whose rest is not over, unless the owner has changed the pool since."""
    if reason.code in set(OwnCode) or reason.next_attempt is None or reason.next_attempt <= now:
        return False
    return snapshot.pool.applied_at is None or reason.last_seen >= snapshot.pool.applied_at


def _deferred(wanted: Needs, now: datetime) -> list[Reason]:
    if not wanted.deferred:
        return []
    message = f"{wanted.deferred} more instances are asked for in the next pass"
    return [_own(OwnCode.DEFERRED, ReasonClass.STARTING, message, "Nothing to do: one pass makes few requests.", now)]


def _starting(snapshot: Snapshot, fleet: FleetView, wanted: Needs, now: datetime) -> list[Reason]:
    """While instances are asked for or boot, and something waits for them."""
    asked = sum(launch.request.count for launch in wanted.launches)
    coming = len(fleet.launching) + sum(map(awaited, snapshot.intentions))
    awaited_names = {each.instance_id for each in fleet.launching} | {name for name in wanted.used if "/" in name}
    if not asked and not (coming and wanted.used & awaited_names):
        return []
    parts = [f"{asked} instances are being asked for" if asked else "", f"{coming} are starting" if coming else ""]
    message = " and ".join(part for part in parts if part)
    return [_own(OwnCode.LAUNCHING, ReasonClass.STARTING, message, "Nothing to do: wait for them to start.", now)]


def _limit(snapshot: Snapshot, fleet: FleetView, wanted: Needs, now: datetime) -> list[Reason]:
    if not wanted.over_maximum and snapshot.queue_complete:
        return []
    most = snapshot.pool.max_instances
    ending = sum(each.ends_at is None for each in fleet.draining)
    message = f"the pool is at its maximum of {most} instances" + (f", {ending} of them ending" if ending else "")
    return [
        _own(OwnCode.MAX_INSTANCES, ReasonClass.LIMIT, message, "Raise max_instances, or wait for jobs to end.", now)
    ]


def _never_fits(snapshot: Snapshot, wanted: Needs, now: datetime) -> list[Reason]:
    if not wanted.never_fits:
        return []
    first = wanted.never_fits[0].job_id
    message = f"{len(wanted.never_fits)} jobs fit no instance type of the pool any more, the first is {first}"
    remedy = f"Add a type that holds them to pool {snapshot.pool.name}, or cancel them: `lowtide jobs cancel {first}`."
    return [_own(OwnCode.NEVER_FITS, ReasonClass.NEVER_FITS, message, remedy, now)]
