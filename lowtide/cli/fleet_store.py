"""A deployment's instances as the operator's verbs read and change them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from lambdas import names
from lambdas.adapters import items, keys
from lambdas.adapters.pool_config import look_anew_op
from lambdas.adapters.table import Conflict, Item, Table
from lambdas.adapters.workers import UnknownInstance, Workers
from lambdas.domain.fleet.fleet import Instance, Lease
from lambdas.domain.instants import to_text
from lambdas.domain.pools.pools import CapacityType, Pool
from lowtide.cli.connection import Deployment

_RECORD = 1
"""The place of the instance's record in the transaction that drains it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An instance and what runs on it."""

    instance: Instance
    leases: tuple[Lease, ...]


class Busy(Exception):
    """The instance holds a job."""


def instances(table: Table, pools: Iterable[str]) -> Iterator[Held]:
    """Of these pools, in order of pool, then of launch."""
    for pool in pools:
        found = [items.instance_from(item) for item in table.query(keys.pool(pool), prefix=keys.INSTANCE_PREFIX)]
        leases = [items.lease_from(item) for item in table.query(keys.pool(pool), prefix=keys.LEASE_PREFIX)]
        for instance in sorted(found, key=lambda each: (each.launched_at, each.instance_id)):
            yield Held(instance=instance, leases=tuple(x for x in leases if x.instance_id == instance.instance_id))


def recorded(table: Table, instance_id: str) -> Held | None:
    """None where the table has no record of it: not one of ours, launched a moment ago, or gone."""
    try:
        pool = Workers(table).pool_of(instance_id)
    except UnknownInstance:
        return None
    return next((held for held in instances(table, [pool]) if held.instance.instance_id == instance_id), None)


def price_now(table: Table, instance: Instance, pool: Pool | None) -> Decimal | None:
    """USD per hour at the market, or the price list's for on-demand; None: not known."""
    if instance.capacity_type is CapacityType.SPOT:
        found: Item = table.get(keys.MARKET, keys.market(instance.instance_type, instance.zone)) or {}
        return Decimal(found["price"]) if "price" in found else None
    facts = pool.facts(instance.instance_type) if pool else None
    return facts and facts.on_demand_price


def drain(table: Table, instance: Instance, now: datetime, why: str, *, idle_only: bool) -> None:
    """The instance takes no job from now on; the next pass ends it once its jobs have ended.

    Raises Busy where it holds a job and `idle_only` is asked for: in one step with every claim, so that none slips in.
    Raises Conflict where its record is gone."""
    record = table.update_op(
        keys.pool(instance.pool),
        keys.instance(instance.instance_id),
        "SET #state = :draining, draining_since = if_not_exists(draining_since, :now), "
        "drain_reason = if_not_exists(drain_reason, :why)",
        condition="leases = :none" if idle_only else "attribute_exists(pk)",
        names={"#state": "state"},
        values={":draining": "draining", ":now": to_text(now), ":why": why, **({":none": 0} if idle_only else {})},
    )
    try:
        table.insist(lambda: table.transact([look_anew_op(table, instance.pool, now), record]))
    except Conflict as conflict:
        if idle_only and conflict.failed(_RECORD):
            raise Busy(instance.instance_id) from conflict
        raise


def carries_the_stacks_tag(deployment: Deployment, instance_id: str) -> bool:
    """Whether EC2 knows it as this stack's: what does not carry the tag is never ended."""
    tag = {"Key": names.TAG_STACK, "Value": deployment.stack}
    answer = deployment.client("ec2").describe_instances(
        Filters=[
            {"Name": "instance-id", "Values": [instance_id]},
            {"Name": f"tag:{names.TAG_STACK}", "Values": [deployment.stack]},
        ]
    )
    return any(tag in found.get("Tags", []) for r in answer["Reservations"] for found in r["Instances"])
