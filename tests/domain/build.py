"""Builders of the domain's values: everything has a default, a test spells out only what matters to it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from lambdas.domain.fleet.fleet import Instance, InstanceState, Intention, LaunchRequest, Lease, OfferingMark, Override
from lambdas.domain.fleet.snapshot import MarketPrice, Snapshot
from lambdas.domain.jobs.jobs import QueuedJob
from lambdas.domain.pools.pools import CapacityType, Pool, TypeFacts
from lambdas.domain.settings import Settings

NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)
SPOT = CapacityType.SPOT
ON_DEMAND = CapacityType.ON_DEMAND
ZONES = ("us-west-2a", "us-west-2b", "us-west-2c")


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def kind(name: str = "g4dn.metal", slots: int = 8, price: str | None = "7.824", **changes: Any) -> TypeFacts:
    values: dict[str, Any] = {
        **{"name": name, "vcpus": 12 * max(slots, 1), "memory_mib": 49152 * max(slots, 1), "gpus": slots},
        **{"architecture": "x86_64", "on_demand_price": None if price is None else Decimal(price), "slots": slots},
    }
    return TypeFacts(**{**values, **changes})


def pool(**changes: Any) -> Pool:
    """A spot pool of one 8-slot type, at most 5 instances, limit $3."""
    values: dict[str, Any] = {"name": "gpu", "spot": True, "spot_max_price": Decimal(3), "types": (kind(),)}
    return Pool(**{**values, **changes})


_numbers = iter(range(10**9))


def job(slots: int = 8, **changes: Any) -> QueuedJob:
    values: dict[str, Any] = {"job_id": f"job-{next(_numbers)}", "slots": slots, "resources": None, "priority": 0}
    return QueuedJob(**{**values, "submitted_at": ago(60), "queued_at": ago(60), **changes})


def instance(name: str = "i-1", *, state: InstanceState = InstanceState.RUNNING, **changes: Any) -> Instance:
    """Launched ten minutes ago, idle for one, its worker just heard."""
    called = state is not InstanceState.LAUNCHING
    values: dict[str, Any] = {
        **{"instance_id": name, "pool": "gpu", "decision": "d-1", "state": state, "capacity_type": SPOT},
        **{"instance_type": "g4dn.metal", "zone": ZONES[0], "slots": 8, "launched_at": ago(600)},
        **{"reported_at": ago(500) if called else None, "heartbeat_at": ago(10) if called else None},
        **{"idle_since": ago(60) if called else None, "observed_state": "running", "observed_at": ago(30)},
    }
    return Instance(**{**values, **changes})


def lease(job_id: str = "job-a", instance_id: str = "i-1", **changes: Any) -> Lease:
    values: dict[str, Any] = {
        **{"job_id": job_id, "pool": "gpu", "instance_id": instance_id, "fence": 1, "slots": 8},
        **{"claimed_at": ago(300), "request_id": "r-1", "renewed_at": ago(10), "submitted_at": ago(900)},
    }
    return Lease(**{**values, **changes})


def request(count: int = 1, *, limit: str | None = "3", types: tuple[str, ...] = ("g4dn.metal",)) -> LaunchRequest:
    return LaunchRequest(
        capacity_type=SPOT,
        overrides=tuple(
            Override(
                instance_type=name,
                zone=zone,
                subnet_id=f"subnet-{zone[-1]}",
                image_id="ami-1",
                max_price=None if limit is None else Decimal(limit),
            )
            for name in types
            for zone in ZONES
        ),
        count=count,
        allocation_strategy="price-capacity-optimized",
    )


def intention(name: str = "d-9", count: int = 1, **changes: Any) -> Intention:
    """Open, with half a minute left."""
    values: dict[str, Any] = {"intention_id": name, "pool": "gpu", "request": request(count)}
    return Intention(**{**values, "created_at": ago(30), "not_after": after(30), **changes})


def mark(code: str = "InsufficientInstanceCapacity", zone: str = ZONES[0], **changes: Any) -> OfferingMark:
    """In force for two more minutes."""
    values: dict[str, Any] = {
        **{"capacity_type": SPOT, "instance_type": "g4dn.metal", "zone": zone, "until": after(120), "code": code},
        **{"message": "We currently do not have sufficient g4dn.metal capacity.", "marked_at": ago(60)},
    }
    return OfferingMark(**{**values, **changes})


def price(amount: str, zone: str = ZONES[0], name: str = "g4dn.metal") -> MarketPrice:
    return MarketPrice(instance_type=name, zone=zone, price=Decimal(amount), seen_at=ago(120))


def snapshot(**changes: Any) -> Snapshot:
    """An empty pool with nothing to do; every type of the pool has an image, every zone a subnet."""
    owner: Pool = changes.get("pool", pool())
    values: dict[str, Any] = {
        **{"pool": owner, "epoch": 1, "instances": (), "leases": (), "intentions": (), "marks": (), "queue": ()},
        **{"queue_complete": True, "subnets": tuple((zone, f"subnet-{zone[-1]}") for zone in ZONES)},
        **{"images": tuple((facts.name, "ami-1") for facts in owner.types), "prices": (), "reasons": ()},
        **{"unfulfilled_since": None, "stack_closing": False, "settings": Settings()},
    }
    return Snapshot(**{**values, **changes})
