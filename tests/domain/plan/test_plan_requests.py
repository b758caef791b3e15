"""What the requests of a plan ask for: prices, types, zones, and what one call may hold."""

from decimal import Decimal

from lambdas.domain.buying.requests import MOST_INSTANCES, MOST_LAUNCHES, MOST_OVERRIDES
from lambdas.domain.buying.shops import MOST_CAPS
from lambdas.domain.fleet.actions import Launch
from lambdas.domain.plan.plan import plan
from tests.domain.build import (
    NOW,
    ON_DEMAND,
    ZONES,
    job,
    kind,
    pool,
    price,
    snapshot,
)
from tests.domain.effects import applied
from tests.domain.plans import (
    LARGE,
    SMALL,
    classes,
    codes,
    counts,
    jobs,
    of,
    planned,
)


def test_every_spot_override_carries_the_limit_and_each_zone_once() -> None:
    (launch,) = of(Launch, planned(queue=jobs(1)))
    overrides = launch.request.overrides
    assert [(o.zone, o.max_price, o.image_id) for o in overrides] == [(zone, Decimal(3), "ami-1") for zone in ZONES]


def test_without_a_price_limit_the_on_demand_price_is_the_limit() -> None:
    (launch,) = of(Launch, planned(queue=jobs(1), pool=pool(spot_max_price=None)))
    assert {override.max_price for override in launch.request.overrides} == {Decimal("7.824")}


def test_a_percentage_is_a_limit_of_its_own_for_each_type() -> None:
    shared = pool(types=(LARGE, SMALL), spot_max_price=None, spot_max_percent=Decimal(50))
    (launch,) = of(Launch, planned(queue=jobs(1, 1), pool=shared))
    asked = {override.instance_type: override.max_price for override in launch.request.overrides}
    assert asked == {"g5.48xlarge": Decimal("8.145"), "g5.xlarge": Decimal("0.505")}


def test_a_type_whose_on_demand_price_is_not_known_is_not_asked_for_by_percentage() -> None:
    nameless = pool(types=(kind(price=None),), spot_max_price=None, spot_max_percent=Decimal(50))
    decided = planned(queue=jobs(1), pool=nameless)
    assert of(Launch, decided) == []
    assert (classes(decided), codes(decided)) == (["configuration"], ["NoOnDemandPrice"])


def test_an_on_demand_pool_asks_without_a_price_and_by_a_strategy_that_ec2_takes() -> None:
    (launch,) = of(Launch, planned(queue=jobs(1), pool=pool(spot=False, spot_max_price=None)))
    assert launch.request.capacity_type is ON_DEMAND
    assert {override.max_price for override in launch.request.overrides} == {None}
    assert launch.request.allocation_strategy == "lowest-price"


def test_a_request_offers_every_type_on_which_each_of_its_bins_fits() -> None:
    types = (LARGE, SMALL)
    decided = planned(
        pool=pool(types=types, spot_max_price=Decimal(20), max_instances=20), queue=(*jobs(1), *jobs(1, 1))
    )
    offered = {frozenset(o.instance_type for o in launch.request.overrides) for launch in of(Launch, decided)}
    assert offered == {frozenset({"g5.48xlarge"}), frozenset({"g5.48xlarge", "g5.xlarge"})}


def test_the_market_decides_between_types() -> None:
    types = (kind("a", 4, "2"), kind("b", 4, "2"))
    prices = (price("0.9", name="a"), price("0.3", name="b"))
    decided = planned(pool=pool(types=types), queue=jobs(2, 4), prices=prices, subnets=((ZONES[0], "subnet-a"),))
    (launch,) = of(Launch, decided)
    assert launch.request.count == 2


def test_one_pass_makes_few_requests_and_says_what_it_deferred() -> None:
    types = tuple(kind(f"t{slots}", slots, str(slots)) for slots in range(1, 13))
    queue = tuple(job(slots) for slots in range(12, 0, -1))
    decided = planned(pool=pool(types=types, max_instances=50, spot_max_price=Decimal(20)), queue=queue)
    assert 1 <= len(of(Launch, decided)) <= 8
    asked = sum(counts(decided))
    assert ("RequestsDeferred" in codes(decided)) == (decided.numbers.unfulfilled > asked)


def test_one_pass_makes_eight_requests_at_most_and_the_next_one_the_rest() -> None:
    """Eleven jobs, each under a limit of its own, take a request each."""
    queue = tuple(job(8, spot_max_price=Decimal(2) + Decimal(n) / 100) for n in range(MOST_CAPS))
    queue += tuple(job(8 + n, resources=None) for n in range(1, 4))
    types = (kind(), *(kind(f"t{slots}", slots, str(slots)) for slots in (9, 10, 11)))
    world = snapshot(pool=pool(types=types, max_instances=50, spot_max_price=Decimal(20)), queue=queue)
    first = plan(world, NOW)
    assert len(of(Launch, first)) == MOST_LAUNCHES == 8
    assert "RequestsDeferred" in codes(first)
    second = plan(applied(world, first, NOW), NOW)
    assert sum(counts(first)) + sum(counts(second)) == len(queue)
    assert "RequestsDeferred" not in codes(second)


MANY = tuple(kind(f"t{n:03d}", 8, str(Decimal(1) + Decimal(n) / 100)) for n in range(220))
"""In three zones, more offerings than two requests may name."""


def named(launch: Launch) -> set[str]:
    return {override.instance_type for override in launch.request.overrides}


def test_one_instance_is_asked_for_from_as_many_of_the_cheapest_offerings_as_one_call_may_have() -> None:
    (launch,) = of(Launch, planned(pool=pool(types=MANY, spot_max_price=Decimal(20)), queue=jobs(1)))
    assert len(launch.request.overrides) == MOST_OVERRIDES == 300
    assert named(launch) == {facts.name for facts in MANY[:100]}, "of each type three zones"


def test_more_offerings_than_one_call_may_have_are_dealt_out_to_several_by_their_price_in_turn() -> None:
    asked = of(Launch, planned(pool=pool(types=MANY, spot_max_price=Decimal(20), max_instances=50), queue=jobs(9)))
    assert [launch.request.count for launch in asked] == [3, 3, 3]
    offerings = [{(override.instance_type, override.zone) for override in launch.request.overrides} for launch in asked]
    assert [len(each) for each in offerings] == [220, 220, 220]
    assert set.union(*offerings) == {(facts.name, zone) for facts in MANY for zone in ZONES}
    assert all("t000" in named(launch) and "t219" in named(launch) for launch in asked), "each has cheap ones"


def test_few_instances_leave_the_dearest_offerings_out() -> None:
    asked = of(Launch, planned(pool=pool(types=MANY, spot_max_price=Decimal(20)), queue=jobs(2)))
    assert [(launch.request.count, len(launch.request.overrides)) for launch in asked] == [(1, 300), (1, 300)]
    assert set.union(*map(named, asked)) == {facts.name for facts in MANY[:200]}


def test_more_instances_than_one_call_may_ask_for_are_asked_for_in_several() -> None:
    many = pool(types=(kind(),), max_instances=5_000, min_instances=MOST_INSTANCES * 2 + 1)
    asked = of(Launch, planned(pool=many))
    assert [launch.request.count for launch in asked] == [667, 667, 667]
    assert len({launch.request.overrides for launch in asked}) == 1
