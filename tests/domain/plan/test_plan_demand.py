"""How many instances the plan asks for, and which of those that end it replaces."""

from decimal import Decimal
from typing import Any

from lambdas.domain.fleet.actions import Launch, ReturnJob
from lambdas.domain.jobs.jobs import Resources
from tests.domain.build import (
    ZONES,
    ago,
    instance,
    intention,
    job,
    lease,
    pool,
)
from tests.domain.plans import (
    DRAINING,
    LARGE,
    LAUNCHING,
    SMALL,
    classes,
    counts,
    interrupted,
    jobs,
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
