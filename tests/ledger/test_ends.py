"""How attempts end: one result, whoever says it how often."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters import keys
from lambdas.domain.fleet.actions import ReturnJob
from lambdas.domain.instants import to_text
from lambdas.domain.jobs.job_record import Outcome
from lambdas.domain.jobs.jobs import JobState
from tests.ledger.world import World


@pytest.fixture
def instance(world: World) -> str:
    return world.instance()


def running(world: World, instance: str, **fields: Any) -> None:
    world.job(**fields)
    world.claim(instance)
    world.clean()


RESULTS: list[tuple[dict[str, Any], dict[str, Any], JobState, str | None, tuple[int, int]]] = [
    ({}, {"exit_code": 0}, JobState.SUCCEEDED, None, (0, 0)),
    ({}, {"exit_code": 3}, JobState.FAILED, "exit 3", (1, 0)),
    ({}, {"exit_code": None, "signal": 9}, JobState.FAILED, "signal 9", (1, 0)),
    ({}, {"exit_code": None, "error": "no such input"}, JobState.FAILED, "no such input", (1, 0)),
    ({}, {"exit_code": None, "signal": 9, "timed_out": True}, JobState.FAILED, "timeout", (1, 0)),
    ({}, {"exit_code": 0, "timed_out": True}, JobState.FAILED, "timeout", (1, 0)),
    ({}, {"exit_code": None, "signal": 9, "out_of_memory": True}, JobState.FAILED, "out_of_memory", (1, 0)),
    ({}, {"exit_code": 137, "error": "its words", "out_of_memory": True}, JobState.FAILED, "out_of_memory", (1, 0)),
    ({"max_attempts": 2}, {"exit_code": 3}, JobState.QUEUED, None, (1, 0)),
    ({}, {"exit_code": 0, "interrupted": True}, JobState.QUEUED, None, (0, 1)),
    ({}, {"exit_code": 1, "interrupted": True}, JobState.QUEUED, None, (0, 1)),
    ({}, {"exit_code": 0, "interrupted": True, "done": True}, JobState.SUCCEEDED, None, (0, 0)),
    ({}, {"exit_code": 1, "interrupted": True, "done": True}, JobState.QUEUED, None, (0, 1)),
    ({"max_interruptions": 1}, {"exit_code": 1, "interrupted": True}, JobState.FAILED, "interrupted", (0, 1)),
    ({"max_interruptions": 2}, {"exit_code": 1, "interrupted": True}, JobState.QUEUED, None, (0, 1)),
]


@pytest.mark.parametrize(("asked", "told", "state", "reason", "counts"), RESULTS)
def test_a_result_decides_the_jobs_state(
    world: World,
    instance: str,
    asked: dict[str, Any],
    told: dict[str, Any],
    state: JobState,
    reason: str | None,
    counts: tuple[int, int],
) -> None:
    running(world, instance, **asked)
    answer = world.finish(instance, **told)
    job = world.record()
    assert (answer, job.state, job.reason) == ({"state": state.value}, state, reason)
    assert (job.failures, job.interruptions) == counts


def test_an_ended_job_frees_its_instance_which_is_then_idle(world: World, instance: str) -> None:
    running(world, instance, slots=4)
    world.clock.advance(timedelta(minutes=1))
    world.finish(instance)
    stored = world.stored_instance(instance)
    assert (stored["leases"], stored["used_slots"], stored["idle_since"]) == (0, 0, to_text(world.clock()))


def test_an_instance_with_another_job_is_not_idle(world: World, instance: str) -> None:
    running(world, instance)
    world.job("other")
    world.claim(instance, "r-2")
    world.finish(instance)
    stored = world.stored_instance(instance)
    assert (stored["leases"], stored["used_slots"], "idle_since" in stored) == (1, 1, False)


def test_a_finish_tells_the_pool(world: World, instance: str) -> None:
    running(world, instance)
    world.finish(instance)
    assert world.dirty() == "finish:job:1"
    assert world.rung()[-1] == {"pool": "gpu", "cause": "finish:job:1"}


@pytest.mark.parametrize("told", [{"exit_code": 0}, {"exit_code": 1, "interrupted": True}])
def test_a_finish_repeated_gives_the_same_answer_and_counts_once(
    world: World, instance: str, told: dict[str, Any]
) -> None:
    running(world, instance)
    first = world.finish(instance, **told)
    before = world.record()
    assert world.finish(instance, **told) == first
    assert world.record() == before
    assert len(world.ledger.attempts(before)) == 1


def test_a_finish_repeated_with_another_result_keeps_the_first(world: World, instance: str) -> None:
    running(world, instance)
    world.finish(instance, exit_code=0)
    assert world.finish(instance, exit_code=1) == {"state": "succeeded"}


def test_a_finish_repeated_while_the_job_runs_elsewhere_changes_nothing(world: World, instance: str) -> None:
    running(world, instance)
    world.finish(instance, exit_code=1, interrupted=True)
    other = world.instance(2)
    world.claim(other)
    status, _ = world.post(names.API_FINISH, instance, world.result(fence=1))
    assert (status, world.record().state, world.record().instance_id) == (409, JobState.RUNNING, other)


def returned(world: World, instance: str, fence: int = 1, why: str = "its instance is gone") -> bool:
    action = ReturnJob(job_id="job", instance_id=instance, fence=fence, why=why)
    return world.ledger.return_job(action, world.clock())


def test_a_lost_lease_is_an_interruption_and_the_job_waits_again_in_its_place(world: World, instance: str) -> None:
    running(world, instance)
    world.job("later")
    assert returned(world, instance)
    head, _ = world.ledger.queue_head("gpu", 2)
    assert [(job.job_id, job.interruptions) for job in head] == [("job", 1), ("later", 0)]


def test_returning_a_job_again_does_nothing(world: World, instance: str) -> None:
    running(world, instance)
    assert returned(world, instance)
    assert not returned(world, instance)
    assert world.record().interruptions == 1


def test_the_result_of_a_lost_lease_is_refused_with_409(world: World, instance: str) -> None:
    running(world, instance)
    returned(world, instance)
    status, answer = world.post(names.API_FINISH, instance, world.result())
    assert (status, answer["error"], world.record().state) == (409, "lease-lost", JobState.QUEUED)


def test_the_holder_of_the_new_lease_alone_ends_the_job(world: World, instance: str) -> None:
    running(world, instance)
    returned(world, instance)
    other = world.instance(2)
    (lease,) = world.claim(other)["leases"]
    assert (lease["fence"], lease["attempt"]) == (2, 2)
    assert world.post(names.API_FINISH, instance, world.result(fence=1))[0] == 409
    assert world.finish(other, fence=2) == {"state": "succeeded"}


def test_a_job_that_comes_back_to_the_same_instance_has_a_new_fence(world: World, instance: str) -> None:
    running(world, instance)
    returned(world, instance)
    world.claim(instance, "r-2")
    assert world.post(names.API_FINISH, instance, world.result(fence=1))[0] == 409
    assert world.finish(instance, fence=2) == {"state": "succeeded"}


def test_nobody_ends_a_job_of_another_instance(world: World, instance: str) -> None:
    running(world, instance)
    status, answer = world.post(names.API_FINISH, world.instance(2), world.result())
    assert (status, answer["error"], world.record().state) == (403, "not-yours", JobState.RUNNING)


def test_nobody_ends_a_job_that_there_is_not(world: World, instance: str) -> None:
    assert world.post(names.API_FINISH, instance, world.result("unknown"))[0] == 403


def test_nobody_ends_a_job_with_a_fence_of_the_future(world: World, instance: str) -> None:
    running(world, instance)
    assert world.post(names.API_FINISH, instance, world.result(fence=2))[0] == 403


def test_a_lease_renewed_since_it_was_judged_is_not_taken_back(world: World, instance: str) -> None:
    running(world, instance)
    judged = world.clock()
    world.clock.advance(timedelta(seconds=30))
    world.heartbeat(instance, ("job", 1))
    assert not world.leases.take_back("job", instance, 1, "silent", world.clock(), renewed_at=judged)
    assert world.record().state == JobState.RUNNING


def test_a_job_whose_instance_record_is_gone_can_be_returned(world: World, instance: str) -> None:
    running(world, instance)
    world.table.delete(keys.pool("gpu"), keys.instance(instance))
    assert returned(world, instance)
    (attempt,) = world.ledger.attempts(world.record())
    assert (attempt.instance_id, attempt.instance_type) == (instance, None)


# --- release ---


def test_a_released_job_waits_again_and_it_was_no_attempt(world: World, instance: str) -> None:
    running(world, instance)
    body = {"job_id": "job", "fence": 1, "reason": "restarted"}
    assert world.call(names.API_RELEASE, instance, body) == {"state": "queued"}
    job = world.record()
    assert (job.attempts, job.interruptions, job.failures, job.started_at) == (0, 0, 0, None)
    assert world.ledger.attempts(job) == []
    assert [each.job_id for each in world.ledger.queue_head("gpu", 1)[0]] == ["job"]


def test_a_release_repeated_gives_the_same_answer(world: World, instance: str) -> None:
    running(world, instance)
    body = {"job_id": "job", "fence": 1, "reason": "restarted"}
    assert world.call(names.API_RELEASE, instance, body) == world.call(names.API_RELEASE, instance, body)


def test_the_attempt_after_a_release_has_the_same_number_and_a_new_fence(world: World, instance: str) -> None:
    running(world, instance)
    world.call(names.API_RELEASE, instance, {"job_id": "job", "fence": 1, "reason": "restarted"})
    (lease,) = world.claim(instance, "r-2")["leases"]
    assert (lease["attempt"], lease["fence"]) == (1, 2)


def test_why_a_lease_was_given_back_is_kept_with_its_attempt_on_one_printable_line(world: World, instance: str) -> None:
    running(world, instance)
    long = "x" * 2_000 + "S3 does\nnot\x1b[31m answer\0 \ud83d"
    world.call(names.API_RELEASE, instance, {"job_id": "job", "fence": 1, "reason": "at first"})
    world.claim(instance, "r-2")
    for _ in range(2):
        world.call(names.API_RELEASE, instance, {"job_id": "job", "fence": 2, "reason": long})
    (release,) = world.ledger.releases(world.record())
    assert (release.n, release.times, release.instance_id, release.at) == (1, 2, instance, world.clock())
    assert release.reason.endswith("xS3 does not [31m answer")
    assert len(release.reason) <= 1_000
    assert release.reason.isprintable()


def test_a_job_from_before_reasons_were_kept_has_none(world: World, instance: str) -> None:
    running(world, instance)
    assert world.ledger.releases(world.record()) == []


# --- what is kept ---


def test_attempts_say_where_when_and_how_it_went(world: World, instance: str) -> None:
    running(world, instance)
    started = world.clock()
    world.clock.advance(timedelta(minutes=2))
    world.finish(instance, exit_code=1, interrupted=True, started_at=to_text(started))
    world.claim(instance, "r-2")
    first, second = world.ledger.attempts(world.record())
    assert (first.n, first.instance_type, first.availability_zone, first.lifecycle) == (
        *(1, "g4dn.metal"),
        *("us-west-2a", "spot"),
    )
    assert (first.started_at, first.ended_at, first.outcome) == (started, world.clock(), Outcome.INTERRUPTED)
    assert (second.n, second.ended_at, second.outcome) == (2, None, None)


def test_interrupted_time_counts_against_the_timeout(world: World, instance: str) -> None:
    running(world, instance, timeout=timedelta(hours=1))
    started = world.clock()
    world.clock.advance(timedelta(seconds=90))
    world.finish(instance, exit_code=1, interrupted=True, started_at=to_text(started))
    (lease,) = world.claim(instance, "r-2")["leases"]
    assert lease["used_seconds"] == 90.0


def test_time_of_a_failed_attempt_does_not_count_against_the_next(world: World, instance: str) -> None:
    running(world, instance, max_attempts=2)
    world.clock.advance(timedelta(seconds=90))
    world.finish(instance, exit_code=1)
    assert world.record().used_seconds == Decimal(0)


def test_after_a_failure_the_whole_timeout_is_there_again(world: World, instance: str) -> None:
    running(world, instance, timeout=timedelta(hours=1), max_attempts=2)
    started = world.clock()
    world.clock.advance(timedelta(seconds=90))
    world.finish(instance, exit_code=1, interrupted=True, started_at=to_text(started))
    (lease,) = world.claim(instance, "r-2")["leases"]
    world.finish(instance, fence=lease["fence"], exit_code=1)
    (again,) = world.claim(instance, "r-3")["leases"]
    assert again["used_seconds"] == 0.0


def test_an_attempt_lasted_no_longer_than_its_lease_whatever_its_clock_says(world: World, instance: str) -> None:
    running(world, instance)
    claimed = world.clock()
    world.clock.advance(timedelta(seconds=10))
    told = {"started_at": "1999-01-01T00:00:00Z", "ended_at": "2999-01-01T00:00:00Z"}
    world.finish(instance, exit_code=1, interrupted=True, **told)
    (attempt,) = world.ledger.attempts(world.record())
    assert (attempt.started_at, attempt.ended_at) == (claimed, world.clock())
    assert world.record().used_seconds == Decimal(10)


def test_ended_jobs_go_after_ninety_days_with_all_that_belongs_to_them(world: World, instance: str) -> None:
    running(world, instance)
    world.finish(instance)
    world.clock.advance(timedelta(days=89))
    world.dynamodb.expire("lowtide")
    assert world.ledger.job("job") is not None
    world.clock.advance(timedelta(days=2))
    world.dynamodb.expire("lowtide")
    assert (world.ledger.job("job"), world.ledger.spec("job")) == (None, None)
    world.clock.advance(timedelta(days=90))
    world.dynamodb.expire("lowtide")
    assert not [item for item in world.dynamodb.everything("lowtide") if item["pk"]["S"] == "JOB#job"]


def test_a_queued_job_never_goes_by_itself(world: World, instance: str) -> None:
    running(world, instance)
    world.finish(instance, exit_code=1, interrupted=True)
    world.clock.advance(timedelta(days=1000))
    world.dynamodb.expire("lowtide")
    assert world.claim(instance, "r-2")["leases"][0]["job_id"] == "job"
