"""CreateFleet as EC2 answers it: every refusal in its words, partial fulfilment, strategies, tokens."""

from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.market import catalogue
from lowtide.market.fleet import Refused
from lowtide.market.model import Lifecycle, Offering
from lowtide.market.unkindness import Unkindness
from tests.market.worlds import (
    REGION,
    START,
    TYPE,
    A,
    B,
    C,
    Steady,
    codes,
    launched,
    market,
    offer,
    on_demand,
    refusals,
    seconds,
    spot,
)

SMALL = replace(
    Unkindness.none(),
    spot_quotas=MappingProxyType({"Standard": 5}),
    on_demand_quotas=MappingProxyType({"Standard": 5}),
)


def steady(prices=None, capacities=None) -> Steady:
    def by_zone(values):
        return {Offering(TYPE, zone): value for zone, value in (values or {}).items()}

    return Steady(prices=by_zone(prices), capacities=by_zone(capacities))


def test_a_limit_below_the_market_is_refused_with_both_prices():
    world = market(conditions=steady(prices={A: Decimal("0.0319")}))
    answer = world.create_fleet(spot(offer(max_price=Decimal("0.0030"))), START)
    assert launched(answer) == []
    assert refusals(answer)[TYPE, A] == (
        "SpotMaxPriceTooLow",
        "Your Spot request price of 0.003 is lower than the minimum required Spot request fulfillment price of 0.0319.",
    )


def test_without_a_limit_the_on_demand_price_is_the_limit():
    world = market(conditions=steady(prices={A: Decimal("9")}))
    answer = world.create_fleet(spot(offer()), START)
    price = catalogue.on_demand_price(TYPE)
    assert refusals(answer)[TYPE, A][0] == "SpotMaxPriceTooLow"
    assert f"request price of {price.normalize():f} is lower" in refusals(answer)[TYPE, A][1]


def test_a_limit_equal_to_the_market_price_is_enough():
    world = market(conditions=steady(prices={A: Decimal("0.03")}))
    assert len(launched(world.create_fleet(spot(offer(max_price=Decimal("0.030"))), START))) == 1


def test_a_limit_is_per_unit_hour_of_a_weighted_override():
    world = market(conditions=steady(prices={A: Decimal("0.05")}))
    answer = world.create_fleet(spot(offer(max_price=Decimal("0.02"), weight=4), target=4), START)
    [instance] = launched(answer)
    assert instance.price_limit == Decimal("0.08")


def test_spot_capacity_short_gives_what_there_is_and_says_so():
    world = market(conditions=steady(capacities={A: 2}))
    answer = world.create_fleet(spot(offer(), target=5), START)
    assert len(launched(answer)) == 2
    assert refusals(answer)[TYPE, A] == (
        "InsufficientInstanceCapacity",
        "There is no Spot capacity available that matches your request.",
    )


def test_on_demand_capacity_short_names_the_zones_that_have_some():
    world = market(conditions=steady(capacities={A: 0, B: 0}))
    answer = world.create_fleet(on_demand(offer()), START)
    code, message = refusals(answer)[TYPE, A]
    assert code == "InsufficientInstanceCapacity"
    assert message.startswith(
        f"We currently do not have sufficient {TYPE} capacity in the Availability Zone you requested ({A})."
    )
    assert message.endswith(f"or choosing {C}.")


def test_capacity_refusals_are_sometimes_worded_as_unfulfillable():
    vague = replace(Unkindness.none(), unfulfillable=1.0)
    answer = market(conditions=steady(capacities={A: 0}), unkindness=vague).create_fleet(spot(), START)
    assert refusals(answer)[TYPE, A] == (
        "UnfulfillableCapacity",
        "Unable to fulfill capacity due to your request configuration. Please adjust your request and try again.",
    )


