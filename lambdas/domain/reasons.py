"""Why capacity is missing: the classes of reasons, and the table that says what each of EC2's refusals means."""

from dataclasses import dataclass
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
