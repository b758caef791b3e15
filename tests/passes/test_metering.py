"""Passes keep what instances cost: from their launch, and as the market moves."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lambdas.adapters import keys
from lambdas.adapters.bill_items import tariff_from
from lambdas.control.metering import NOTED_A_PASS
from lambdas.domain.buying.bills import Tariff
from lowtide.sim.calls import Recorder, Request, Response, aws_error
from tests.passes.world import World, pool

HOUR = 3600
A, B = ("c7i.large", "us-west-2a"), ("c7i.large", "us-west-2b")


@dataclass
class Refusing:
    """The table takes no update of one item."""

    instance_id: str

    def before(self, operation: str, request: Request) -> None:
        if operation == "dynamodb.update_item" and self.instance_id in request["Key"]["sk"]["S"]:
            raise aws_error("UpdateItem", "InternalServerError", "?", status=500)

    def after(self, operation: str, request: Request, response: Response) -> None: ...


def launched(count: int = 1, *, prices: dict[tuple[str, str], Any] | None = None, **changes: Any) -> World:
    """Instances that run, each with a job."""
    world = World()
    world.ec2.prices = {A: Decimal("0.031"), B: Decimal("0.04")} if prices is None else prices
    world.apply(pool(max_instances=count, **changes))
    world.enqueue(count)
    world.run()
    world.clear_queue()
    for instance_id in world.instances():
        world.report(instance_id)
        world.lease(instance_id)
    return world


def tariffs(world: World) -> list[Tariff | None]:
    return [tariff_from(item) for item in world.under(keys.INSTANCE_PREFIX)]


def prices(world: World) -> tuple[tuple[int, Decimal], ...]:
    (tariff,) = tariffs(world)
    assert tariff is not None
    return tariff.prices


def test_an_instance_is_recorded_with_the_price_of_the_offering_that_was_given() -> None:
    world = launched()
    (tariff,) = tariffs(world)
    assert tariff is not None
    assert (tariff.prices, tariff.on_demand, tariff.estimated) == (((0, Decimal("0.031")),), Decimal("0.10"), False)


def test_where_the_market_does_not_say_the_limit_counts_and_is_told_as_an_estimate() -> None:
    (tariff,) = tariffs(launched(prices={}))
    assert tariff is not None
    assert (tariff.prices, tariff.estimated) == (((0, Decimal("0.05")),), True)


def test_an_on_demand_instance_costs_the_list_price() -> None:
    assert prices(launched(spot=False, spot_max_price=None)) == ((0, Decimal("0.10")),)


def test_a_price_that_moves_is_noted_for_the_hours_after_it() -> None:
    world = launched()
    world.advance(1.5 * HOUR)
    world.ec2.prices[A] = Decimal("0.045")
    world.run()
    assert prices(world) == ((0, Decimal("0.031")), (1, Decimal("0.045")))


def test_a_pool_whose_jobs_all_run_still_reads_the_market_now_and_then() -> None:
    world, recorder = launched(), Recorder()
    world.hook(recorder)
    for _ in range(60):
        world.advance(60)
        world.run()
    assert 3 <= sum(call.startswith("ec2.describe_spot_price_history") for call in recorder.calls) <= 4


def test_a_pool_without_spot_instances_and_without_need_reads_no_market() -> None:
    world, recorder = World(), Recorder()
    world.apply(pool())
    world.hook(recorder)
    world.run()
    assert not any(call.startswith("ec2.") for call in recorder.calls)


def test_an_unchanged_market_is_not_written_again() -> None:
    world, recorder = launched(), Recorder()
    world.advance(2 * HOUR)
    world.run()
    world.hook(recorder)
    world.run()
    assert recorder.calls.count("dynamodb.update_item") == 2, "the pool's state, at the beginning and the end"


def test_an_adopted_instance_gets_its_price_in_the_next_pass() -> None:
    world = launched()
    (item,) = world.under(keys.INSTANCE_PREFIX)
    world.table.put({k: v for k, v in item.items() if k not in ("prices", "beside_price", "price_estimated")})
    assert tariffs(world) == [None]
    world.run()
    assert prices(world) == ((0, Decimal("0.031")),)


def test_of_a_large_fleet_one_pass_notes_a_part_and_the_next_goes_on() -> None:
    count = NOTED_A_PASS + 20
    world = launched(count)
    world.advance(1.5 * HOUR)
    world.ec2.prices = dict.fromkeys(world.ec2.prices, Decimal("0.045"))
    noted: list[int] = []
    for _ in range(2):
        world.run()
        noted.append(sum(len(tariff.prices) == 2 for tariff in tariffs(world) if tariff))
    assert noted == [NOTED_A_PASS, count]


def test_prices_that_cannot_be_noted_fail_no_pass_and_are_noted_later() -> None:
    world = launched()
    world.advance(1.5 * HOUR)
    world.ec2.prices[A] = Decimal("0.045")
    begun = world.state()["epoch"]
    (instance_id,) = world.instances()
    world.hook(Refusing(instance_id))
    world.run()
    assert (len(prices(world)), world.state()["epoch"]) == (1, begun + 1)
    assert world.state()["summary"]["running"] == 1, "the pass concluded"
    world.hook(None)
    world.run()
    assert len(prices(world)) == 2
