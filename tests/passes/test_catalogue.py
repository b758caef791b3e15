"""The daily look at EC2's catalogue and the price list: pools know today's facts and keep their owners' word."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import ROUND_DOWN, Decimal

import pytest
from botocore.exceptions import ClientError

from lambdas.adapters import keys
from lambdas.control.catalogue import RESERVE, Refresher, refresh
from lambdas.domain.pools.pools import Pool, TypeFacts
from lowtide.market import catalogue as market
from lowtide.sim.calls import FailNext, aws_error
from lowtide.sim.functions import Function
from lowtide.sim.world import World
from tests.crash.deployed import CPU, cpu, facts, world

DAY = timedelta(days=1)
PLENTY = timedelta(minutes=5)
OLD = replace(facts(CPU, 2), on_demand_price=Decimal("0.01"), vcpus=1, gpus=7)


def stored(of: World, name: str = "cpu") -> Pool:
    found = of.config.pool(name)
    assert found is not None
    return found


def test_within_a_day_a_pool_has_the_facts_and_prices_of_today_in_the_version_it_had() -> None:
    of = world(cpu(types=(OLD,)))
    before = stored(of)
    of.run_for(DAY)
    after = stored(of)
    assert after == replace(before, types=(facts(CPU, 2),))
    [first] = of.config.history("cpu")
    assert first.types == (OLD,), "the history keeps what the version was applied with"


def test_the_owners_slots_stay() -> None:
    of = world(cpu(types=(replace(OLD, slots=16),)))
    of.invoke(Function.CATALOGUE, {})
    assert stored(of).types == (facts(CPU, 16),)


def test_a_type_that_ec2_does_not_list_stays_as_its_owner_described_it() -> None:
    told = TypeFacts(
        name="x99.huge", vcpus=0, memory_mib=0, gpus=0, architecture="x86_64", on_demand_price=None, slots=4
    )
    of = world(cpu(types=(told, OLD)))
    of.invoke(Function.CATALOGUE, {})
    assert stored(of).types == (told, facts(CPU, 2))


def test_a_price_that_cannot_be_read_stays_and_the_other_facts_come() -> None:
    of = world(cpu(types=(OLD,)))
    denied = [aws_error("AccessDeniedException", "not authorized", "GetProducts")] * 2  # one for each type
    of.hook = FailNext({"pricing.get_products": denied})
    of.invoke(Function.CATALOGUE, {})
    assert stored(of).types == (replace(facts(CPU, 2), on_demand_price=OLD.on_demand_price),)


def test_a_limit_in_percent_follows_the_price() -> None:
    of = world(cpu(types=(OLD,), spot_max_price=None, spot_max_percent=Decimal(60)))
    of.invoke(Function.CATALOGUE, {})
    [kind] = stored(of).types
    price = market.on_demand_price(CPU)
    assert price is not None
    assert stored(of).price_limit(kind) == (price * Decimal("0.6")).quantize(Decimal("0.0001"), ROUND_DOWN)


class Interposed:
    """The pools, with somebody applying one between the reading and the writing."""

    def __init__(self, of: World, between: Callable[[], object]) -> None:
        self._config = of.config
        self._between = between

    def readable(self) -> tuple[list[Pool], frozenset[str]]:
        found = self._config.readable()
        self._between()
        return found

    def put_types(self, pool: Pool) -> bool:
        return self._config.put_types(pool)


class Listed:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def listings(self, names):  # type: ignore[no-untyped-def]
        from lambdas.adapters.catalogue import TypeListing

        return {
            name: TypeListing(name=name, vcpus=2, memory_mib=8192, gpus=0, architecture="arm64", bare_metal=False)
            for name in names
        }

    def on_demand_price(self, instance_type: str) -> Decimal | None:
        self.asked.append(instance_type)
        return Decimal(1)


def test_who_applies_a_pool_meanwhile_is_not_overwritten() -> None:
    of = world(cpu(types=(OLD,)))
    applied = replace(stored(of), max_instances=7)
    works = Refresher(pools=Interposed(of, lambda: of.apply(applied)), catalogue=Listed())
    assert "cpu" not in refresh(works, lambda: PLENTY)
    assert (stored(of).max_instances, stored(of).types) == (7, (OLD,))


def test_each_price_is_asked_for_once_however_many_pools_use_the_type() -> None:
    of = world(cpu())
    of.apply(replace(cpu(), name="twin"))
    listed = Listed()
    refresh(Refresher(pools=of.config, catalogue=listed), lambda: PLENTY)
    assert sorted(listed.asked) == sorted({facts.name for pool in of.config.pools() for facts in pool.types})


def test_when_time_is_short_the_pools_are_written_with_the_prices_they_had() -> None:
    of = world(cpu(types=(OLD,)))
    listed = Listed()
    assert "cpu" in refresh(Refresher(pools=of.config, catalogue=listed), lambda: RESERVE)
    [kind] = stored(of).types
    assert (listed.asked, kind.vcpus, kind.on_demand_price) == ([], 2, OLD.on_demand_price)


def test_when_ec2_does_not_answer_nothing_changes_and_the_function_fails() -> None:
    of = world(cpu(types=(OLD,)))
    refused = aws_error("RequestLimitExceeded", "slow down", "DescribeInstanceTypes")

    class Silent(Listed):
        def listings(self, names):  # type: ignore[no-untyped-def]
            raise refused

    with pytest.raises(ClientError):
        refresh(Refresher(pools=of.config, catalogue=Silent()), lambda: PLENTY)
    assert stored(of).types == (OLD,)


def test_a_pool_whose_record_cannot_be_read_keeps_no_other_from_the_facts_of_today() -> None:
    of = world(cpu(types=(OLD,)))
    of.table.put({"pk": keys.POOLS, "sk": "bad", "pool": "bad"})
    of.table.put({"pk": keys.pool("bad"), "sk": keys.CONFIG, "pool": "bad", "document": {}})
    assert "cpu" in refresh(Refresher(pools=of.config, catalogue=Listed()), lambda: PLENTY)


def test_a_stack_without_pools_asks_nobody() -> None:
    class Nobody(Listed):
        def listings(self, names):  # type: ignore[no-untyped-def]
            raise AssertionError("asked")

    class Empty:
        def readable(self) -> tuple[list[Pool], frozenset[str]]:
            return [], frozenset()

        def put_types(self, pool: Pool) -> bool:
            raise AssertionError("written")

    assert refresh(Refresher(pools=Empty(), catalogue=Nobody()), lambda: PLENTY) == ()