def test_a_type_that_the_zone_lacks_is_refused_and_the_others_still_launch():
    lacking, here = next(
        (n, z[0]) for n, z in catalogue.offered(REGION).items() if C not in z and catalogue.facts(n).spot
    )
    answer = market().create_fleet(spot(offer(C, lacking), offer(here, lacking)), START)
    assert [i.offering for i in launched(answer)] == [Offering(lacking, here)]
    assert refusals(answer)[lacking, C] == (
        "InvalidFleetConfiguration",
        f"Your requested instance type ({lacking}) is not supported in your requested Availability Zone ({C}).",
    )


def test_a_type_that_nobody_knows_is_refused():
    assert codes(market().create_fleet(spot(offer(A, "z9.huge")), START)) == ["InvalidInstanceType"]


def test_an_image_of_the_wrong_architecture_is_refused():
    answer = market().create_fleet(spot(offer(image_architecture="x86_64")), START)
    code, message = refusals(answer)[TYPE, A]
    assert code == "InvalidParameterValue"
    assert "does not match the architecture 'x86_64' of the specified AMI" in message


def test_what_no_market_mends_comes_before_what_it_could():
    world = market(conditions=steady(capacities={A: 0}))
    answer = world.create_fleet(spot(offer(denied=("UnauthorizedOperation", "no")), offer(B)), START)
    assert refusals(answer) == {(TYPE, A): ("UnauthorizedOperation", "no")}
    assert len(launched(answer)) == 1


def test_the_spot_quota_counts_vcpus_of_the_family_group():
    world = market(unkindness=SMALL)
    answer = world.create_fleet(spot(target=4), START)
    assert len(launched(answer)) == 2
    assert refusals(answer)[TYPE, A] == ("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")


def test_the_on_demand_quota_has_its_own_code_and_names_the_limit():
    answer = market(unkindness=SMALL).create_fleet(on_demand(target=4), START)
    code, message = refusals(answer)[TYPE, A]
    assert len(launched(answer)) == 2
    assert code == "VcpuLimitExceeded"
    assert "current vCPU limit of 5 allows" in message


def test_spot_and_on_demand_quotas_are_apart():
    world = market(unkindness=SMALL)
    world.create_fleet(spot(target=2), START)
    assert len(launched(world.create_fleet(on_demand(target=2), START))) == 2


def test_an_ended_spot_instance_counts_against_the_quota_for_a_while():
    world = market(unkindness=replace(SMALL, quota_lag=seconds(60)))
    first = launched(world.create_fleet(spot(target=2), START))
    world.terminate([i.instance_id for i in first], START)
    assert codes(world.create_fleet(spot(), START + seconds(59))) == ["MaxSpotInstanceCountExceeded"]
    assert len(launched(world.create_fleet(spot(), START + seconds(60)))) == 1


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (
            spot(offer(A), replace(offer(A), subnet_id="subnet-other")),
            "InvalidFleetConfig",
            "The fleet configuration contains duplicate instance pools.",
        ),
        (spot(offer(max_price=Decimal("0.001"))), "InvalidParameterValue", "greater than 0.001"),
        (spot(target=0), "InvalidParameterValue", "totalTargetCapacity"),
        (spot(strategy="prioritized"), "InvalidParameterValue", "spotOptions.allocationStrategy"),
        (on_demand(strategy="price-capacity-optimized"), "InvalidParameterValue", "onDemandOptions.allocationStrategy"),
    ],
)
def test_a_request_that_is_wrong_as_a_whole_launches_nothing(request_, code, message):
    world = market()
    with pytest.raises(Refused, match=message) as refused:
        world.create_fleet(request_, START)
    assert refused.value.code == code
    assert world.instances == {}


