"""What the plan cannot ask for, and what it says of that: marks, prices, rests, reasons."""

from dataclasses import replace
from decimal import Decimal

import pytest

from lambdas.domain.fleet.actions import Launch
from lambdas.domain.plan.plan import plan
from lambdas.domain.reasons import Reason, ReasonClass
from lambdas.domain.settings import Settings
from tests.domain.build import (
    NOW,
    ON_DEMAND,
    SPOT,
    ZONES,
    after,
    ago,
    intention,
    job,
    mark,
    pool,
    price,
    snapshot,
)
from tests.domain.plans import (
    LARGE,
    SMALL,
    classes,
    codes,
    counts,
    everywhere,
    jobs,
    market,
    of,
    planned,
    zones,
)


def test_a_marked_offering_is_not_asked_for() -> None:
    (launch,) = of(Launch, planned(queue=jobs(1), marks=(mark(zone=ZONES[0]),)))
    assert zones(launch) == {ZONES[1], ZONES[2]}


def test_a_mark_that_is_over_is_asked_about_again() -> None:
    (launch,) = of(Launch, planned(queue=jobs(1), marks=(mark(zone=ZONES[0], until=NOW),)))
    assert zones(launch) == set(ZONES)


def test_while_every_offering_is_marked_nothing_is_asked_and_the_reason_says_until_when() -> None:
    decided = planned(queue=jobs(2), marks=everywhere())
    assert of(Launch, decided) == []
    assert (decided.numbers.desired, decided.numbers.unfulfilled) == (2, 2)
    (reason,) = decided.reasons
    assert (reason.reason_class, reason.since, reason.next_attempt) == ("capacity", ago(60), after(120))


@pytest.mark.parametrize("code", ["MaxSpotInstanceCountExceeded", "AuthFailure.ServiceLinkedRoleCreationNotPermitted"])
def test_a_marked_capacity_type_is_not_asked_for_at_all(code: str) -> None:
    assert of(Launch, planned(queue=jobs(1), marks=(mark(code, "*", instance_type="*"),))) == []


def test_the_other_capacity_types_marks_do_not_matter() -> None:
    assert counts(planned(queue=jobs(1), marks=everywhere(capacity_type=ON_DEMAND))) == [1]


def test_jobs_go_to_another_type_while_the_best_one_cannot_be_had() -> None:
    types = (LARGE, SMALL)
    marks = tuple(mark(zone=zone, instance_type="g5.xlarge") for zone in ZONES)
    decided = planned(pool=pool(types=types, spot_max_price=Decimal(20)), queue=jobs(1, 1), marks=marks)
    (launch,) = of(Launch, decided)
    assert {override.instance_type for override in launch.request.overrides} == {"g5.48xlarge"}


def test_the_owners_change_of_the_pool_mends_price_and_configuration_marks_but_not_capacity() -> None:
    changed = pool(applied_at=ago(30), spot_max_price=Decimal(5))
    assert counts(planned(queue=jobs(1), pool=changed, marks=everywhere("SpotMaxPriceTooLow"))) == [1]
    assert counts(planned(queue=jobs(1), pool=changed, marks=everywhere("InvalidParameterValue"))) == [1]
    assert counts(planned(queue=jobs(1), pool=changed, marks=everywhere())) == []


def test_a_hopeless_market_is_not_called_and_the_reason_has_both_prices() -> None:
    prices = (price("3.5", ZONES[0]), price("3.2", ZONES[1]), price("9", ZONES[2]))
    asked_lately = (mark("SpotMaxPriceTooLow", until=ago(1)),)
    decided = planned(queue=jobs(1), prices=prices, marks=asked_lately)
    assert of(Launch, decided) == []
    (reason,) = decided.reasons
    assert reason.reason_class == "price"
    assert reason.message == "cheapest offering $3.20 in us-west-2b (g4dn.metal), your limit is $3.00"
    assert reason.next_attempt == ago(60) + Settings().probe


def test_a_hopeless_market_gets_one_real_call_in_each_probe_period() -> None:
    long_ago = (mark("SpotMaxPriceTooLow", until=ago(500), marked_at=ago(15 * 60)),)
    assert counts(planned(queue=jobs(2), prices=market("3.5"), marks=long_ago)) == [2]
    assert counts(planned(queue=jobs(2), prices=market("3.5"))) == [2]
    assert counts(planned(queue=jobs(2), prices=market("3.5"), intentions=(intention(not_after=ago(1)),))) == []


