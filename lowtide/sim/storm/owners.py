"""What owners of pools do in a storm: they change them, damage them, and drain their instances."""

import contextlib
from dataclasses import replace
from decimal import Decimal
from typing import Any

from lambdas.adapters import items, keys
from lambdas.adapters.faults import Conflict
from lambdas.adapters.pool_config import Unreadable
from lambdas.domain.fleet.fleet import Instance
from lambdas.domain.pools.machine import Machine
from lambdas.domain.pools.pools import OnDemandFallback, Schedule
from lowtide.cli import fleet_store
from lowtide.sim.storm.pools import LIMITS, TYPES, pool
from lowtide.sim.storm.stage import MINUTE, Stage
from lowtide.sim.storm.story import Incident

UNREADABLE = "cannot be read: KeyError('types')"
"""What a pass over a damaged record ends with, and a call of its workers."""


def apply(stage: Stage, name: str, **changes: Any) -> None:
    with contextlib.suppress(Conflict, Unreadable):
        stage.world.apply(pool(name, **changes))


def changed(stage: Stage, told: Incident) -> None:
    changes: tuple[dict[str, Any], ...] = (
        {"max_instances": 1},
        {"paused": True},
        {"min_instances": 1, "warm_instances": 1},
        {"on_demand_fallback": OnDemandFallback(after=2 * MINUTE, return_after=5 * MINUTE)},
    )
    apply(stage, told.pool, **changes[told.number - 1])


def changed_otherwise(stage: Stage, told: Incident) -> None:
    changes: tuple[dict[str, Any], ...] = (
        {"spot_max_price": LIMITS[told.pool] * Decimal("0.7")},
        {"max_instance_lifetime": 5 * MINUTE},
        {"on_demand_base": 1, "max_hourly_cost": LIMITS[told.pool] * 3},
        {"machine": Machine(root_volume_size=300)},
    )
    apply(stage, told.pool, **changes[told.number - 1])


def scheduled(stage: Stage, told: Incident) -> None:
    window = Schedule(name="storm", start="*/10 * * * *", duration=told.number * MINUTE, max_instances=1)
    apply(stage, told.pool, schedules=(replace(window, min_instances=told.number % 2),))


def restored(stage: Stage, told: Incident) -> None:
    apply(stage, told.pool)


def deleted(stage: Stage, told: Incident) -> None:
    """A pool is deleted, and applied again later, at the storm's end at the latest (`calm`)."""
    apply(stage, told.pool, deleted=True)

    def restore() -> None:
        if not stage.over:
            apply(stage, told.pool)

    stage.world.at(stage.world.clock() + told.number * MINUTE, restore)


def misconfigured(stage: Stage, told: Incident) -> None:
    """What `pools validate` would have found, or what went away since: every launch is refused."""
    changes: tuple[dict[str, Any], ...] = (
        {"image_id": "ami-gone", "images": (("m7g.large", "ami-gone"),)},
        {"subnets": (("us-east-1a", "subnet-gone"),)},
        {"images": tuple((name, "ami-gone") for name, _ in TYPES[told.pool])},
        {"subnets": (("us-east-1a", "subnet-a"), ("us-east-1b", "subnet-gone"))},
    )
    apply(stage, told.pool, **changes[told.number - 1])


def unreadable(stage: Stage, told: Incident) -> None:
    """A pool's record is damaged, so every pass over it fails with an error that nobody thought of."""
    table, place = stage.world.table, (keys.pool(told.pool), keys.CONFIG)
    found = table.get(*place)
    if found is None or "types" not in found["document"]:
        return
    damaged = {**found, "document": {k: v for k, v in found["document"].items() if k != "types"}}
    table.put(damaged)

    def restore() -> None:
        current = table.get(*place)
        if current is not None and current == damaged:
            table.put({**current, "document": found["document"]})

    stage.repairs.append(restore)
    stage.world.at(stage.world.clock() + told.number * MINUTE, restore)


def _recorded(stage: Stage, name: str) -> list[Instance]:
    found = [items.instance_from(item) for item in stage.seen.instances.values() if item["pool"] == name]
    return sorted(found, key=lambda each: each.instance_id)


def drained(stage: Stage, told: Incident) -> None:
    for instance in _recorded(stage, told.pool)[: told.number]:
        with contextlib.suppress(Conflict, fleet_store.Busy):
            idle_only = told.number % 2 == 0
            fleet_store.drain(stage.world.table, instance, stage.world.clock(), "by hand", idle_only=idle_only)
