"""What the plan does in each situation. What holds in every situation is in test_plan_laws.py."""

from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

import pytest

from lambdas.domain.fleet import Instance, InstanceState, OfferingMark
from lambdas.domain.jobs import Resources
from lambdas.domain.plan import (
    Close,
    Forget,
    Launch,
    ParkQueued,
    Plan,
    Repeat,
    Retire,
    ReturnJob,
    Terminate,
    plan,
)
from lambdas.domain.reasons import Reason, ReasonClass
from lambdas.domain.settings import Settings
from lambdas.domain.snapshot import MarketPrice, Snapshot
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
    request,
    snapshot,
)

A = TypeVar("A")
LAUNCHING = InstanceState.LAUNCHING
DRAINING = InstanceState.DRAINING
LARGE, SMALL = kind("g5.48xlarge", 8, "16.29"), kind("g5.xlarge", 1, "1.01")


def planned(**world: Any) -> Plan:
    return plan(snapshot(**world), NOW)


def of(kind_of_action: type[A], decided: Plan) -> list[A]:
    return [action for action in decided.actions if isinstance(action, kind_of_action)]


def counts(decided: Plan) -> list[int]:
    return [launch.request.count for launch in of(Launch, decided)]


def zones(launch: Launch) -> set[str]:
    return {override.zone for override in launch.request.overrides}


def classes(decided: Plan) -> list[str]:
    return [str(reason.reason_class) for reason in decided.reasons]


def codes(decided: Plan) -> list[str]:
    return [reason.code for reason in decided.reasons]


def jobs(count: int, slots: int = 8) -> tuple[Any, ...]:
    return tuple(job(slots) for _ in range(count))


def interrupted(name: str = "i-1", **changes: Any) -> Instance:
    return instance(name, **{"state": DRAINING, "ends_at": after(110), "idle_since": None, **changes})


def everywhere(code: str = "InsufficientInstanceCapacity", **changes: Any) -> tuple[OfferingMark, ...]:
    return tuple(mark(code, zone, **changes) for zone in ZONES)


def market(amount: str) -> tuple[MarketPrice, ...]:
    return tuple(price(amount, zone) for zone in ZONES)


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


def test_a_silent_worker_offers_no_room() -> None:
    silent = instance(heartbeat_at=ago(301))
    assert counts(planned(queue=jobs(1), instances=(silent,))) == [1]
    assert of(Launch, planned(queue=jobs(1), instances=(silent,), outage_ended_at=ago(100))) == []


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


# --- leases -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["terminated", "gone"])
def test_a_gone_instances_jobs_are_returned_and_replaced_at_once(state: str) -> None:
    decided = planned(instances=(instance(observed_state=state, idle_since=None),), leases=(lease(),))
    (returned,) = of(ReturnJob, decided)
    assert (returned.job_id, returned.instance_id, returned.fence) == ("job-a", "i-1", 1)
    assert counts(decided) == [1]
    assert of(Forget, decided) == []


def test_a_gone_instance_without_leases_is_forgotten() -> None:
    decided = planned(instances=(instance(observed_state="terminated"),))
    assert [forget.instance_id for forget in of(Forget, decided)] == ["i-1"]


def test_an_instance_that_describe_omits_in_its_first_minutes_is_not_gone() -> None:
    young = instance(state=LAUNCHING, observed_state="gone", launched_at=ago(299))
    assert planned(instances=(young,), queue=jobs(1)).actions == ()


def test_a_lease_on_an_instance_that_is_not_the_pools_is_returned() -> None:
    assert [r.instance_id for r in of(ReturnJob, planned(leases=(lease(instance_id="i-lost"),)))] == ["i-lost"]


def test_a_lease_expires_a_lease_length_after_its_last_renewal() -> None:
    busy = (instance(idle_since=None),)
    assert len(of(ReturnJob, planned(instances=busy, leases=(lease(renewed_at=ago(300)),)))) == 1
    assert of(ReturnJob, planned(instances=busy, leases=(lease(renewed_at=ago(299)),))) == []


def test_no_lease_expires_for_a_lease_length_after_an_outage() -> None:
    world: dict[str, Any] = {"instances": (instance(idle_since=None),), "leases": (lease(renewed_at=ago(5000)),)}
    assert of(ReturnJob, planned(**world, outage_ended_at=ago(299))) == []
    assert len(of(ReturnJob, planned(**world, outage_ended_at=ago(300)))) == 1


def test_a_lease_that_two_heartbeats_did_not_name_is_returned() -> None:
    busy = (instance(idle_since=None),)
    assert len(of(ReturnJob, planned(instances=busy, leases=(lease(missed=2),)))) == 1
    assert of(ReturnJob, planned(instances=busy, leases=(lease(missed=1),))) == []


# --- letting go -------------------------------------------------------------------------------------------------------


