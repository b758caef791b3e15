"""A job that fails at once wherever it is tried is stopped before it has used all its attempts."""

from datetime import timedelta
from typing import Any

import pytest

from lambdas.domain.instants import to_text
from lambdas.domain.jobs.job_record import POISON_INSTANCES, JobRecord, Outcome
from lambdas.domain.jobs.jobs import JobState
from tests.ledger.world import World

AT_ONCE, LATER = timedelta(seconds=59), timedelta(seconds=61)
"""Either side of the setting `failed_at_once`."""
STOPPED = "stopped early, having failed at once on 3 instances one after the other: exit 3"


@pytest.fixture
def job(world: World) -> JobRecord:
    return world.job(max_attempts=100)


def attempt(world: World, number: int, *, lasts: timedelta = AT_ONCE, **how: Any) -> JobState:
    """One more attempt, on the instance of this number."""
    instance = world.instance(number)
    (lease,) = world.claim(instance, f"r-{world.record().fence}")["leases"]
    began = to_text(world.clock())
    world.clock.advance(lasts)
    told = {"exit_code": 3, "started_at": began, **how}
    return JobState(world.finish(instance, fence=lease["fence"], **told)["state"])


@pytest.mark.usefixtures("job")
def test_a_job_that_fails_at_once_on_three_instances_is_stopped_although_it_has_attempts_left(world: World) -> None:
    assert [attempt(world, number) for number in (1, 2, 3)] == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED]
    job = world.record()
    assert (job.reason, job.exit_code, job.failures) == (STOPPED, 3, POISON_INSTANCES)
    assert [each.outcome for each in world.ledger.attempts(job)] == [Outcome.FAILED] * 3


@pytest.mark.usefixtures("job")
def test_failing_at_once_on_the_same_instances_again_is_no_reason_to_stop(world: World) -> None:
    assert {attempt(world, number) for number in (1, 2, 1, 2, 1)} == {JobState.QUEUED}
    assert attempt(world, 3) is JobState.FAILED


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize(
    "between",
    [{"lasts": LATER}, {"lasts": LATER, "exit_code": 0, "interrupted": True}, {"timed_out": True}],
    ids=["a later failure", "a longer interrupted attempt", "a timeout"],
)
def test_an_attempt_that_did_not_fail_at_once_begins_the_count_anew(world: World, between: dict[str, Any]) -> None:
    attempt(world, 1)
    attempt(world, 2)
    attempt(world, 4, **between)
    assert [attempt(world, number) for number in (3, 1, 2)] == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED]


@pytest.mark.usefixtures("job")
def test_a_short_interruption_proves_nothing_and_changes_no_count(world: World) -> None:
    attempt(world, 1)
    attempt(world, 2)
    assert attempt(world, 4, exit_code=0, interrupted=True) is JobState.QUEUED
    assert attempt(world, 3) is JobState.FAILED


@pytest.mark.usefixtures("job")
def test_a_lost_lease_changes_no_count(world: World) -> None:
    attempt(world, 1)
    attempt(world, 2)
    lost = world.instance(4)
    (lease,) = world.claim(lost, "r-lost")["leases"]
    assert world.leases.take_back("job", lost, lease["fence"], "its instance is gone", world.clock())
    assert attempt(world, 3) is JobState.FAILED


def test_a_job_whose_last_attempt_it_was_has_simply_failed(world: World) -> None:
    world.job(max_attempts=3)
    for number in (1, 2, 3):
        attempt(world, number)
    assert world.record().reason == "exit 3"


@pytest.mark.usefixtures("job")
def test_a_stopped_job_that_is_retried_is_given_as_many_tries_as_a_new_one(world: World) -> None:
    for number in (1, 2, 3):
        attempt(world, number)
    world.ledger.retry(world.record(), 50, world.clock())
    assert [attempt(world, number) for number in (1, 2, 3)] == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED]
    assert world.record().failures == 2 * POISON_INSTANCES


@pytest.mark.usefixtures("job")
def test_a_success_after_failures_is_a_success(world: World) -> None:
    attempt(world, 1)
    attempt(world, 2)
    assert attempt(world, 3, exit_code=0) is JobState.SUCCEEDED


def test_no_job_that_has_not_failed_at_once_carries_a_count(world: World) -> None:
    world.job(max_attempts=9)
    attempt(world, 1, lasts=LATER)
    assert world.record().failed_at_once_on is None
