"""`lowtide jobs cancel` and `retry`: what a person may change, and what is said where there is nothing to change."""

from datetime import timedelta

import pytest

from lambdas import names
from lambdas.domain.jobs.jobs import JobState
from tests.cli.deployment import Deployed
from tests.passes.world import pool


@pytest.fixture
def one(deployed: Deployed) -> Deployed:
    """A pool with a job `mine` that waits."""
    deployed.apply(pool())
    deployed.say("submit", "--pool", "cpu", "--id", "mine", "--", "true")
    deployed.take_in()
    return deployed


def state(of: Deployed, job_id: str = "mine") -> JobState:
    job = of.jobs.job(job_id)
    assert job is not None
    return job.state


def test_a_job_that_waits_is_cancelled_and_leaves_the_queue(one: Deployed) -> None:
    assert "mine: cancelled" in one.say("jobs", "cancel", "mine").out
    assert state(one) is JobState.CANCELLED
    assert one.jobs.queue_head("cpu", 10) == ((), True)
    assert "cancelled already" in one.say("jobs", "cancel", "mine").out


def test_a_cancelled_job_runs_again_under_its_id(one: Deployed) -> None:
    one.say("jobs", "cancel", "mine")
    assert "queued again, attempt 1" in one.say("jobs", "retry", "mine").out
    assert state(one) is JobState.QUEUED
    [entry], complete = one.jobs.queue_head("cpu", 10)
    assert (entry.job_id, complete) == ("mine", True)
    assert one.state()["gpk"] == "DUE"


def test_a_job_that_has_not_ended_is_not_retried(one: Deployed) -> None:
    ended = one.say("jobs", "retry", "mine")
    assert ended.code == 1
    assert "mine is queued: cancel it first" in ended.err


def test_a_job_of_a_pool_that_is_gone_is_not_retried(one: Deployed) -> None:
    one.say("jobs", "cancel", "mine")
    one.say("pools", "delete", "cpu", "--drain", "--yes")
    assert "pool cpu of mine is gone" in one.say("jobs", "retry", "mine").err


def test_a_job_that_ends_by_a_command_is_kept_as_long_as_its_stack_keeps_jobs(one: Deployed) -> None:
    one.stacks[names.STACK][names.OUTPUT_SETTINGS] = '{"jobs_kept": 86400}'
    one.say("jobs", "cancel", "mine")
    item = one.table.get("JOB#mine", "JOB")
    assert item is not None
    assert item["expires_at"] == int((one.clock() + timedelta(days=1)).timestamp())


def test_what_was_asked_must_still_be_kept(one: Deployed) -> None:
    one.say("jobs", "cancel", "mine")
    one.table.delete("JOB#mine", "SPEC")
    assert "is not kept any more: submit it anew" in one.say("jobs", "retry", "mine").err


def test_of_several_each_is_tried_and_the_failures_are_told(one: Deployed) -> None:
    ended = one.say("jobs", "cancel", "nobody", "mine")
    assert (ended.code, state(one)) == (1, JobState.CANCELLED)
    assert "there is no job nobody" in ended.err


def test_a_parked_job_is_pointed_to_the_parked_list(one: Deployed) -> None:
    one.jobs.park_queued("cpu", "the pool is deleted", one.clock())
    assert "lowtide parked list --job mine" in one.say("jobs", "retry", "mine").err
    assert "nothing to cancel" in one.say("jobs", "cancel", "mine").err
