"""What the plan does about leases, instances and intentions, and when it looks again."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from lambdas.domain.fleet.actions import Close, Forget, Launch, ParkQueued, Repeat, Retire, ReturnJob, Terminate
from lambdas.domain.fleet.fleet import InstanceState
from lambdas.domain.fleet.observed import reported
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.plan.plan import plan
from lambdas.domain.pools.pools import CapacityType
from lambdas.domain.settings import Settings
from tests.domain.build import (
    NOW,
    ZONES,
    after,
    ago,
    instance,
    intention,
    lease,
    mark,
    pool,
    price,
    request,
    snapshot,
)
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
    of,
    planned,
    zones,
)

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


def test_an_interrupted_instance_is_remembered_for_as_long_as_its_offering_is_avoided() -> None:
    """Its record is what plans avoid the offering by, and EC2 reports it gone within seconds of its end."""
    cooldown = Settings().interrupted_cooldown
    over = interrupted(observed_state="terminated", ends_at=ago(60))
    lately = planned(instances=(over,), queue=jobs(1))
    assert of(Forget, lately) == []
    (launch,) = of(Launch, lately)
    assert over.zone not in zones(launch)
    assert lately.due is not None
    assert lately.due <= ago(60) + cooldown
    later = planned(instances=(interrupted(observed_state="terminated", ends_at=NOW - cooldown),), queue=jobs(1))
    assert len(of(Forget, later)) == 1
    (launch,) = of(Launch, later)
    assert over.zone in zones(launch)
    assert len(of(Forget, planned(instances=(over,), pool=pool(deleted=True)))) == 1


def test_an_instance_that_was_taken_without_a_word_is_remembered_as_long() -> None:
    lost = {
        **{"state": InstanceState.DRAINING, "drain_reason": reported("shutting-down"), "draining_since": ago(30)},
        **{"observed_state": "terminated", "observed_at": ago(20)},
    }
    taken = instance(**lost)
    decided = planned(instances=(taken,), queue=jobs(1))
    assert of(Forget, decided) == []
    (launch,) = of(Launch, decided)
    assert taken.zone not in zones(launch)
    for asked_for in (
        {"termination_requested_at": ago(40)},
        {"drain_reason": "idle"},
        {"state_reason": "Client.InstanceInitiatedShutdown"},
        {"state_reason": "Client.UserInitiatedShutdown"},
        {"capacity_type": CapacityType.ON_DEMAND},
        {"observed_at": NOW - Settings().interrupted_cooldown},
    ):
        decided = planned(instances=(replace(taken, **asked_for),), queue=jobs(1))
        assert len(of(Forget, decided)) == 1, asked_for
        (launch,) = of(Launch, decided)
        assert taken.zone in zones(launch), asked_for


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
    def retired(seconds: float) -> list[Retire]:
        silent = instance(reported_at=ago(900), heartbeat_at=ago(seconds), idle_since=ago(200))
        return of(Retire, planned(instances=(silent,)))

    assert retired(599) == []
    assert [retire.why for retire in retired(600)] == ["its worker is silent"]


def test_an_instance_with_a_lease_is_never_idle_whatever_else_is_noted_of_it() -> None:
    assert planned(instances=(instance(idle_since=ago(9000)),), leases=(lease(),)).actions == ()


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
