"""What attempts and jobs cost, written with their ends."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters import keys
from lambdas.adapters.bill_items import COUNTED, tariff_attributes
from lambdas.domain.buying.bills import Tariff
from lambdas.domain.fleet.actions import ReturnJob
from lambdas.domain.instants import to_text
from lambdas.domain.jobs.job_record import Attempt
from tests.ledger.world import World

HOUR = timedelta(hours=1)
PRICE = (Decimal("3.98"), Decimal("0.02"))
"""Of the instance, and beside it: $4 an hour, of which a job with two of the eight slots has $1."""


@pytest.fixture
def instance(world: World) -> str:
    return priced(world, world.instance())


def priced(world: World, instance_id: str, *, estimated: bool = False) -> str:
    price, beside = PRICE
    tariff = Tariff(
        launched_at=world.clock(), prices=((0, price),), on_demand=Decimal("7.98"), beside=beside, estimated=estimated
    )
    item = world.stored_instance(instance_id)
    world.table.put({**item, **tariff_attributes(tariff)})
    return instance_id


def running(world: World, instance: str, job_id: str = "job", **fields: Any) -> None:
    world.job(job_id, **{"slots": 2, **fields})
    world.claim(instance, f"r-{job_id}-{world.clock().timestamp()}")


def attempts(world: World) -> list[Attempt]:
    return world.ledger.attempts(world.record())


def counters(world: World, instance: str) -> tuple[Any, ...]:
    stored = world.stored_instance(instance)
    return tuple(stored.get(name) for name in COUNTED)


def test_an_attempt_costs_its_slots_share_from_claim_to_end(world: World, instance: str) -> None:
    running(world, instance)
    world.clock.advance(HOUR)
    world.finish(instance)
    (attempt,) = attempts(world)
    assert (attempt.cost_usd, attempt.on_demand_cost_usd, attempt.cost_estimated) == (1, 2, False)
    job = world.record()
    assert (job.cost_usd, job.on_demand_cost_usd, job.interrupted_usd, job.cost_estimated) == (1, 2, 0, False)


def test_a_job_costs_all_its_attempts_and_says_what_interruptions_took(world: World, instance: str) -> None:
    running(world, instance)
    world.clock.advance(HOUR)
    world.finish(instance, interrupted=True)
    world.claim(instance, "r-2")
    world.clock.advance(2 * HOUR)
    world.finish(instance, fence=2)
    job = world.record()
    assert (job.cost_usd, job.on_demand_cost_usd, job.interrupted_usd) == (3, 6, 1)
    assert [attempt.cost_usd for attempt in attempts(world)] == [1, 2]
    assert counters(world, instance) == (3 * 2 * 3600, 3, 1)


def test_a_result_that_is_told_twice_is_charged_once(world: World, instance: str) -> None:
    running(world, instance)
    world.clock.advance(HOUR)
    for _ in range(2):
        world.finish(instance)
    assert (world.record().cost_usd, counters(world, instance)) == (1, (2 * 3600, 1, 0))


def test_a_released_lease_is_charged_to_nobody(world: World, instance: str) -> None:
    running(world, instance)
    world.clock.advance(HOUR)
    world.call(names.API_RELEASE, instance, {"job_id": "job", "fence": 1, "reason": "draining"})
    assert (world.record().cost_usd, counters(world, instance)) == (0, (None, None, None))


def test_an_auxiliary_job_is_charged_nothing(world: World, instance: str) -> None:
    running(world, instance, slots=0)
    world.clock.advance(HOUR)
    world.finish(instance)
    (attempt,) = attempts(world)
    assert (attempt.cost_usd, world.record().cost_usd, counters(world, instance)) == (0, 0, (0, 0, 0))


def test_an_attempt_on_an_instance_that_is_gone_costs_until_that_ended(world: World, instance: str) -> None:
    running(world, instance)
    world.clock.advance(HOUR)
    world.table.update(
        keys.pool("gpu"),
        keys.instance(instance),
        "SET observed_state = :gone, observed_at = :now",
        values={":gone": "terminated", ":now": to_text(world.clock())},
    )
    world.clock.advance(HOUR)
    lost = ReturnJob(job_id="job", instance_id=instance, fence=1, why="gone", renewed_at=world.clock())
    assert world.ledger.return_job(lost, world.clock())
    job = world.record()
    assert (job.cost_usd, job.interrupted_usd, counters(world, instance)) == (1, 1, (2 * 3600, 1, 1))


def test_what_is_reckoned_at_the_limit_is_told_as_an_estimate(world: World) -> None:
    instance = priced(world, world.instance(), estimated=True)
    running(world, instance)
    world.clock.advance(HOUR)
    world.finish(instance)
    (attempt,) = attempts(world)
    assert (attempt.cost_usd, attempt.cost_estimated, world.record().cost_estimated) == (1, True, True)


def test_an_attempt_without_a_known_price_has_no_cost_and_its_job_says_so(world: World) -> None:
    running(world, instance := world.instance())
    world.clock.advance(HOUR)
    world.finish(instance)
    (attempt,) = attempts(world)
    assert (attempt.cost_usd, attempt.on_demand_cost_usd) == (None, None)
    assert (world.record().cost_usd, world.record().cost_estimated) == (0, True)
    assert counters(world, instance) == (2 * 3600, 0, 0)


def test_money_is_stored_exactly(world: World, instance: str) -> None:
    running(world, instance)
    world.clock.advance(timedelta(seconds=7))
    world.finish(instance)
    stored = world.table.get(keys.job("job"), keys.JOB)
    assert stored is not None
    assert stored["cost_usd"] == "0.001944"
    assert world.stored_instance(instance)["leased_usd"] == Decimal("0.001944")
