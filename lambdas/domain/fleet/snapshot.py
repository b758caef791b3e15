"""Everything one decision about one pool is made from. Read in one query (and the queue's head), then never again."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from lambdas.domain.documents import fields_of, record_of
from lambdas.domain.fleet.fleet import BootFailure, Instance, Intention, Lease, OfferingMark
from lambdas.domain.jobs.jobs import QueuedJob
from lambdas.domain.pools.pools import Pool
from lambdas.domain.reasons import Reason
from lambdas.domain.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketPrice:
    instance_type: str
    zone: str
    price: Decimal
    """Spot price in USD per hour, in force when it was read."""
    seen_at: datetime
    """From when on, at the latest: when it changed, or as far back as EC2 was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Time in which the pool's spot market was the same (availability.py)."""

    up: bool
    since: datetime
    until: datetime
    """The last evidence of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    pool: Pool
    epoch: int
    """The pass that reads: a write that decides (an intention, a drain) is refused once a later pass has begun."""
    instances: tuple[Instance, ...]
    leases: tuple[Lease, ...]
    intentions: tuple[Intention, ...]
    """Open ones only."""
    marks: tuple[OfferingMark, ...]
    queue: tuple[QueuedJob, ...]
    """The head of the queue in rank order (priority, then `submitted_at`), cut where the pool's maximum is reached, and
    of the rest those with the earliest deadlines."""
    queue_complete: bool
    """False: there are more queued jobs than `queue` holds."""
    subnets: tuple[tuple[str, str], ...]
    """(zone, subnet id) to launch into: the pool's own, else the stack's; one per zone."""
    images: tuple[tuple[str, str], ...]
    """(instance type, image id), resolved."""
    prices: tuple[MarketPrice, ...]
    """Latest known spot prices of the pool's offerings; empty for on-demand pools, and when history is unreadable."""
    reasons: tuple[Reason, ...]
    """As the last pass stored them: `since` and `count` go on from here."""
    unfulfilled_since: datetime | None
    stack_closing: bool
    """The stack is being deleted: nothing is launched."""
    settings: Settings
    boot_failures: tuple[BootFailure, ...] = ()
    """Of the last day, oldest first."""
    launch_times: tuple[tuple[str, int], ...] = ()
    """(instance id, seconds from launch to its worker's first call) of the last launches, the latest last."""
    availability: tuple[Stretch, ...] = ()
    """Oldest first."""
    outage_ended_at: datetime | None = None
    """End of the last outage of the worker API or the table; no lease expires for a full lease length after it."""

    def market(self) -> dict[tuple[str, str], MarketPrice]:
        """The spot prices by (instance type, zone)."""
        return {(each.instance_type, each.zone): each for each in self.prices}

    def to_document(self) -> dict[str, Any]:
        """Everything, in JSON values: what `from_document` makes of it plans the same."""
        return fields_of(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        return record_of(cls, document)
