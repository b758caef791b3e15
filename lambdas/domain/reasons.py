"""Why capacity is missing: reasons as people read them, their order, and how they live on from pass to pass.

What each of EC2's refusals means is in refusals.py; Lowtide's own causes have the codes below.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class ReasonClass(StrEnum):
    """In the order of usefulness: the first reason of a pool is the one to act on."""

    PERMISSION = "permission"
    CONFIGURATION = "configuration"
    QUOTA = "quota"
    THROTTLING = "throttling"
    PRICE = "price"
    CAPACITY = "capacity"
    TRANSIENT = "transient"
    BUDGET = "budget"
    LIMIT = "limit"
    STARTING = "starting"
    NEVER_FITS = "never_fits"
    PAUSED = "paused"


class OwnCode(StrEnum):
    """Codes of causes that EC2 has no code for."""

    PRICE_ABOVE_LIMIT = "PriceAboveLimit"
    MAX_INSTANCES = "MaxInstancesReached"
    LAUNCHING = "InstancesLaunching"
    NEVER_FITS = "JobNeverFits"
    PAUSED = "PoolPaused"
    DELETED = "PoolDeleted"
    STACK_CLOSING = "StackClosing"
    NO_SUBNETS = "NoSubnets"
    NO_IMAGE = "NoImage"
    NO_PRICE = "NoOnDemandPrice"
    JOB_PRICE_LIMIT = "JobPriceAboveLimit"
    OVER_BUDGET = "HourlyCostReached"
    ON_DEMAND_FULL = "OnDemandInstancesReached"
    NEVER_REPORTED = "InstancesNeverReport"
    LIFECYCLE_FORBIDDEN = "LifecycleForbidden"
    DEFERRED = "RequestsDeferred"
    """More requests were needed than one pass makes, or their bins fit no offering this time; the next pass goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One readable cause of missing capacity, as `status --json` prints it (contract section 5)."""

    reason_class: ReasonClass
    code: str
    """EC2's code where EC2 refused (`InsufficientInstanceCapacity`), else Lowtide's own (`MaxInstancesReached`)."""
    message: str
    remedy: str
    since: datetime
    last_seen: datetime
    count: int = 1
    capacity_type: str | None = None
    instance_type: str | None = None
    availability_zone: str | None = None
    next_attempt: datetime | None = None


_RANK = {reason_class: rank for rank, reason_class in enumerate(ReasonClass)}


def rank(reason_class: ReasonClass) -> int:
    """0 for the most actionable class."""
    return _RANK[reason_class]


def in_order(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Most actionable first: by class (the order of ReasonClass), then the longest lasting, then by code."""
    return tuple(sorted(reasons, key=lambda r: (rank(r.reason_class), r.since, r.code, r.capacity_type or "")))


def identity(reason: Reason) -> tuple[ReasonClass, str, str | None]:
    """What makes two sightings the same reason: class, code and capacity type. Offerings come and go within one."""
    return reason.reason_class, reason.code, reason.capacity_type


def merge_reasons(old: Iterable[Reason], new: Iterable[Reason], now: datetime) -> tuple[Reason, ...]:
    """`new` in order, each once, going on from its sighting in `old`: `since` is kept, and `count` rises by one where
    it was seen later than before. What only `old` names is over and left out.

    A pass stores `merge_reasons(snapshot.reasons, plan.reasons + consequences.reasons, now)`. Repeating it with what it
    returned changes nothing. No reason is older than `now`'s own clock allows: a `since` in the future becomes `now`.
    """
    merged: dict[tuple[ReasonClass, str, str | None], Reason] = {}
    before = {identity(reason): reason for reason in old}
    for reason in new:
        known = merged.get(identity(reason)) or before.get(identity(reason))
        merged[identity(reason)] = replace(_continued(known, reason), since=min(_since(known, reason), now))
    return in_order(merged.values())


def _since(known: Reason | None, reason: Reason) -> datetime:
    return reason.since if known is None else min(known.since, reason.since)


def _continued(known: Reason | None, reason: Reason) -> Reason:
    if known is None:
        return reason
    newer = reason if reason.last_seen >= known.last_seen else known
    return replace(newer, count=max(reason.count, known.count + (reason.last_seen > known.last_seen)))
