"""Spot instances that the market takes back while they run a job: announced, announced late, or not at all."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from lambdas import names
from lambdas.domain.instants import from_text
from lambdas.domain.jobs.jobs import JobState
from lowtide.joblogs import JobLogs
from tests.world.conftest import PACE, Stack, spot, until

SECOND_TIME_LUCKY = 'test "$LOWTIDE_ATTEMPT" -gt 1 || exec sleep 600'
"""Ends only on an attempt that follows another."""


def running_job(stack: Stack, pool: str) -> tuple[str, str]:
    """A job that works on an instance of this new pool: job id and instance id."""
    stack.apply(spot(pool_name=pool))
    job_id = stack.send({"pool": pool, "command": SECOND_TIME_LUCKY, "max_attempts": 2})
    instance_id = stack.in_state(job_id, JobState.RUNNING).instance_id
    assert instance_id is not None
    until(f"the job's process on {instance_id}", lambda: stack.aws.hosts.busy(instance_id))
    return job_id, instance_id


def attempts_after(stack: Stack, job_id: str) -> list[dict[str, Any]]:
    """The attempts of the ended job, after what must hold of every interrupted one: laws 1 and 2."""
    assert stack.ended(job_id).state is JobState.SUCCEEDED
    first, second = stack.shown(job_id)["attempts"]
    assert second["outcome"] == "succeeded"
    assert first["ended_at"] <= second["started_at"], "one lease at a time"
    assert first["instance_id"] != second["instance_id"]
    return [first, second]


def test_a_warned_job_runs_again_on_a_replacement_that_was_launched_before_the_end(stack: Stack) -> None:
    job_id, instance_id = running_job(stack, "warned")
    stack.aws.market.interrupt(instance_id, lead=timedelta(seconds=15))
    first, second = attempts_after(stack, job_id)
    assert first["outcome"] == "interrupted"
    (warned,) = stack.happened("warned", instance_id)[:1]
    (end,) = until(f"{instance_id} to end", lambda: stack.happened("ended", instance_id))
    (replaced,) = stack.happened("launched", second["instance_id"])
    assert warned.at < replaced.at < end.at


TWENTY_SECONDS = timedelta(seconds=20) / PACE


@pytest.mark.parametrize(
    ("pool", "how"),
    [("unwarned", {"notice": False}), ("warned-late", {"notice": True, "lead": TWENTY_SECONDS})],
)
def test_a_job_whose_instance_went_with_little_or_no_notice_runs_again(
    stack: Stack, pool: str, how: dict[str, Any]
) -> None:
    job_id, instance_id = running_job(stack, pool)
    stack.aws.market.interrupt(instance_id, **how)
    attempts_after(stack, job_id)
    assert bool(stack.happened("warned", instance_id)) is how["notice"]


# --- what an attempt's end after a notice means -----------------------------------------------------------------------

NOTICE = timedelta(seconds=20)
"""More than a scaled two minutes: seven workers have to say how their jobs ended before it is over."""
DONE = 'echo done >"$LOWTIDE_DONE_FILE"'
ON_SIGTERM = {
    "0": "exit 0",
    "1": "exit 1",
    "143": "exit 143",
    "0-done": f"{DONE}; exit 0",
    "1-done": f"{DONE}; exit 1",
    "143-done": f"{DONE}; exit 143",
    "deaf": "",
}
"""What each job's first attempt does at SIGTERM: leave with this code, and with or without a word in the done file. An
empty trap is one that ignores the signal."""


def told(reaction: str) -> str:
    """Waits on its first attempt for what it has to react to; the next one ends well."""
    return f"test \"$LOWTIDE_ATTEMPT\" -gt 1 && exit 0; trap '{reaction}' TERM; echo ready; while :; do sleep 0.2; done"


@pytest.fixture(scope="module")
def noticed(stack: Stack) -> Mapping[str, dict[str, Any]]:
    """The ended jobs as `jobs show` has them, all of which ran when their instances got their notice."""
    stack.apply(spot(pool_name="noticed", max_instances=len(ON_SIGTERM)))
    ids = {name: stack.send({"pool": "noticed", "command": told(how)}) for name, how in ON_SIGTERM.items()}
    for job_id in ids.values():
        until(f"{job_id} to be ready", lambda job_id=job_id: "ready" in log_of(stack, job_id, 1))
    for job_id in ids.values():
        instance_id = stack.in_state(job_id, JobState.RUNNING).instance_id
        assert instance_id is not None
        stack.aws.market.interrupt(instance_id, lead=NOTICE)
    for job_id in ids.values():
        stack.ended(job_id)
    return {name: stack.shown(job_id) for name, job_id in ids.items()}


def log_of(stack: Stack, job_id: str, attempt: int) -> list[str]:
    group = stack.outputs[names.OUTPUT_WORKER_LOG_GROUP_NAME]
    logs = JobLogs(stack.aws.world.client("logs"), group, pause=lambda _: None)
    return list(logs.lines("noticed", job_id, attempt))


@pytest.mark.long
@pytest.mark.parametrize("code", [0, 1, 143])
def test_after_a_notice_an_attempt_is_interrupted_whatever_its_exit_code(
    noticed: Mapping[str, dict[str, Any]], code: int
) -> None:
    first, second = noticed[str(code)]["attempts"]
    assert (first["outcome"], first["exit_code"], second["outcome"]) == ("interrupted", code, "succeeded")
    assert (noticed[str(code)]["state"], noticed[str(code)]["interruptions"]) == ("succeeded", 1)


@pytest.mark.long
def test_one_that_says_it_is_done_and_exits_0_has_succeeded(noticed: Mapping[str, dict[str, Any]]) -> None:
    (attempt,) = noticed["0-done"]["attempts"]
    assert (attempt["outcome"], attempt["exit_code"]) == ("succeeded", 0)
    assert (noticed["0-done"]["state"], noticed["0-done"]["interruptions"]) == ("succeeded", 0)


@pytest.mark.long
@pytest.mark.parametrize("code", [1, 143])
def test_one_that_says_it_is_done_and_exits_otherwise_is_not(noticed: Mapping[str, dict[str, Any]], code: int) -> None:
    first, second = noticed[f"{code}-done"]["attempts"]
    assert (first["outcome"], first["exit_code"], second["outcome"]) == ("interrupted", code, "succeeded")


@pytest.mark.long
def test_one_that_ignores_sigterm_is_killed_before_the_announced_end_and_runs_again(
    stack: Stack, noticed: Mapping[str, dict[str, Any]]
) -> None:
    first, second = noticed["deaf"]["attempts"]
    assert (first["outcome"], first["exit_code"], second["outcome"]) == ("interrupted", None, "succeeded")
    (warned, *_) = stack.happened("warned", first["instance_id"])
    (end,) = until("the end", lambda: stack.happened("ended", first["instance_id"]))
    ended_at = from_text(first["ended_at"])
    assert ended_at < end.at, "its worker saw it end, and had time to say so"
    assert ended_at - warned.at > (end.at - warned.at) / 2, "and not before it had had most of its notice"
