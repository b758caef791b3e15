"""What the plan asks for, and says of what it cannot ask for. What holds in every situation: test_plan_laws.py."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from lambdas.domain.jobs import Resources
from lambdas.domain.plan import (
    Launch,
    ReturnJob,
    plan,
)
from lambdas.domain.reasons import Reason, ReasonClass
from lambdas.domain.requests import MOST_INSTANCES, MOST_LAUNCHES, MOST_OVERRIDES
from lambdas.domain.settings import Settings
from lambdas.domain.shops import MOST_CAPS
from tests.domain.build import (
    NOW,
    ON_DEMAND,
    SPOT,
    ZONES,
    after,
    ago,
    instance,
    intention,
    job,
    kind,
    lease,
    mark,
    pool,
    price,
    snapshot,
)
from tests.domain.effects import applied
from tests.domain.plans import (
    DRAINING,
    LARGE,
    LAUNCHING,
    SMALL,
    classes,
    codes,
    counts,
    everywhere,
    interrupted,
    jobs,
    market,
    of,
    planned,
    zones,
)

# --- demand -----------------------------------------------------------------------------------------------------------


def test_a_pool_with_nothing_to_do_is_at_rest() -> None:
    decided = planned()
    assert (decided.actions, decided.reasons, decided.due) == ((), (), None)


def test_each_queued_job_gets_an_instance_in_one_request() -> None:
    decided = planned(queue=jobs(3))
    assert counts(decided) == [3]
    assert (decided.numbers.desired, decided.numbers.unfulfilled) == (3, 3)


def test_jobs_share_instances() -> None:
    assert counts(planned(queue=jobs(10, slots=3))) == [5]


def test_auxiliary_jobs_need_few_instances() -> None:
    assert counts(planned(queue=jobs(150, slots=0))) == [2]


def test_jobs_of_resources_are_packed_too() -> None:
    wants = Resources(vcpus=Decimal(24), memory_mib=1, gpus=2)
    assert counts(planned(queue=tuple(job(1, resources=wants) for _ in range(8)))) == [2]


def test_free_room_on_running_instances_is_not_launched_again() -> None:
    assert of(Launch, planned(queue=jobs(2, slots=4), instances=(instance(),))) == []


def test_a_busy_instance_offers_only_what_its_leases_leave() -> None:
    world: dict[str, Any] = {"instances": (instance(idle_since=None),), "leases": (lease(slots=5),)}
    assert of(Launch, planned(queue=jobs(1, slots=3), **world)) == []
    assert counts(planned(queue=jobs(1, slots=4), **world)) == [1]


def test_launching_instances_and_open_intentions_count_as_room() -> None:
    coming: dict[str, Any] = {"instances": (instance(state=LAUNCHING),), "intentions": (intention(count=2),)}
    decided = planned(queue=jobs(3), **coming)
    assert of(Launch, decided) == []
    assert decided.numbers.launching == 3
    assert classes(decided) == ["starting"]
    assert counts(planned(queue=jobs(4), **coming)) == [1]


def test_what_an_intention_has_brought_already_is_not_counted_twice() -> None:
    decided = planned(
        queue=jobs(3), instances=(instance(state=LAUNCHING),), intentions=(intention(count=2, adopted=1),)
    )
    assert decided.numbers.launching == 2
    assert counts(decided) == [1]


def test_the_maximum_bounds_what_is_asked_for_and_is_told() -> None:
    decided = planned(queue=jobs(9), pool=pool(max_instances=4), instances=(instance(state=LAUNCHING),))
    assert counts(decided) == [3]
    assert (decided.numbers.desired, decided.numbers.unfulfilled) == (4, 3)
    assert "limit" in classes(decided)


def test_open_intentions_count_in_full_against_the_maximum() -> None:
    decided = planned(queue=jobs(9), pool=pool(max_instances=4), intentions=(intention(count=4),))
    assert of(Launch, decided) == []


def test_a_queue_that_was_cut_has_the_limit_as_its_reason() -> None:
    decided = planned(queue=jobs(5), queue_complete=False)
    assert counts(decided) == [5]
    assert "limit" in classes(decided)


def test_the_minimum_is_launched_without_any_job() -> None:
    decided = planned(pool=pool(min_instances=2))
    assert counts(decided) == [2]
    assert decided.numbers.desired == 2


def test_a_pool_at_its_minimum_is_at_rest() -> None:
    decided = planned(pool=pool(min_instances=1), instances=(instance(idle_since=ago(90_000)),))
    assert (decided.actions, decided.due) == ((), None)


def test_a_draining_instance_does_not_make_up_the_minimum() -> None:
    draining = instance(state=DRAINING, termination_requested_at=ago(5))
    assert counts(planned(pool=pool(min_instances=1), instances=(draining,))) == [1]


def test_a_worker_that_leaves_a_fitting_job_for_a_lease_length_offers_no_room() -> None:
    def asked(queued: float, **changes: Any) -> int:
        quiet = instance(heartbeat_at=ago(900), idle_since=ago(900))
        return len(of(Launch, planned(queue=(job(8, queued_at=ago(queued)),), instances=(quiet,), **changes)))

    assert (asked(299), asked(300)) == (0, 1)
    assert asked(300, outage_ended_at=ago(100)) == 0
    assert asked(300, pool=pool(applied_at=ago(100))) == 0


def test_a_worker_whose_lease_was_taken_for_its_silence_offers_no_room() -> None:
    silent = instance(heartbeat_at=ago(310), idle_since=ago(5))
    assert counts(planned(queue=jobs(1), instances=(silent,))) == [1]


def test_an_idle_worker_with_nothing_to_claim_is_not_taken_for_silent() -> None:
    quiet = instance(heartbeat_at=ago(1100), reported_at=ago(1100), idle_since=ago(1100))
    assert planned(instances=(quiet,)).actions == ()
    assert planned(instances=(quiet,), queue=jobs(1)).actions == ()


def test_an_instance_of_a_type_that_the_pool_no_longer_names_offers_no_room() -> None:
    assert counts(planned(queue=jobs(1), instances=(instance(instance_type="p3.2xlarge"),))) == [1]


# --- interruptions ----------------------------------------------------------------------------------------------------


def test_jobs_on_an_ending_instance_get_a_replacement_before_it_ends() -> None:
    decided = planned(instances=(interrupted(),), leases=(lease(),))
    (launch,) = of(Launch, decided)
    assert launch.replaces
    assert of(ReturnJob, decided) == []


def test_the_replacement_that_waits_for_its_job_is_not_launched_twice_nor_retired() -> None:
    """A warning that lived only in the pass it arrived in once made the next pass end the replacement."""
    replacement = instance("i-2", idle_since=ago(100_000))
    decided = planned(instances=(interrupted(), replacement), leases=(lease(),))
    assert decided.actions == ()


def test_an_instance_announced_to_end_does_not_count_against_the_maximum() -> None:
    assert counts(planned(pool=pool(max_instances=1), instances=(interrupted(),), leases=(lease(),))) == [1]


def test_an_instance_with_only_a_rebalance_recommendation_does() -> None:
    advised = instance(rebalance_at=ago(5), idle_since=None)
    assert of(Launch, planned(pool=pool(max_instances=1), instances=(advised,), leases=(lease(),), queue=jobs(1))) == []


def test_the_interrupted_offering_is_avoided_while_another_can_be_had() -> None:
    (launch,) = of(Launch, planned(instances=(interrupted(),), leases=(lease(),)))
    assert zones(launch) == {ZONES[1], ZONES[2]}
    only = ((ZONES[0], "subnet-a"),)
    (launch,) = of(Launch, planned(instances=(interrupted(),), leases=(lease(),), subnets=only))
    assert zones(launch) == {ZONES[0]}


def test_replacements_are_asked_for_first() -> None:
    types = (LARGE, SMALL)
    ending = interrupted(instance_type="g5.xlarge", slots=1)
    decided = planned(
        pool=pool(types=types, spot_max_price=Decimal(20), max_instances=9),
        instances=(ending,),
        leases=(lease(slots=1),),
        queue=jobs(3),
    )
    assert [launch.replaces for launch in of(Launch, decided)] == [True, False]


# --- requests ---------------------------------------------------------------------------------------------------------


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


# --- what cannot be had -----------------------------------------------------------------------------------------------


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
