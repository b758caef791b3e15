"""A person's word on a job in the ledger: cancelled while it waits or runs, tried again after its end."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from lambdas import names
from lambdas.adapters import keys
from lambdas.adapters.table import Conflict
from lambdas.domain.jobs.job_record import Outcome
from lambdas.domain.jobs.jobs import JobState
from lowtide.sim.calls import FailNext, aws_error
from tests.ledger.world import World


@pytest.fixture
def instance(world: World) -> str:
    return world.instance()


def running(world: World, instance: str, **fields: object) -> None:
    world.job(**fields)
    world.claim(instance)


def test_a_running_job_is_over_at_once_and_its_worker_hears_so_at_its_next_heartbeat(
    world: World, instance: str
) -> None:
    running(world, instance)
    assert world.ledger.cancel(world.record(), world.clock())
    job = world.record()
    assert (job.state, job.reason, job.exit_code) == (JobState.CANCELLED, "cancelled", None)
    assert job.finished_at == world.clock()
    [attempt] = world.ledger.attempts(job)
    assert (attempt.outcome, attempt.ended_at) == (Outcome.CANCELLED, world.clock())
    assert world.heartbeat(instance, ("job", 1))["stop"] == [{"job_id": "job", "fence": 1, "reason": "lease-lost"}]


def test_what_the_worker_still_reports_of_it_is_refused(world: World, instance: str) -> None:
    running(world, instance)
    world.ledger.cancel(world.record(), world.clock())
    status, _ = world.post(names.API_FINISH, instance, world.result())
    assert status == 409
    assert world.record().state is JobState.CANCELLED


def test_its_room_is_free_for_another_job(world: World, instance: str) -> None:
    running(world, instance, slots=8)
    world.ledger.cancel(world.record(), world.clock())
    stored = world.stored_instance(instance)
    assert (stored["leases"], stored["used_slots"]) == (0, 0)
    world.job("next", slots=8)
    assert [lease["job_id"] for lease in world.claim(instance, "r-2")["leases"]] == ["next"]


def test_cancelling_counts_neither_as_a_failure_nor_as_an_interruption(world: World, instance: str) -> None:
    running(world, instance)
    world.ledger.cancel(world.record(), world.clock())
    job = world.record()
    assert (job.failures, job.interruptions) == (0, 0)


def test_a_result_that_came_first_stands(world: World, instance: str) -> None:
    running(world, instance)
    seen = world.record()
    world.finish(instance)
    assert not world.ledger.cancel(seen, world.clock())
    assert world.record().state is JobState.SUCCEEDED


def test_a_job_that_was_claimed_meanwhile_is_read_again(world: World, instance: str) -> None:
    world.job()
    seen = world.record()
    world.claim(instance)
    assert not world.ledger.cancel(seen, world.clock())
    assert world.ledger.cancel(world.record(), world.clock())


def test_a_cancel_whose_answer_was_lost_is_not_done_twice(world: World, instance: str) -> None:
    running(world, instance)
    seen = world.record()
    lost = aws_error("TransactWriteItems", "InternalServerError", "sorry", status=500)
    world.dynamodb.hook = FailNext(lost={"dynamodb.transact_write_items": [lost]})
    with pytest.raises(Exception, match="sorry"):
        world.ledger.cancel(seen, world.clock())
    assert not world.ledger.cancel(seen, world.clock())
    assert world.record().state is JobState.CANCELLED
    assert world.stored_instance(instance)["leases"] == 0


# --- again ---


def failed(world: World, instance: str, **fields: object) -> None:
    running(world, instance, **fields)
    world.finish(instance, exit_code=3)
    assert world.record().state is JobState.FAILED


def test_a_failed_job_gets_so_many_more_tries_under_its_id(world: World, instance: str) -> None:
    failed(world, instance)
    world.ledger.retry(world.record(), 2, world.clock())
    job = world.record()
    assert (job.state, job.failures, job.max_attempts) == (JobState.QUEUED, 1, 3)
    assert (job.finished_at, job.reason, job.exit_code) == (None, None, None)
    for n in (2, 3):
        [lease] = world.claim(instance, f"r-{n}")["leases"]
        assert (lease["attempt"], lease["fence"]) == (n, n)
        world.finish(instance, fence=n, exit_code=3)
    assert world.record().state is JobState.FAILED
    assert [attempt.n for attempt in world.ledger.attempts(world.record())] == [1, 2, 3]


def test_nothing_of_it_goes_by_itself_any_more(world: World, instance: str) -> None:
    failed(world, instance)
    world.ledger.retry(world.record(), 1, world.clock())
    for part in (keys.JOB, keys.SPEC):
        assert "expires_at" not in (world.table.get(keys.job("job"), part) or {})


def test_a_job_that_was_interrupted_too_often_may_be_interrupted_as_often_again(world: World, instance: str) -> None:
    running(world, instance, max_interruptions=1)
    world.finish(instance, exit_code=1, interrupted=True)
    assert world.record().reason == "interrupted"
    world.ledger.retry(world.record(), 1, world.clock())
    assert world.record().max_interruptions == 2


def test_its_timeout_begins_anew(world: World, instance: str) -> None:
    running(world, instance, timeout=timedelta(hours=1))
    job = replace(world.record(), used_seconds=Decimal(3500))
    world.ledger.cancel(job, world.clock())
    world.ledger.retry(world.record(), 1, world.clock())
    assert world.record().used_seconds == 0


def test_two_people_who_retry_at_once_add_one_entry(world: World, instance: str) -> None:
    failed(world, instance)
    seen = world.record()
    world.ledger.retry(seen, 1, world.clock())
    with pytest.raises(Conflict):
        world.ledger.retry(seen, 1, world.clock())
    assert len(world.ledger.queue_head("gpu", 10)[0]) == 1


def test_the_pool_is_looked_at(world: World, instance: str) -> None:
    failed(world, instance)
    world.clean()
    world.ledger.retry(world.record(), 1, world.clock())
    assert (world.table.get(keys.pool("gpu"), keys.STATE) or {})["gpk"] == keys.DUE


def test_many_jobs_are_found_a_hundred_a_call(world: World) -> None:
    for n in range(3):
        world.job(f"j{n}")
    asked = [f"j{n}" for n in range(250)]
    assert sorted(world.ledger.found(asked)) == ["j0", "j1", "j2"]
