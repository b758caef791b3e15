"""Whose money it is: on-demand instances in a spot pool, and jobs with a word of their own on price and lifecycle."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from lambdas.domain.fleet.actions import Drain, Launch
from lambdas.domain.jobs.terms import OnDemand, Terms, market_of
from lambdas.domain.plan.plan import Plan
from lambdas.domain.pools.pools import OnDemandFallback
from tests.domain.build import ON_DEMAND, SPOT, ago, instance, job, kind, lease, pool
from tests.domain.plans import codes, counts, everywhere, interrupted, jobs, market, of, planned

AFTER = OnDemandFallback(after=timedelta(minutes=10))
UNLUCKY = OnDemandFallback(after_interruptions=2)
SHUT: dict[str, Any] = {"marks": everywhere()}


def asked(decided: Plan) -> dict[str, int]:
    return {launch.request.capacity_type: launch.request.count for launch in of(Launch, decided)}


def waiting(seconds: float = 600, slots: int = 8, **changes: Any) -> Any:
    return job(slots, queued_at=ago(seconds), **changes)


# --- fallback ---------------------------------------------------------------------------------------------------------


def test_without_the_owners_word_no_waiting_buys_on_demand() -> None:
    queue = (waiting(90_000, interruptions=50),)
    assert asked(planned(queue=queue, unfulfilled_since=ago(90_000), **SHUT)) == {}


def test_after_the_waiting_time_of_job_and_pool_on_demand_is_asked_for() -> None:
    owner = pool(on_demand_fallback=AFTER)
    assert asked(planned(pool=owner, queue=(waiting(),), unfulfilled_since=ago(600), **SHUT)) == {ON_DEMAND: 1}
    assert asked(planned(pool=owner, queue=(waiting(599),), unfulfilled_since=ago(600), **SHUT)) == {}
    assert asked(planned(pool=owner, queue=(waiting(),), unfulfilled_since=ago(599), **SHUT)) == {}


def test_after_so_many_interruptions_the_jobs_next_instance_is_on_demand_though_spot_can_be_had() -> None:
    owner = pool(on_demand_fallback=UNLUCKY)
    assert asked(planned(pool=owner, queue=(waiting(0, interruptions=2),))) == {ON_DEMAND: 1}
    assert asked(planned(pool=owner, queue=(waiting(0, interruptions=1),))) == {SPOT: 1}
    ending: dict[str, Any] = {"instances": (interrupted(),)}
    assert asked(planned(pool=owner, leases=(lease(interruptions=1),), **ending)) == {ON_DEMAND: 1}
    assert asked(planned(pool=owner, leases=(lease(interruptions=0),), **ending)) == {SPOT: 1}


def test_the_fallback_is_capped_and_the_rest_waits_for_spot() -> None:
    owner = pool(on_demand_fallback=AFTER, max_instances=9)
    queue = tuple(waiting() for _ in range(4))
    assert asked(planned(pool=owner, queue=queue, unfulfilled_since=ago(600), **SHUT)) == {ON_DEMAND: 2}
    there = tuple(instance(f"i-{n}", capacity_type=ON_DEMAND, idle_since=None) for n in range(2))
    held = tuple(lease(f"job-{n}", f"i-{n}") for n in range(2))
    full: dict[str, Any] = {"pool": owner, "queue": queue, "instances": there, "leases": held}
    assert asked(planned(unfulfilled_since=ago(600), **full, **SHUT)) == {}
    assert asked(planned(unfulfilled_since=ago(600), **full)) == {SPOT: 4}


def test_a_fallback_instance_gives_way_once_it_is_old_enough_and_spot_can_be_had() -> None:
    owner = pool(on_demand_fallback=AFTER)
    bought = instance(capacity_type=ON_DEMAND, launched_at=ago(1800), idle_since=None)
    world: dict[str, Any] = {"pool": owner, "leases": (lease(),)}
    (drain,) = of(Drain, planned(instances=(bought,), **world))
    assert drain.why == "spot can be had again"
    young = instance(capacity_type=ON_DEMAND, launched_at=ago(1799), idle_since=None)
    assert of(Drain, planned(instances=(young,), **world)) == []
    assert of(Drain, planned(instances=(bought,), **world, **SHUT)) == []


def test_the_base_stays_and_so_does_what_a_job_needs_that_runs_nowhere_else() -> None:
    bought = instance(capacity_type=ON_DEMAND, launched_at=ago(1800), idle_since=None)
    based = pool(on_demand_fallback=AFTER, on_demand_base=1)
    assert of(Drain, planned(pool=based, instances=(bought,), leases=(lease(),))) == []
    needed = lease(on_demand=OnDemand.ALWAYS)
    assert of(Drain, planned(pool=pool(on_demand_fallback=AFTER), instances=(bought,), leases=(needed,))) == []


def test_a_fallback_instance_stays_for_a_job_that_waits_for_its_free_room_and_may_run_nowhere_else() -> None:
    bought = instance(capacity_type=ON_DEMAND, launched_at=ago(1800), idle_since=None)
    world = {"pool": pool(on_demand_fallback=AFTER), "instances": (bought,), "leases": (lease(slots=4),)}
    assert of(Drain, planned(**world)) != []
    assert of(Drain, planned(**world, queue=(job(4, on_demand=OnDemand.ALWAYS),))) == []


# --- a job's own word -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "on_demand", "dear", "cheap"),
    [
        (Terms(), True, True, True),
        (Terms(on_demand=OnDemand.NEVER), False, True, True),
        (Terms(on_demand=OnDemand.ALWAYS), True, False, False),
        (Terms(spot_max_price=Decimal("0.3")), True, False, True),
    ],
)
def test_terms_accept_a_lifecycle_and_a_limit(terms: Terms, on_demand: bool, dear: bool, cheap: bool) -> None:
    facts = kind()
    bought = [market_of(ON_DEMAND, None, facts), market_of(SPOT, None, facts), market_of(SPOT, Decimal("0.3"), facts)]
    assert [terms.accept(each) for each in bought] == [on_demand, dear, cheap]


def test_an_always_job_gets_on_demand_at_once_where_the_owner_allows_any_and_never_otherwise() -> None:
    queue = (waiting(0, on_demand=OnDemand.ALWAYS),)
    assert asked(planned(pool=pool(on_demand_fallback=OnDemandFallback()), queue=queue)) == {ON_DEMAND: 1}
    decided = planned(queue=queue)
    assert (asked(decided), codes(decided)) == ({}, ["LifecycleForbidden"])


def test_always_jobs_beyond_what_the_owner_allows_wait_with_that_reason() -> None:
    owner = pool(on_demand_fallback=OnDemandFallback(max_instances=1))
    queue = tuple(waiting(0, on_demand=OnDemand.ALWAYS) for _ in range(3))
    decided = planned(pool=owner, queue=queue)
    assert asked(decided) == {ON_DEMAND: 1}
    assert "OnDemandInstancesReached" in codes(decided)


def test_a_never_job_is_not_planned_onto_an_on_demand_instance() -> None:
    owner = pool(on_demand_fallback=AFTER)
    bought = instance(capacity_type=ON_DEMAND)
    assert counts(planned(pool=owner, instances=(bought,), queue=(waiting(0, on_demand=OnDemand.NEVER),))) == [1]
    assert of(Launch, planned(pool=owner, instances=(bought,), queue=jobs(1))) == []


def test_the_least_of_pool_and_job_is_the_limit_of_its_instance() -> None:
    def limits(cap: str) -> set[Decimal | None]:
        (launch,) = of(Launch, planned(queue=(waiting(0, spot_max_price=Decimal(cap)),)))
        return {override.max_price for override in launch.request.overrides}

    assert (limits("1.5"), limits("4")) == ({Decimal("1.5")}, {Decimal(3)})


def test_a_job_is_not_planned_onto_an_instance_whose_limit_is_above_its_own() -> None:
    capped = waiting(0, spot_max_price=Decimal("1.5"))
    assert counts(planned(queue=(capped,), instances=(instance(price_limit=Decimal(3)),))) == [1]
    assert of(Launch, planned(queue=(capped,), instances=(instance(price_limit=Decimal("1.5")),))) == []


def test_jobs_with_and_without_a_limit_share_an_instance_under_the_lower_one() -> None:
    queue = (waiting(0, 4, spot_max_price=Decimal("1.5")), waiting(0, 4))
    launches = of(Launch, planned(queue=queue, prices=market("1")))
    assert [launch.request.count for launch in launches] == [1]
    assert {override.max_price for override in launches[0].request.overrides} == {Decimal("1.5")}


def test_a_job_whose_own_limit_the_market_is_above_waits_with_both_prices_and_holds_up_nobody() -> None:
    queue = (waiting(0, spot_max_price=Decimal("0.5")), waiting(0))
    decided = planned(queue=queue, prices=market("1"))
    assert counts(decided) == [1]
    (reason,) = [each for each in decided.reasons if each.code == "JobPriceAboveLimit"]
    assert "spot_max_price of up to $0.50" in reason.message
    assert "cheapest offering $1.00 in us-west-2a (g4dn.metal)" in reason.message


def test_an_idle_worker_that_no_waiting_job_may_run_on_is_not_taken_for_silent() -> None:
    quiet = instance(heartbeat_at=ago(900), idle_since=ago(900), price_limit=Decimal(3))
    queue = (waiting(900, spot_max_price=Decimal("0.5")),)
    assert planned(instances=(quiet,), queue=queue, prices=market("1")).numbers.idle == 1