def test_the_minimum_target_is_all_or_nothing():
    world = market(conditions=steady(capacities={A: 2}))
    answer = world.create_fleet(spot(offer(), target=5, minimum=3), START)
    assert launched(answer) == []
    assert "UnfulfillableCapacity" in codes(answer)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("lowest-price", {A: 3}),
        ("capacity-optimized", {C: 3}),
        ("price-capacity-optimized", {B: 3}),
        ("diversified", {A: 1, B: 1, C: 1}),
    ],
)
def test_a_strategy_chooses_its_offering(strategy, expected):
    prices = {A: Decimal("0.01"), B: Decimal("0.02"), C: Decimal("0.03")}
    world = market(conditions=steady(prices, capacities={A: 10, B: 60, C: 90}))
    answer = world.create_fleet(spot(offer(A), offer(B), offer(C), target=3, strategy=strategy), START)
    assert {override.offering.zone: len(born) for override, born in answer.granted} == expected


def test_prioritized_takes_the_owners_order():
    request = on_demand(offer(A, priority=2), offer(B, priority=1), strategy="prioritized")
    [instance] = launched(market().create_fleet(request, START))
    assert instance.offering.zone == B


def test_a_repeated_token_gives_the_first_answer_and_launches_nothing_more():
    world = market()
    first = world.create_fleet(spot(target=2, client_token="t", everything="x"), START)
    again = world.create_fleet(spot(target=2, client_token="t", everything="x"), START + seconds(9))
    assert again == first
    assert len(world.instances) == 2


def test_a_token_reused_for_another_request_is_refused():
    world = market()
    world.create_fleet(spot(target=2, client_token="t", everything="x"), START)
    with pytest.raises(Refused, match="inconsistent with arguments used in previous") as refused:
        world.create_fleet(spot(target=3, client_token="t", everything="y"), START)
    assert refused.value.code == "IdempotentParameterMismatch"


def test_only_spot_instances_have_a_spot_request():
    world = market()
    [ours] = launched(world.create_fleet(spot(), START))
    [other] = launched(world.create_fleet(on_demand(), START))
    assert ours.spot_request_id.startswith("sir-")
    assert (other.spot_request_id, other.price_limit) == (None, None)


def test_six_launch_requests_at_once_are_one_too_many_and_two_come_back_a_second():
    world = market(unkindness=Unkindness())
    for _ in range(5):
        world.admit(START)
    with pytest.raises(Refused, match="Request limit exceeded") as refused:
        world.admit(START)
    assert (refused.value.code, refused.value.status) == ("RequestLimitExceeded", 503)
    world.admit(START + seconds(0.5))


@settings(max_examples=60, deadline=None)
@given(
    target=st.integers(1, 40),
    capacities=st.tuples(*[st.integers(0, 30)] * 3),
    quota=st.integers(0, 100),
    lifecycle=st.sampled_from(Lifecycle),
    strategy=st.sampled_from(["lowest-price", "diversified", "price-capacity-optimized"]),
)
def test_an_answer_never_exceeds_target_capacity_or_quota_and_explains_every_shortfall(
    target, capacities, quota, lifecycle, strategy
):
    quotas = MappingProxyType({"Standard": quota})
    world = market(
        conditions=steady(capacities=dict(zip((A, B, C), capacities, strict=True))),
        unkindness=replace(Unkindness.none(), spot_quotas=quotas, on_demand_quotas=quotas),
    )
    chosen = strategy if lifecycle is Lifecycle.SPOT else "lowest-price"
    make = spot if lifecycle is Lifecycle.SPOT else on_demand
    answer = world.create_fleet(make(offer(A), offer(B), offer(C), target=target, strategy=chosen), START)
    got = len(launched(answer))
    assert got == min(target, sum(capacities), quota // 2)
    assert got == target or answer.refusals
    assert all(
        len(born) <= dict(zip((A, B, C), capacities, strict=True))[o.offering.zone] for o, born in answer.granted
    )


def test_an_even_share_that_one_cannot_give_comes_from_the_others():
    world = market(conditions=steady(capacities={A: 1}))
    answer = world.create_fleet(spot(offer(A), offer(B), offer(C), target=9, strategy="diversified"), START)
    assert {override.offering.zone: len(born) for override, born in answer.granted} == {A: 1, B: 5, C: 3}