def test_an_instance_idle_for_the_pools_period_is_retired() -> None:
    assert of(Retire, planned(instances=(instance(idle_since=ago(1199)),))) == []
    (retire,) = of(Retire, planned(instances=(instance(idle_since=ago(1200)),)))
    assert (retire.instance_ids, retire.why) == (("i-1",), "idle for 20m")


def test_the_minimum_is_kept_however_long_it_is_idle() -> None:
    idle = tuple(instance(f"i-{n}", idle_since=ago(5000)) for n in range(3))
    assert len(of(Retire, planned(instances=idle, pool=pool(min_instances=2)))[0].instance_ids) == 1


def test_an_idle_instance_that_a_queued_job_will_take_is_kept() -> None:
    assert of(Retire, planned(instances=(instance(idle_since=ago(5000)),), queue=jobs(1))) == []


def test_who_goes_first_is_what_ec2_wants_back_then_the_dearest_then_the_longest_idle() -> None:
    idle = (
        instance("i-cheap", zone=ZONES[0], idle_since=ago(9000)),
        instance("i-dear", zone=ZONES[1], idle_since=ago(5000)),
        instance("i-advised", zone=ZONES[0], idle_since=ago(5000), rebalance_at=ago(9)),
        instance("i-cheap-newer", zone=ZONES[0], idle_since=ago(5000)),
    )
    prices = (price("1", ZONES[0]), price("2", ZONES[1]))
    (retire,) = of(Retire, planned(instances=idle, prices=prices))
    assert retire.instance_ids == ("i-advised", "i-dear", "i-cheap", "i-cheap-newer")
    (retire,) = of(Retire, planned(instances=idle, prices=prices, pool=pool(min_instances=2)))
    assert retire.instance_ids == ("i-advised", "i-dear")


def test_one_pass_retires_at_most_its_share() -> None:
    idle = tuple(instance(f"i-{n}", idle_since=ago(5000)) for n in range(4))
    (retire,) = of(Retire, planned(instances=idle, settings=Settings(terminations_per_pass=0.5)))
    assert len(retire.instance_ids) == 2


def test_idle_instances_above_a_lowered_maximum_go_at_once() -> None:
    idle = tuple(instance(f"i-{n}") for n in range(3))
    (retire,) = of(Retire, planned(instances=idle, pool=pool(max_instances=2)))
    assert len(retire.instance_ids) == 1


def test_an_instance_on_its_way_out_already_lowers_what_is_above_the_maximum() -> None:
    fleet = (instance("i-1"), instance("i-2"), instance("i-3", state=DRAINING, termination_requested_at=ago(5)))
    assert of(Retire, planned(instances=fleet, pool=pool(max_instances=2))) == []


def test_an_idle_instance_makes_room_at_the_maximum_for_a_job_that_it_cannot_hold() -> None:
    small = instance(instance_type="g5.xlarge", slots=1)
    owner = pool(types=(LARGE, SMALL), max_instances=1, spot_max_price=Decimal(20))
    decided = planned(pool=owner, instances=(small,), queue=jobs(1, 8))
    assert [retire.instance_ids for retire in of(Retire, decided)] == [("i-1",)]
    leaving = instance(instance_type="g5.xlarge", slots=1, state=DRAINING, termination_requested_at=ago(5))
    assert of(Retire, planned(pool=owner, instances=(leaving,), queue=jobs(1, 8))) == []


def test_no_room_is_made_for_what_cannot_be_had() -> None:
    small = instance(instance_type="g5.xlarge", slots=1)
    owner = pool(types=(LARGE, SMALL), max_instances=1, spot_max_price=Decimal(20))
    marks = tuple(mark(zone=zone, instance_type="g5.48xlarge") for zone in ZONES)
    assert of(Retire, planned(pool=owner, instances=(small,), queue=jobs(1, 8), marks=marks)) == []


def test_a_silent_worker_without_jobs_is_given_up_after_two_lease_lengths() -> None:
    assert of(Retire, planned(instances=(instance(heartbeat_at=ago(599), reported_at=ago(599)),))) == []
    (retire,) = of(Retire, planned(instances=(instance(heartbeat_at=ago(600), reported_at=ago(900)),)))
    assert retire.why == "its worker is silent"


def test_a_draining_instance_is_terminated_once_it_holds_no_lease() -> None:
    draining = instance(state=DRAINING, idle_since=None)
    assert of(Terminate, planned(instances=(draining,), leases=(lease(),))) == []
    assert [t.instance_ids for t in of(Terminate, planned(instances=(draining,)))] == [("i-1",)]


def test_a_termination_is_asked_for_again_only_after_a_while() -> None:
    def asked(seconds: float, **changes: Any) -> int:
        draining = instance(state=DRAINING, termination_requested_at=ago(seconds), **changes)
        return len(of(Terminate, planned(instances=(draining,))))

    assert (asked(119), asked(120)) == (0, 1)
    assert asked(9000, observed_state="shutting-down") == 0


def test_an_instance_whose_worker_never_called_is_terminated() -> None:
    never = instance(state=LAUNCHING, launched_at=ago(1200))
    assert [t.instance_ids for t in of(Terminate, planned(instances=(never,)))] == [("i-1",)]
    assert of(Terminate, planned(instances=(instance(state=LAUNCHING, launched_at=ago(1199)),))) == []


