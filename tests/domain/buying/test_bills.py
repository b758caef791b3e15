"""What instances cost, and who is charged for it."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.buying.bills import (
    HOUR,
    STEPS_MOST,
    Tariff,
    attempt_charge,
    cost,
    end_of,
    noted,
    tariff_of,
)
from lambdas.domain.buying.spending import beside
from lambdas.domain.fleet.snapshot import MarketPrice
from tests.domain.build import NOW, ON_DEMAND, ZONES, after, ago, instance, kind, pool

MINUTE = timedelta(minutes=1)


def tariff(*prices: tuple[int, str], **changes: Any) -> Tariff:
    """Of an instance launched now, with two cents an hour beside it."""
    values: dict[str, Any] = {"on_demand": Decimal(8), "beside": Decimal("0.02"), **changes}
    return Tariff(launched_at=NOW, prices=tuple((hour, Decimal(usd)) for hour, usd in prices), **values)


def market(usd: str, seen_at: datetime) -> MarketPrice:
    return MarketPrice(instance_type="g4dn.metal", zone=ZONES[0], price=Decimal(usd), seen_at=seen_at)


def usd(of: Tariff, begin: datetime, end: datetime) -> Decimal:
    charge = cost(of, begin, end)
    assert charge is not None
    return charge.usd


def test_each_hour_costs_what_was_in_force_at_its_beginning_and_what_is_beside_it() -> None:
    assert usd(tariff((0, "0.30"), (1, "0.40")), NOW, NOW + 2 * HOUR) == Decimal("0.74")


def test_parts_of_hours_are_charged_to_the_second() -> None:
    assert usd(tariff((0, "0.30"), (1, "0.60")), NOW + 45 * MINUTE, NOW + 75 * MINUTE) == Decimal("0.235")


def test_nothing_is_charged_before_the_launch_or_for_no_time() -> None:
    assert usd(tariff((0, "3")), NOW - HOUR, NOW + HOUR) == Decimal("3.02")
    assert usd(tariff((0, "3")), NOW + HOUR, NOW) == 0


def test_the_same_time_on_demand_costs_the_price_list_and_the_same_beside() -> None:
    charge = cost(tariff((0, "3")), NOW, NOW + HOUR)
    assert charge is not None
    assert charge.on_demand_usd == Decimal("8.02")


def test_without_a_list_price_nothing_is_told_as_saved() -> None:
    charge = cost(tariff((0, "3"), on_demand=None), NOW, NOW + HOUR)
    assert charge is not None
    assert charge.on_demand_usd == charge.usd


def test_without_any_price_there_is_no_charge() -> None:
    assert cost(tariff(), NOW, NOW + HOUR) is None
    assert attempt_charge(tariff(), slots=1, of=8, begin=NOW, end=NOW + HOUR) is None


@pytest.mark.parametrize(("slots", "of", "share"), [(8, 8, "1"), (2, 8, "0.25"), (0, 8, "0"), (0, 0, "0"), (9, 8, "1")])
def test_an_attempt_is_charged_the_share_of_its_slots(slots: int, of: int, share: str) -> None:
    charge = attempt_charge(tariff((0, "3.98")), slots=slots, of=of, begin=NOW, end=NOW + HOUR)
    assert charge is not None
    assert (charge.usd, charge.on_demand_usd) == (4 * Decimal(share), Decimal("8.02") * Decimal(share))


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 300)), max_size=6), st.integers(1, 300))
def test_what_attempts_in_turn_are_charged_is_what_the_instance_costs(
    attempts: list[tuple[int, int]], rest: int
) -> None:
    """Four slots; attempts of so many slots and minutes one after the other, and idle slots beside and after them."""
    of = tariff((0, "0.30"), (1, "0.41"), (3, "0.29"))
    charged, begin = Decimal(), NOW
    for slots, minutes in [*attempts, (0, rest)]:
        end = begin + minutes * MINUTE
        for share in (slots, 4 - slots):
            charge = attempt_charge(of, slots=share, of=4, begin=begin, end=end)
            charged += charge.usd if charge else 0
        begin = end
    assert abs(charged - usd(of, NOW, begin)) < Decimal("0.00002")


# --- the price at the launch ------------------------------------------------------------------------------------------


def started(capacity: Any = None, seen_at: datetime | None = None, price: str | None = "1.5", **changes: Any) -> Tariff:
    launched = instance(launched_at=NOW, price_limit=Decimal(3), **({"capacity_type": capacity} if capacity else {}))
    launched = replace(launched, **changes)
    known = {} if price is None else {("g4dn.metal", ZONES[0]): market(price, seen_at or ago(60))}
    return tariff_of(launched, pool(), known)


def test_a_spot_instance_begins_at_the_market_and_an_on_demand_one_at_the_list() -> None:
    assert (started().prices, started().estimated) == (((0, Decimal("1.5")),), False)
    listed = started(ON_DEMAND)
    assert (listed.prices, listed.estimated) == (((0, Decimal("7.824")),), False)
    assert (listed.on_demand, listed.beside) == (Decimal("7.824"), beside(pool()))


@pytest.mark.parametrize("known", [{"price": None}, {"seen_at": after(1)}])
def test_where_the_price_then_is_not_known_the_limit_counts_as_the_most(known: dict[str, Any]) -> None:
    found = started(**known)
    assert (found.prices, found.estimated) == (((0, Decimal(3)),), True)


def test_without_a_limit_ec2s_own_holds_and_without_that_nothing_is_known() -> None:
    assert started(price=None, price_limit=None).prices == ((0, Decimal("7.824")),)
    nameless = tariff_of(instance(price_limit=None, instance_type="x1.other"), pool(types=(kind(),)), {})
    assert nameless.prices == ()


# --- prices that change -----------------------------------------------------------------------------------------------


def test_a_new_price_counts_from_the_next_hour_of_the_instance_on() -> None:
    changed = noted(tariff((0, "1")), market("2", NOW + 30 * MINUTE), NOW + 65 * MINUTE)
    assert changed.prices == ((0, Decimal(1)), (1, Decimal(2)))


def test_until_then_it_is_not_noted() -> None:
    assert noted(tariff((0, "1")), market("2", NOW + 30 * MINUTE), NOW + 50 * MINUTE) == tariff((0, "1"))


def test_one_that_is_noted_late_counts_from_its_own_hour() -> None:
    changed = noted(tariff((0, "1")), market("2", NOW + 90 * MINUTE), NOW + 9 * HOUR)
    assert changed.prices == ((0, Decimal(1)), (2, Decimal(2)))


@pytest.mark.parametrize("seen", [-90, 5, 30, 65, 200])
def test_noting_a_price_again_changes_nothing(seen: int) -> None:
    price, now = market("2", NOW + seen * MINUTE), NOW + 4 * HOUR
    once = noted(tariff((0, "1"), (1, "1.5")), price, now)
    assert noted(once, price, now + 30 * MINUTE) == once


def test_a_price_that_held_at_the_launch_already_replaces_what_was_taken_for_it() -> None:
    guess = tariff((0, "3"), estimated=True)
    assert noted(guess, market("2", NOW - MINUTE), NOW + MINUTE) == tariff((0, "2"))
    assert noted(guess, market("3", NOW - MINUTE), NOW + MINUTE) == tariff((0, "3")), "the guess was right"


def test_what_was_guessed_stays_told_as_a_guess() -> None:
    later = noted(tariff((0, "3"), estimated=True), market("2", NOW + MINUTE), NOW + 2 * HOUR)
    assert (later.prices, later.estimated) == (((0, Decimal(3)), (1, Decimal(2))), True)
    assert noted(tariff(), market("2", NOW + MINUTE), NOW + 2 * HOUR) == tariff((0, "2"), estimated=True)


def test_a_price_that_comes_back_is_a_change_like_any_other() -> None:
    changed = noted(tariff((0, "1"), (1, "2")), market("1", NOW + 80 * MINUTE), NOW + 3 * HOUR)
    assert changed.prices == ((0, Decimal(1)), (1, Decimal(2)), (2, Decimal(1)))


def test_the_prices_kept_are_bounded_and_the_total_stays() -> None:
    kept = tariff((0, "1"))
    hours = STEPS_MOST + 60
    for hour in range(1, hours):
        kept = noted(kept, market(str(1 + hour % 7), NOW + hour * HOUR), NOW + hour * HOUR)
    assert len(kept.prices) == STEPS_MOST
    paid = sum(1 + hour % 7 for hour in range(hours)) + hours * Decimal("0.02")
    assert abs(usd(kept, NOW, NOW + hours * HOUR) - paid) < Decimal("0.0001")


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "ended"),
    [
        ({"observed_state": "running", "termination_requested_at": ago(300)}, NOW),
        ({"observed_state": "terminated", "observed_at": ago(50)}, ago(50)),
        ({"observed_state": "terminated", "observed_at": ago(50), "termination_requested_at": ago(90)}, ago(90)),
        ({"observed_state": "shutting-down", "observed_at": ago(50), "ends_at": ago(70)}, ago(70)),
        ({"observed_state": "gone", "observed_at": ago(50), "heartbeat_at": ago(20)}, ago(20)),
        ({"observed_state": "terminated", "observed_at": after(50)}, NOW),
    ],
)
def test_an_instance_costs_until_ec2_begins_to_end_it(told: dict[str, Any], ended: datetime) -> None:
    given: dict[str, Any] = {"heartbeat_at": ago(120), **told}
    assert end_of(instance(**given), NOW) == ended
