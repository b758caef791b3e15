"""Instances as the worker API knows them: which pool one belongs to, what it holds, what it says of itself."""

from dataclasses import dataclass
from datetime import datetime

from lambdas.adapters import items, keys
from lambdas.adapters.attributes import Item
from lambdas.adapters.pool_config import pool_from
from lambdas.adapters.table import Conflict, Table, Unavailable
from lambdas.domain.fleet.fleet import Instance, InstanceState
from lambdas.domain.instants import from_text, to_text
from lambdas.domain.jobs.fit import Used
from lambdas.domain.pools.pools import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """An instance, its pool, and what is taken of it."""

    instance: Instance
    pool: Pool
    leases: int
    used: Used
    turned_at: datetime
    """When it last got or gave back a lease, or first called."""
    fleet: int
    """Running instances of the pool, by its last pass."""


class UnknownInstance(Exception):
    """The table has no record of the instance: not one of ours, gone, or launched a moment ago."""


class Workers:
    def __init__(self, table: Table) -> None:
        self._table = table
        self._pools: dict[str, str] = {}

    def pool_of(self, instance_id: str) -> str:
        """One read of the list FLEET, once per instance and process: an instance never changes its pool.

        Raises UnknownInstance."""
        if (pool := self._pools.get(instance_id)) is None:
            listed = self._table.query(keys.FLEET, prefix=instance_id, index=True)
            pool = next((item["pool"] for item in listed if item["instance_id"] == instance_id), None)
            if pool is None:
                raise UnknownInstance(instance_id)
            self._pools[instance_id] = pool
        return pool

    def seat(self, instance_id: str) -> Seat:
        """One call. Raises UnknownInstance."""
        pool = keys.pool(self.pool_of(instance_id))
        wanted = [(pool, keys.instance(instance_id)), (pool, keys.CONFIG), (pool, keys.STATE)]
        found = {item["sk"]: item for item in self._table.get_many(wanted)}
        if keys.instance(instance_id) not in found or keys.CONFIG not in found:
            raise UnknownInstance(instance_id)
        return _seat(found[keys.instance(instance_id)], pool_from(found[keys.CONFIG]), found.get(keys.STATE, {}))

    def report(self, seat: Seat, now: datetime) -> bool:
        """The instance's worker has called: from its first call on it runs, and is idle unless it holds a lease.
        False: it had called before."""
        if seat.instance.reported_at is not None:
            return False
        item = self._table.insist(lambda: self._first_call(seat.instance, now))
        return item["reported_at"] == to_text(now)

    def _first_call(self, instance: Instance, now: datetime) -> Item:
        running = "#state = :running, " if instance.state == InstanceState.LAUNCHING else ""
        named = {":running": InstanceState.RUNNING.value} if running else {}
        try:
            return self._table.update(
                keys.pool(instance.pool),
                keys.instance(instance.instance_id),
                f"SET {running}reported_at = :now, heartbeat_at = :now, idle_since = :now, turned_at = :now",
                condition="#state = :state AND attribute_not_exists(reported_at)",
                names={"#state": "state"},
                values={":now": to_text(now), ":state": instance.state.value, **named},
                returning=True,
            )
        except Conflict as conflict:
            stored = conflict.items[0] if conflict.items else None
            if conflict.contended:
                raise
            if stored is None:
                raise UnknownInstance(instance.instance_id) from conflict
            if "reported_at" in stored:
                return stored
            raise Unavailable(f"the state of {instance.instance_id} changed") from conflict


def _seat(instance: Item, pool: Pool, state: Item) -> Seat:
    turned = instance.get("turned_at", instance["launched_at"])
    return Seat(
        instance=items.instance_from(instance),
        pool=pool,
        leases=instance["leases"],
        used=items.used_from(instance),
        turned_at=from_text(turned),
        fleet=state.get("summary", {}).get("running", 0),
    )
