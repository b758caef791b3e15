"""An ended instance's record becomes its bill, once, with everything that ran on it."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from lambdas.adapters import keys
from lambdas.adapters.bill_items import bill_from
from lambdas.adapters.launch_table import LaunchTable
from lambdas.domain.buying.bills import Bill
from lambdas.domain.instants import to_text
from lambdas.domain.pools.pools import CapacityType
from lowtide.sim.calls import KillAt, Killed
from tests.passes.world import World, pool

KEPT = timedelta(days=90)


@pytest.fixture
def world() -> World:
    """One instance that was launched two hours ago and has ended now; nobody has forgotten it yet."""
    made = World()
    made.ec2.prices = {("c7i.large", "us-west-2a"): Decimal("0.03")}
    made.apply(pool(max_instances=1))
    made.enqueue(1)
    made.run()
    made.clear_queue()
    made.advance(7200)
    change(made, observed_state="terminated", observed_at=to_text(made.clock()))
    return made


def change(world: World, **values: Any) -> None:
    (instance_id,) = world.instances()
    named = ", ".join(f"{name} = :{name}" for name in values)
    world.table.update(
        keys.pool("cpu"), keys.instance(instance_id), f"SET {named}", values={f":{n}": v for n, v in values.items()}
    )


def bills(world: World) -> list[Bill]:
    return [bill_from(item) for item in world.table.query(keys.BILLS)]


def test_a_pass_writes_the_bill_of_an_instance_that_is_gone(world: World) -> None:
    change(world, leased_slot_seconds=3600, leased_usd=Decimal("0.025"), interrupted_usd=Decimal("0.01"))
    world.advance(60)
    world.run()
    assert world.instances() == {}
    (bill,) = bills(world)
    assert bill.ended_at - bill.launched_at == timedelta(hours=2)
    beside = 2 * (Decimal("0.08") * 200 / 730 + Decimal("0.005"))
    assert abs(bill.cost_usd - (Decimal("0.06") + beside)) < Decimal("0.000001")  # type: ignore[operator]
    assert abs(bill.on_demand_cost_usd - (Decimal("0.20") + beside)) < Decimal("0.000001")  # type: ignore[operator]
    assert (bill.capacity_type, bill.slots, bill.cost_estimated) == (CapacityType.SPOT, 1, False)
    assert (bill.leased_slot_seconds, bill.leased_usd, bill.interrupted_usd) == (
        *(3600, Decimal("0.025")),
        Decimal("0.01"),
    )


def test_bills_are_kept_as_long_as_ended_jobs_and_lie_in_order_of_time(world: World) -> None:
    world.run()
    (item,) = world.table.query(keys.BILLS)
    assert item["expires_at"] == int((world.clock() + world.settings.jobs_kept).timestamp())
    assert item["sk"].startswith(to_text(world.clock()))


def test_an_instance_of_which_no_price_is_known_has_a_bill_without_a_cost(world: World) -> None:
    (instance_id,) = world.instances()
    world.table.update(keys.pool("cpu"), keys.instance(instance_id), "REMOVE prices")
    assert LaunchTable(world.table).forget("cpu", instance_id, world.clock(), bill_kept=KEPT)
    (bill,) = bills(world)
    assert (bill.cost_usd, bill.on_demand_cost_usd, bill.cost_estimated) == (None, None, True)


def test_an_instance_with_a_lease_is_kept_without_a_bill(world: World) -> None:
    (instance_id,) = world.instances()
    world.lease(instance_id)
    assert not LaunchTable(world.table).forget("cpu", instance_id, world.clock(), bill_kept=KEPT)
    assert (set(world.instances()), bills(world)) == ({instance_id}, [])


def test_what_an_attempt_adds_while_the_bill_is_made_is_not_lost(world: World) -> None:
    class Ending:
        """An attempt ends between the bill's reading and its writing."""

        def before(self, operation: str, request: Any) -> None:
            if operation == "dynamodb.transact_write_items":
                world.dynamodb.hook = None
                change(world, turned_at=to_text(world.clock()), leased_usd=Decimal("0.02"))

        def after(self, operation: str, request: Any, response: Any) -> None: ...

    (instance_id,) = world.instances()
    world.dynamodb.hook = Ending()
    table = LaunchTable(world.table)
    assert not table.forget("cpu", instance_id, world.clock(), bill_kept=KEPT)
    assert table.forget("cpu", instance_id, world.clock(), bill_kept=KEPT)
    assert [bill.leased_usd for bill in bills(world)] == [Decimal("0.02")]


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("call", [1, 2])
def test_whenever_a_pass_dies_there_is_one_bill_in_the_end(world: World, call: int, after_effect: bool) -> None:
    (instance_id,) = world.instances()
    table = LaunchTable(world.table)
    world.dynamodb.hook = KillAt(call, after_effect)
    with pytest.raises(Killed):
        table.forget("cpu", instance_id, world.clock(), bill_kept=KEPT)
    world.dynamodb.hook = None
    assert table.forget("cpu", instance_id, world.clock() + timedelta(minutes=1), bill_kept=KEPT)
    assert (world.instances(), len(bills(world))) == ({}, 1)