def test_as_soon_as_the_price_has_fallen_below_the_limit_it_is_asked_again_without_waiting_for_a_probe() -> None:
    asked_lately = (mark("SpotMaxPriceTooLow", until=ago(1), last_price=Decimal("3.5")),)
    assert of(Launch, planned(queue=jobs(1), prices=market("3.5"), marks=asked_lately)) == []
    assert counts(planned(queue=jobs(1), prices=market("2.9"), marks=asked_lately)) == [1]


def test_a_price_that_fell_after_the_refusal_ends_its_rest() -> None:
    refused = everywhere("SpotMaxPriceTooLow")
    fell = [replace(each, seen_at=ago(5)) for each in market("2.9")]
    assert counts(planned(queue=jobs(1), prices=tuple(fell), marks=refused)) == [1]


def test_a_price_from_before_the_refusal_one_above_the_limit_and_one_of_another_zone_end_no_rest() -> None:
    refused = everywhere("SpotMaxPriceTooLow")
    assert counts(planned(queue=jobs(1), prices=market("2.9"), marks=refused)) == [], "history lags"
    still = tuple(replace(each, seen_at=ago(5)) for each in market("3.1"))
    assert counts(planned(queue=jobs(1), prices=still, marks=refused)) == []
    (launch,) = of(
        Launch, planned(queue=jobs(1), prices=(replace(price("2.9", ZONES[1]), seen_at=ago(5)),), marks=refused)
    )
    assert zones(launch) == {ZONES[1]}


def test_a_fallen_price_says_nothing_of_a_lack_of_capacity() -> None:
    fell = tuple(replace(each, seen_at=ago(5)) for each in market("2.9"))
    assert counts(planned(queue=jobs(1), prices=fell, marks=everywhere())) == []


def test_zones_below_the_limit_are_asked_while_others_are_above() -> None:
    (launch,) = of(Launch, planned(queue=jobs(1), prices=(price("3.5", ZONES[0]), price("2", ZONES[1]))))
    assert zones(launch) == {ZONES[1], ZONES[2]}


def test_throttling_holds_the_pool_until_its_next_attempt() -> None:
    held = Reason(
        reason_class=ReasonClass.THROTTLING,
        code="RequestLimitExceeded",
        message="Request limit exceeded.",
        remedy="Wait.",
        since=ago(30),
        last_seen=ago(1),
        capacity_type=SPOT,
        next_attempt=after(4),
    )
    decided = planned(queue=jobs(1), reasons=(held,))
    assert of(Launch, decided) == []
    assert (decided.reasons, decided.due) == ((held,), after(4))
    assert counts(plan(snapshot(queue=jobs(1), reasons=(held,)), after(4))) == [1]


def test_a_refusal_still_resting_is_told_even_where_its_mark_was_overwritten() -> None:
    stored = Reason(
        reason_class=ReasonClass.PERMISSION,
        code="UnauthorizedOperation",
        message="not authorized to perform ec2:CreateFleet",
        remedy="Allow ec2:CreateFleet.",
        since=ago(30),
        last_seen=ago(30),
        capacity_type=SPOT,
        next_attempt=after(200),
    )
    decided = planned(queue=jobs(1), marks=everywhere(), reasons=(stored,))
    assert classes(decided) == ["permission", "capacity"]


def test_missing_subnets_and_images_are_told() -> None:
    assert codes(planned(queue=jobs(1), subnets=())) == ["NoSubnets"]
    assert codes(planned(queue=jobs(1), images=())) == ["NoImage"]


def test_jobs_that_no_longer_fit_any_type_are_told_and_hold_up_nobody() -> None:
    decided = planned(queue=(job(16), job(8)))
    assert counts(decided) == [1]
    assert "never_fits" in classes(decided)


def test_a_reason_goes_on_from_where_the_last_pass_left_it() -> None:
    (first,) = planned(queue=jobs(1), marks=everywhere(marked_at=ago(60))).reasons
    again = snapshot(queue=jobs(1), marks=everywhere(marked_at=ago(1)), reasons=(first,))
    (second,) = plan(again, NOW).reasons
    assert (second.since, second.count) == (ago(60), 2)
