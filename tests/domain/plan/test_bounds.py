"""How many instances a pool keeps, what they may cost, and which of them give way to others."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from lambdas.domain.buying.spending import GP3_GIB_MONTH, PUBLIC_IPV4_HOUR
from lambdas.domain.fleet.actions import Drain, Launch, Retire, Terminate
from lambdas.domain.pools.machine import Machine
from tests.domain.build import NOW, ON_DEMAND, SPOT, ZONES, ago, instance, intention, job, kind, lease, mark, pool
from tests.domain.plans import (
    DRAINING,
    LARGE,
    LAUNCHING,
    SMALL,
    classes,
    codes,
    counts,
    everywhere,
    jobs,
    market,
    of,
    planned,
)

# --- warm -------------------------------------------------------------------------------------------------------------


def test_warm_instances_are_launched_beyond_demand() -> None:
    assert counts(planned(pool=pool(warm_instances=2))) == [2]
    assert sum(counts(planned(pool=pool(warm_instances=2), queue=jobs(1)))) == 3
    busy = {"instances": (instance(idle_since=None),), "leases": (lease(),)}
    assert counts(planned(pool=pool(warm_instances=1), **busy)) == [1]


def test_an_idle_launching_or_asked_for_instance_is_warm() -> None:
    for there in ({"instances": (instance(),)}, {"instances": (instance(state=LAUNCHING),)}):
        assert of(Launch, planned(pool=pool(warm_instances=1), **there)) == []
    assert of(Launch, planned(pool=pool(warm_instances=1), intentions=(intention(),))) == []
    taken = planned(pool=pool(warm_instances=1), instances=(instance(),), queue=jobs(1))
    assert counts(taken) == [1]


def test_warm_instances_stay_within_the_maximum_and_that_is_no_shortage() -> None:
    busy = {"instances": (instance(idle_since=None),), "leases": (lease(),)}
    decided = planned(pool=pool(warm_instances=1, max_instances=1), **busy)
    assert (of(Launch, decided), decided.reasons, decided.numbers.unfulfilled) == ([], (), 0)


def test_warm_instances_are_kept_however_long_they_are_idle_and_the_pool_rests() -> None:
    idle = tuple(instance(f"i-{n}", idle_since=ago(5000)) for n in range(3))
    (retire,) = of(Retire, planned(instances=idle, pool=pool(warm_instances=1)))
    assert len(retire.instance_ids) == 2
    decided = planned(instances=idle[:1], pool=pool(warm_instances=1))
    assert (decided.actions, decided.due) == ((), None)


@pytest.mark.parametrize("came", ["x4", "x8"])
def test_jobs_that_fit_the_other_instances_are_not_spread_over_one_that_came_to_be_warm(came: str) -> None:
    """The job of four slots alone would fit the warm instance of four best, and leave none of the two empty."""
    owner = pool(types=(kind("x4", 4), kind("x8", 8)), spot=False, spot_max_price=None, warm_instances=1)
    queue = (job(4), job(3))
    there = instance("i-1", state=LAUNCHING, instance_type="x8", capacity_type=ON_DEMAND)
    assert counts(planned(pool=owner, queue=queue, instances=(there,))) == [1]
    warm = instance(
        "i-2",
        **{"state": LAUNCHING, "instance_type": came, "slots": int(came[1:]), "capacity_type": ON_DEMAND},
        launched_at=NOW,
    )
    decided = planned(pool=owner, queue=queue, instances=(there, warm))
    assert (decided.actions, decided.numbers.unfulfilled) == ((), 0)


# --- base -------------------------------------------------------------------------------------------------------------


def asked(decided: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for launch in of(Launch, decided):
        found[launch.request.capacity_type] = found.get(launch.request.capacity_type, 0) + launch.request.count
    return found


def test_the_first_instances_of_a_spot_pool_with_a_base_are_on_demand() -> None:
    assert asked(planned(pool=pool(on_demand_base=1), queue=jobs(3))) == {ON_DEMAND: 1, SPOT: 2}
    assert asked(planned(pool=pool(on_demand_base=2, min_instances=3))) == {ON_DEMAND: 2, SPOT: 1}
    assert asked(planned(pool=pool(on_demand_base=2))) == {}


def test_on_demand_requests_of_a_spot_pool_have_no_price_and_a_strategy_that_ec2_takes() -> None:
    (launch,) = of(Launch, planned(pool=pool(on_demand_base=1), queue=jobs(1)))
    assert {override.max_price for override in launch.request.overrides} == {None}
    assert launch.request.allocation_strategy == "lowest-price"


def test_what_is_there_or_asked_for_makes_up_the_base() -> None:
    owner = pool(on_demand_base=1)
    there = instance(capacity_type=ON_DEMAND, idle_since=None)
    assert asked(planned(pool=owner, queue=jobs(1), instances=(there,), leases=(lease(),))) == {SPOT: 1}
    leaving = instance(capacity_type=ON_DEMAND, state=DRAINING)
    assert asked(planned(pool=owner, queue=jobs(1), instances=(leaving,), leases=(lease(),))) == {ON_DEMAND: 1}


def test_a_base_that_cannot_be_had_is_missing_with_its_reason() -> None:
    decided = planned(pool=pool(on_demand_base=1), queue=jobs(1), marks=everywhere(capacity_type=ON_DEMAND))
    assert asked(decided) == {}
    assert (decided.numbers.unfulfilled, classes(decided)) == (1, ["capacity"])


def test_idle_spot_instances_go_before_those_of_the_base() -> None:
    base = instance("i-base", capacity_type=ON_DEMAND, idle_since=ago(9000))
    spot = instance("i-spot", idle_since=ago(9000))
    (retire,) = of(Retire, planned(pool=pool(on_demand_base=1, min_instances=1), instances=(base, spot)))
    assert retire.instance_ids == ("i-spot",)


# --- cost -------------------------------------------------------------------------------------------------------------

BESIDE = GP3_GIB_MONTH * 200 / 730 + PUBLIC_IPV4_HOUR


def test_no_more_is_asked_for_than_the_hourly_cost_allows_at_the_price_limit() -> None:
    decided = planned(pool=pool(max_hourly_cost=Decimal("6.5")), queue=jobs(4), prices=market("0.5"))
    assert counts(decided) == [2]
    assert decided.numbers.unfulfilled == 4
    (budget,) = [reason for reason in decided.reasons if reason.reason_class == "budget"]
    assert budget.message == (
        "2 more instances would cost more than max_hourly_cost of $6.50: $0.00 an hour is spent or on its way"
    )


def test_what_runs_counts_at_the_price_of_now_with_volume_and_address() -> None:
    busy: dict[str, Any] = {"instances": (instance(idle_since=None),), "leases": (lease(),), "prices": market("0.5")}
    just = Decimal("0.5") + BESIDE + 3 + BESIDE
    assert counts(planned(pool=pool(max_hourly_cost=just), queue=jobs(1), **busy)) == [1]
    short = planned(pool=pool(max_hourly_cost=just - Decimal("0.001")), queue=jobs(1), **busy)
    assert of(Launch, short) == []
    assert codes(short) == ["HourlyCostReached"]


@pytest.mark.parametrize(
    ("machine", "beside"),
    [
        (Machine(), BESIDE),
        (Machine(root_volume_size=400, public_ip=True), BESIDE + GP3_GIB_MONTH * 200 / 730),
        (Machine(public_ip=False), BESIDE - PUBLIC_IPV4_HOUR),
    ],
)
def test_the_pools_own_volume_counts_and_an_address_where_there_is_one(machine: Machine, beside: Decimal) -> None:
    def asked(most: Decimal) -> list[int]:
        return counts(planned(pool=pool(max_hourly_cost=most, machine=machine), queue=jobs(1)))

    assert asked(3 + beside) == [1]
    assert asked(3 + beside - Decimal("0.001")) == []


def test_intentions_count_at_their_limit_and_ending_instances_until_they_are_gone() -> None:
    owner = pool(max_hourly_cost=Decimal("6.1"), max_instances=9)
    assert counts(planned(pool=owner, queue=jobs(4), intentions=(intention(),))) == [1]
    ending = instance(state=DRAINING, termination_requested_at=ago(5), price_limit=Decimal(3))
    assert counts(planned(pool=owner, queue=jobs(4), instances=(ending,))) == [1]


def test_a_dear_type_is_left_out_where_a_cheaper_one_is_within_the_cost() -> None:
    owner = pool(types=(LARGE, SMALL), max_hourly_cost=Decimal(4), spot_max_price=None)
    (launch,) = of(Launch, planned(pool=owner, queue=jobs(2, slots=1)))
    assert {override.instance_type for override in launch.request.overrides} == {"g5.xlarge"}
    assert launch.request.count == 2


def test_a_pool_above_its_hourly_cost_keeps_what_runs() -> None:
    owner = pool(max_hourly_cost=Decimal(1))
    decided = planned(pool=owner, instances=(instance(idle_since=None),), leases=(lease(),), prices=market("2.5"))
    assert decided.actions == ()


# --- giving way -------------------------------------------------------------------------------------------------------

OLD = pool(max_instance_lifetime=timedelta(hours=1))


def old(name: str = "i-1", **changes: Any) -> Any:
    return instance(name, launched_at=ago(3600), **changes)


def test_an_instance_past_its_lifetime_is_drained_with_its_jobs_and_not_before() -> None:
    busy: dict[str, Any] = {"leases": (lease(),)}
    assert of(Drain, planned(pool=OLD, instances=(instance(launched_at=ago(3599), idle_since=None),), **busy)) == []
    (drain,) = of(Drain, planned(pool=OLD, instances=(old(idle_since=None),), **busy))
    assert (drain.instance_ids, drain.why) == (("i-1",), "older than 1h")


def test_the_jobs_of_a_drained_instance_need_no_other_and_it_ends_with_the_last_of_them() -> None:
    drained = old(state=DRAINING, idle_since=None)
    assert planned(pool=OLD, instances=(drained,), leases=(lease(),)).actions == ()
    assert len(of(Terminate, planned(pool=OLD, instances=(drained,)))) == 1


def test_at_the_maximum_one_old_instance_at_a_time_is_drained() -> None:
    fleet = tuple(old(f"i-{n}", idle_since=None) for n in range(5))
    held = tuple(lease(f"job-{n}", f"i-{n}") for n in range(5))
    (drain,) = of(Drain, planned(pool=OLD, instances=fleet, leases=held))
    assert drain.instance_ids == ("i-0",)
    leaving = (old("i-0", state=DRAINING, idle_since=None), *fleet[1:])
    assert of(Drain, planned(pool=OLD, instances=leaving, leases=held)) == []


def test_with_room_for_their_replacements_old_instances_are_drained_together() -> None:
    fleet = tuple(old(f"i-{n}", idle_since=None) for n in range(3))
    held = tuple(lease(f"job-{n}", f"i-{n}") for n in range(3))
    (drain,) = of(Drain, planned(pool=OLD, instances=fleet, leases=held))
    assert len(drain.instance_ids) == 2


def test_nothing_is_drained_while_no_replacement_can_be_had_nor_where_a_job_is_about_to_start() -> None:
    assert of(Drain, planned(pool=OLD, instances=(old(),), marks=everywhere())) == []
    assert of(Drain, planned(pool=OLD, instances=(old(),), queue=jobs(1))) == []
    assert len(of(Drain, planned(pool=OLD, instances=(old(),)))) == 1


def test_a_pool_with_a_lifetime_looks_again_when_it_is_over() -> None:
    kept = pool(max_instance_lifetime=timedelta(seconds=620), min_instances=1)
    decided = planned(pool=kept, instances=(instance(launched_at=ago(600)),))
    assert decided.due is not None
    assert (decided.due - NOW).total_seconds() == 20


@pytest.mark.parametrize(("most", "drained"), [(1, 0), (2, 1)])
def test_a_busy_instance_that_ec2_advises_to_leave_gets_no_new_job_where_there_is_room_for_another(
    most: int, drained: int
) -> None:
    advised = instance(rebalance_at=ago(5), idle_since=None)
    decided = planned(pool=pool(max_instances=most), instances=(advised,), leases=(lease(slots=1),))
    assert len(of(Drain, decided)) == drained


def test_an_idle_instance_that_ec2_advises_to_leave_is_replaced_unless_nothing_else_can_be_had() -> None:
    advised = instance(rebalance_at=ago(5))
    owner = pool(min_instances=1, max_instances=1)
    assert len(of(Drain, planned(pool=owner, instances=(advised,)))) == 1
    assert of(Drain, planned(pool=owner, instances=(advised,), marks=everywhere())) == []


def test_a_types_own_mark_leaves_the_others_to_replace() -> None:
    owner = pool(types=(LARGE, kind()), max_instance_lifetime=timedelta(hours=1), spot_max_price=Decimal(20))
    marks = tuple(mark(zone=zone) for zone in ZONES)
    assert len(of(Drain, planned(pool=owner, instances=(old(),), marks=marks))) == 1


def test_a_job_of_its_own_limit_is_counted_once() -> None:
    decided = planned(queue=(job(8, spot_max_price=Decimal(2)),), pool=pool(max_hourly_cost=Decimal("2.1")))
    assert counts(decided) == [1]