# --- intentions -------------------------------------------------------------------------------------------------------


def test_an_open_intention_is_repeated_while_it_may_be() -> None:
    open_one = intention()
    assert of(Repeat, planned(intentions=(open_one,), queue=jobs(1)))[0].intention == open_one


def test_after_its_time_an_intention_is_closed_by_two_clean_observations() -> None:
    def actions(**changes: Any) -> tuple[object, ...]:
        return planned(intentions=(intention(not_after=NOW, **changes),)).actions

    assert actions(clean_observations=1) == ()
    assert [type(action) for action in actions(clean_observations=2)] == [Close]


@pytest.mark.parametrize(
    "changed",
    [
        pool(spot_max_price=Decimal(2)),
        pool(types=(LARGE,)),
        pool(spot=False, spot_max_price=None),
        pool(max_instances=0),
        pool(paused=True),
        pool(deleted=True),
    ],
)
def test_a_call_that_the_pool_no_longer_allows_is_not_repeated(changed: Any) -> None:
    assert of(Repeat, planned(intentions=(intention(),), pool=changed)) == []


def test_an_open_intention_counts_until_it_is_closed() -> None:
    decided = planned(intentions=(intention(count=2, not_after=ago(100)),), queue=jobs(2))
    assert decided.actions == ()
    assert decided.numbers.launching == 2


# --- stopped pools ----------------------------------------------------------------------------------------------------


def test_a_paused_pool_launches_nothing_and_lets_go_of_what_is_idle() -> None:
    fleet = (instance("i-1"), instance("i-2", idle_since=None), instance("i-3", state=LAUNCHING))
    owner = pool(paused=True, min_instances=1)
    decided = planned(pool=owner, queue=jobs(3), instances=fleet, leases=(lease(instance_id="i-2"),))
    assert [type(action) for action in decided.actions] == [Retire]
    assert of(Retire, decided)[0].instance_ids == ("i-1", "i-3")
    assert classes(decided) == ["paused"]


def test_a_deleted_pool_parks_its_queue_and_lets_go_of_what_is_idle() -> None:
    decided = planned(pool=pool(deleted=True), queue=jobs(1), instances=(instance(),))
    assert [type(action) for action in decided.actions] == [Retire, ParkQueued]


def test_a_deleted_pool_with_nothing_left_is_at_rest() -> None:
    assert planned(pool=pool(deleted=True)).due is None


def test_a_closing_stack_launches_nothing_and_says_so() -> None:
    decided = planned(queue=jobs(1), stack_closing=True)
    assert decided.actions == ()
    assert codes(decided) == ["StackClosing"]


# --- when to look again -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "seconds"),
    [
        ({"instances": (instance(idle_since=ago(1190)),)}, 10),
        ({"instances": (instance(state=LAUNCHING, launched_at=ago(1180)),)}, 20),
        ({"instances": (instance(idle_since=None),), "leases": (lease(renewed_at=ago(285)),)}, 15),
        ({"queue": jobs(1), "marks": everywhere(until=after(25))}, 25),
        ({"queue": jobs(1), "intentions": (intention(not_after=after(7)),)}, 7),
        ({"instances": (instance(state=DRAINING, termination_requested_at=ago(112)),)}, 8),
        ({"queue": jobs(1)}, 60),
        ({"queue": jobs(1), "pool": pool(paused=True)}, 60),
    ],
)
def test_the_next_look_is_at_the_earliest_of_what_time_alone_will_change(world: dict[str, Any], seconds: int) -> None:
    assert planned(**world).due == NOW + timedelta(seconds=seconds)


def test_the_numbers_add_up() -> None:
    fleet = (
        instance("i-busy", idle_since=None),
        instance("i-idle"),
        instance("i-new", state=LAUNCHING),
        interrupted("i-ending"),
    )
    held = (lease("a", "i-busy"), lease("b", "i-ending"))
    decided = planned(instances=fleet, leases=held, queue=jobs(4), pool=pool(max_instances=9))
    numbers = decided.numbers
    assert (numbers.running, numbers.launching, numbers.draining, numbers.idle) == (2, 1, 1, 1)
    assert (numbers.queued_jobs, numbers.running_jobs, numbers.oldest_queued_at) == (4, 2, ago(60))
    assert numbers.desired == 6
    assert numbers.unfulfilled == max(0, numbers.desired - numbers.running - numbers.launching) == 3


def test_the_plan_of_a_snapshot_is_always_the_same() -> None:
    world: Snapshot = snapshot(queue=jobs(7, 3), instances=(instance(), interrupted("i-2")), leases=(lease(),))
    assert plan(world, NOW) == plan(world, NOW)


def test_an_intentions_request_is_what_was_planned() -> None:
    (launch,) = of(Launch, planned(queue=jobs(1)))
    assert launch.request == request(1)
