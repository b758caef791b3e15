"""What the dashboard shows of money: the price beside the limit, and the same instances on demand."""

from decimal import Decimal

from lambdas.domain.buying.spending import beside, on_demand_cost_of, price_of_limit
from tests.domain.build import ZONES, instance, kind, pool, price, snapshot


def test_the_price_by_the_limit_is_the_offerings_that_comes_nearest_to_being_had() -> None:
    prices = (price("3.6", ZONES[0]), price("1.5", ZONES[1]))
    assert price_of_limit(snapshot(prices=prices)) == Decimal("0.5")


def test_a_market_above_every_limit_is_above_one() -> None:
    assert price_of_limit(snapshot(prices=(price("3.6"),))) == Decimal("1.2")


def test_a_types_limit_is_its_own_where_the_pools_is_a_share() -> None:
    shared = pool(spot_max_price=None, spot_max_percent=Decimal(50))
    assert price_of_limit(snapshot(pool=shared, prices=(price("1.956"),))) == Decimal("0.5")


def test_without_a_price_or_a_limit_nothing_is_said() -> None:
    assert price_of_limit(snapshot()) is None
    unlimited = pool(spot_max_price=None, types=(kind(price=None),))
    assert price_of_limit(snapshot(pool=unlimited, prices=(price("1"),))) is None
    assert price_of_limit(snapshot(pool=pool(spot=False), prices=(price("1"),))) is None


def test_the_same_instances_on_demand_cost_the_list_price() -> None:
    of = snapshot(prices=(price("1.5"),))
    assert on_demand_cost_of([instance()], of) == Decimal("7.824") + beside(of.pool)


def test_a_type_without_a_list_price_saves_nothing() -> None:
    unknown = snapshot(pool=pool(types=(kind(price=None),)), prices=(price("1.5"),))
    assert on_demand_cost_of([instance()], unknown) == Decimal("1.5") + beside(unknown.pool)
