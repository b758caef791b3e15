"""A pool as the control plane knows it: already validated, every default filled in, every duration a timedelta.

The pool file that people write is parsed on their machine (lowtide/poolfile.py) and stored in this form; nothing here
validates again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from typing import Any, Self

from lambdas.domain.instants import from_text, to_text
from lambdas.domain.pools.machine import Machine

Document = dict[str, Any]
"""JSON values only; numbers that are money are decimal strings."""

_PRICE_STEP = Decimal("0.0001")
"""A share of a price is cut to this: as finely as AWS itself prices."""


class CapacityType(StrEnum):
    SPOT = "spot"
    ON_DEMAND = "on-demand"


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeFacts:
    """What EC2 and the price list say of an instance type (DescribeInstanceTypes, Pricing GetProducts)."""

    name: str
    vcpus: int
    memory_mib: int
    gpus: int
    architecture: str
    """`x86_64` or `arm64`."""
    on_demand_price: Decimal | None
    """USD per instance-hour, Linux, shared tenancy, in the stack's Region; None when the price list has none."""
    slots: int
    """Slots an instance of this type offers in this pool: `instance_slots`, else its GPUs, else 1 where CPU slots are
    allowed, else 0."""
    bare_metal: bool = False

    def to_document(self) -> Document:
        price = None if self.on_demand_price is None else str(self.on_demand_price)
        return {
            **{"name": self.name, "vcpus": self.vcpus, "memory_mib": self.memory_mib, "gpus": self.gpus},
            **{"architecture": self.architecture, "on_demand_price": price, "slots": self.slots},
            "bare_metal": self.bare_metal,
        }

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """The inverse of `to_document`. Numbers may be int, float or Decimal (DynamoDB's)."""
        price = document["on_demand_price"]
        values: Document = {
            **document,
            **{key: int(document[key]) for key in ("vcpus", "memory_mib", "gpus", "slots")},
            "on_demand_price": None if price is None else Decimal(price),
        }
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDemandFallback:
    """When a spot pool may buy on-demand instances beyond its base. The owner's money: nothing in a job widens it."""

    after: timedelta | None = None
    """How long a job waits, and spot capacity is missing, until an on-demand instance is asked for; None: never."""
    after_interruptions: int | None = None
    """From so many interruptions on, a job's next new instance is on-demand; None: never."""
    max_instances: int = 2
    """At one time, the base not counted."""
    return_after: timedelta = timedelta(minutes=30)
    """How old such an instance gets, at least, before it gives way to spot."""

    def to_document(self) -> Document:
        return {
            "after": _in_seconds(self.after),
            **{"after_interruptions": self.after_interruptions, "max_instances": self.max_instances},
            "return_after": self.return_after.total_seconds(),
        }

    @classmethod
    def from_document(cls, document: Document) -> Self:
        times = document["after_interruptions"]
        return cls(
            after=_seconds(document["after"]),
            after_interruptions=None if times is None else int(times),
            max_instances=int(document["max_instances"]),
            return_after=timedelta(seconds=float(document["return_after"])),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A window that comes again and again, and what holds in it instead of the pool's own (schedules.py)."""

    name: str
    start: str
    """Five-field Unix cron, in `timezone`."""
    duration: timedelta
    timezone: str = "UTC"
    """IANA name."""
    min_instances: int | None = None
    """None: the pool's."""
    max_instances: int | None = None
    """None: the pool's."""
    spot_max_price: Decimal | None = None
    """USD per instance-hour; it can only lower the pool's. None: the pool's."""
    spot_max_percent: Decimal | None = None

    def to_document(self) -> Document:
        prices = {key: getattr(self, key) for key in ("spot_max_price", "spot_max_percent")}
        return {
            **{"name": self.name, "start": self.start, "duration": self.duration.total_seconds()},
            **{"timezone": self.timezone, "min_instances": self.min_instances, "max_instances": self.max_instances},
            **{key: None if price is None else str(price) for key, price in prices.items()},
        }

    @classmethod
    def from_document(cls, document: Document) -> Self:
        counts = {key: document[key] for key in ("min_instances", "max_instances")}
        values: Document = {
            **document,
            "duration": timedelta(seconds=float(document["duration"])),
            **{key: None if count is None else int(count) for key, count in counts.items()},
            **{key: _decimal(document[key]) for key in ("spot_max_price", "spot_max_percent")},
        }
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    name: str
    description: str = ""
    version: int = 1
    """Rises by one with every applied change, from 1."""
    spot: bool = False
    spot_max_price: Decimal | None = None
    """USD per instance-hour; None: the on-demand price is the limit, as on EC2."""
    spot_max_percent: Decimal | None = None
    """The limit as a share of each type's on-demand price (60 for `"60%"`); where both are set, the lower holds."""
    types: tuple[TypeFacts, ...] = ()
    """Every instance type the pool may use, in the owner's order; never empty."""
    subnets: tuple[tuple[str, str], ...] = ()
    """(zone name, subnet id), one per zone; empty: the stack's own."""
    min_instances: int = 0
    max_instances: int = 5
    max_aux_containers_per_agent: int = 100
    """How many `slots: 0` jobs one instance takes."""
    warm_instances: int = 0
    """Idle instances kept beyond demand, within the maximum."""
    on_demand_base: int = 0
    """Of a spot pool's instances, how many are on-demand whatever the market says; no minimum of its own."""
    on_demand_fallback: OnDemandFallback | None = None
    """None: a spot pool buys on-demand for no reason but its base."""
    max_hourly_cost: Decimal | None = None
    """USD per hour that the pool never plans to exceed; None: no bound but `max_instances`."""
    max_instance_lifetime: timedelta | None = None
    """None: for ever."""
    schedules: tuple[Schedule, ...] = ()
    starvation_after: timedelta = timedelta(minutes=10)
    launch_error_timeout: timedelta = timedelta(0)
    """How long a launch error stands (launch_errors.py); nothing: never."""
    launch_error_retries: int = 0
    """Refusals in a row beyond the first that make no launch error yet."""
    max_idle_agent_period: timedelta = timedelta(minutes=20)
    max_agent_starting_period: timedelta = timedelta(minutes=20)
    allocation_strategy: str = "price-capacity-optimized"
    image_id: str | None = None
    job_role_arn: str | None = None
    """The role whose credentials the pool's jobs have; None: they have no AWS rights."""
    images: tuple[tuple[str, str], ...] = ()
    """(instance type, image id) that the owner's `image_id` or the public SSM parameters gave when the pool was last
    resolved; empty: resolve before launching."""
    unfulfilled_alarm_after: timedelta | None = timedelta(minutes=10)
    """None: never."""
    paused: bool = False
    deleted: bool = False
    """True: no launches, no new claims; running jobs finish, queued jobs are parked, then the pool's items go."""
    applied_at: datetime | None = None
    machine: Machine = field(default_factory=Machine)
    """What instances are made of beyond what a launch request can say."""

    def facts(self, instance_type: str) -> TypeFacts | None:
        """The facts of one of the pool's types; None for a type that a later version no longer names."""
        return next((facts for facts in self.types if facts.name == instance_type), None)

    def capacity_type(self) -> CapacityType:
        return CapacityType.SPOT if self.spot else CapacityType.ON_DEMAND

    def allows_on_demand(self) -> bool:
        """Whether the pool may ever hold an on-demand instance that somebody here asked for."""
        return not self.spot or self.on_demand_base > 0 or self.on_demand_fallback is not None

    def price_limit(self, facts: TypeFacts) -> Decimal | None:
        """USD per hour above which no spot instance of this type is asked for; None: not known, so no override carries
        a price and EC2's own cap (the on-demand price) holds."""
        limits = [self.spot_max_price, self._share_limit(facts)]
        return min((limit for limit in limits if limit is not None), default=facts.on_demand_price)

    def _share_limit(self, facts: TypeFacts) -> Decimal | None:
        if self.spot_max_percent is None or facts.on_demand_price is None:
            return None
        return (facts.on_demand_price * self.spot_max_percent / 100).quantize(_PRICE_STEP, ROUND_DOWN)

    def lacks_price(self, facts: TypeFacts) -> bool:
        """True: the limit is a share of an on-demand price that nobody knows, so no spot instance may be asked for."""
        return self.spot and self.spot_max_percent is not None and facts.on_demand_price is None

    def to_document(self) -> Document:
        return {
            **{"name": self.name, "description": self.description, "version": self.version, "spot": self.spot},
            "spot_max_price": None if self.spot_max_price is None else str(self.spot_max_price),
            "spot_max_percent": None if self.spot_max_percent is None else str(self.spot_max_percent),
            "types": [facts.to_document() for facts in self.types],
            "subnets": [list(pair) for pair in self.subnets],
            **{"min_instances": self.min_instances, "max_instances": self.max_instances},
            "max_aux_containers_per_agent": self.max_aux_containers_per_agent,
            "max_idle_agent_period": self.max_idle_agent_period.total_seconds(),
            "max_agent_starting_period": self.max_agent_starting_period.total_seconds(),
            **{"allocation_strategy": self.allocation_strategy, "image_id": self.image_id},
            "job_role_arn": self.job_role_arn,
            "images": [list(pair) for pair in self.images],
            "unfulfilled_alarm_after": _in_seconds(self.unfulfilled_alarm_after),
            **{"paused": self.paused, "deleted": self.deleted},
            **{"warm_instances": self.warm_instances, "on_demand_base": self.on_demand_base},
            "on_demand_fallback": self.on_demand_fallback and self.on_demand_fallback.to_document(),
            "max_hourly_cost": None if self.max_hourly_cost is None else str(self.max_hourly_cost),
            "max_instance_lifetime": _in_seconds(self.max_instance_lifetime),
            "schedules": [each.to_document() for each in self.schedules],
            "starvation_after": self.starvation_after.total_seconds(),
            "launch_error_timeout": self.launch_error_timeout.total_seconds(),
            "launch_error_retries": self.launch_error_retries,
            "applied_at": self.applied_at and to_text(self.applied_at),
            "machine": self.machine.to_document(),
        }

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """The inverse of `to_document`. Numbers may be int, float or Decimal (DynamoDB's).

        A key that the document lacks, since the pool was stored before it existed, has its default."""
        price, alarm, applied = (document[k] for k in ("spot_max_price", "unfulfilled_alarm_after", "applied_at"))
        counts = ("version", "min_instances", "max_instances", "max_aux_containers_per_agent")
        periods = ("max_idle_agent_period", "max_agent_starting_period")
        values: Document = {
            **document,
            **{key: int(document[key]) for key in counts},
            **{key: timedelta(seconds=float(document[key])) for key in periods},
            "spot_max_price": None if price is None else Decimal(price),
            **_newer(document),
            "types": tuple(TypeFacts.from_document(d) for d in document["types"]),
            "subnets": tuple((zone, subnet) for zone, subnet in document["subnets"]),
            "images": tuple((kind, image) for kind, image in document["images"]),
            "unfulfilled_alarm_after": None if alarm is None else timedelta(seconds=float(alarm)),
            "applied_at": None if applied is None else from_text(applied),
            "machine": Machine.from_document(document.get("machine") or {}),
        }
        return cls(**values)


def _decimal(value: Any) -> Decimal | None:
    return None if value is None else Decimal(value)


def _in_seconds(period: timedelta | None) -> float | None:
    return None if period is None else period.total_seconds()


def _seconds(value: Any) -> timedelta | None:
    return None if value is None else timedelta(seconds=float(value))


def _fallback(value: Any) -> OnDemandFallback | None:
    return None if value is None else OnDemandFallback.from_document(value)


_NEWER: dict[str, Callable[[Any], Any]] = {
    **{"spot_max_percent": _decimal, "max_hourly_cost": _decimal},
    **{"warm_instances": int, "on_demand_base": int, "launch_error_retries": int},
    "launch_error_timeout": _seconds,
    **{"max_instance_lifetime": _seconds, "starvation_after": _seconds},
    "on_demand_fallback": _fallback,
    "job_role_arn": lambda arn: arn,
    "schedules": lambda documents: tuple(map(Schedule.from_document, documents)),
}
"""Readers of what pools stored by the first version do not have."""


def _newer(document: Document) -> Document:
    return {key: read(document[key]) for key, read in _NEWER.items() if key in document}
