"""Spot instances that the market takes back while they run a job: announced, announced late, or not at all."""

from datetime import timedelta
from typing import Any

import pytest

from lambdas.domain.jobs import JobState
from tests.world.conftest import Stack, spot, until

SECOND_TIME_LUCKY = 'test "$LOWTIDE_ATTEMPT" -gt 1 || exec sleep 600'
"""Ends only on an attempt that follows another."""


def running_job(stack: Stack, pool: str) -> tuple[str, str]:
    """A job that works on an instance of this new pool: job id and instance id."""
    stack.apply(spot(pool_name=pool))
    job_id = stack.send({"pool": pool, "command": SECOND_TIME_LUCKY})
    instance_id = stack.in_state(job_id, JobState.RUNNING).instance_id
    assert instance_id is not None
    until(f"the job's process on {instance_id}", lambda: stack.aws.hosts.busy(instance_id))
    return job_id, instance_id


def attempts_after(stack: Stack, job_id: str) -> list[dict[str, Any]]:
    """The attempts of the ended job, after what must hold of every interrupted one: laws 1 and 2."""
    ended = stack.ended(job_id)
    assert (ended.state, ended.interruptions, ended.failures) == (JobState.SUCCEEDED, 1, 0)
    first, second = stack.shown(job_id)["attempts"]
    assert (first["outcome"], second["outcome"]) == ("interrupted", "succeeded")
    assert first["ended_at"] <= second["started_at"], "one lease at a time"
    assert first["instance_id"] != second["instance_id"]
    return [first, second]


def test_a_warned_job_runs_again_on_a_replacement_that_was_launched_before_the_end(stack: Stack) -> None:
    job_id, instance_id = running_job(stack, "warned")
    stack.aws.market.interrupt(instance_id, lead=timedelta(seconds=15))
    _, second = attempts_after(stack, job_id)
    (warned,) = stack.happened("warned", instance_id)[:1]
    (end,) = until(f"{instance_id} to end", lambda: stack.happened("ended", instance_id))
    (replaced,) = stack.happened("launched", second["instance_id"])
    assert warned.at < replaced.at < end.at


@pytest.mark.parametrize(
    ("pool", "how"),
    [("unwarned", {"notice": False}), ("warned-late", {"notice": True, "lead": timedelta(seconds=1)})],
)
def test_a_job_whose_instance_went_with_little_or_no_notice_runs_again(
    stack: Stack, pool: str, how: dict[str, Any]
) -> None:
    job_id, instance_id = running_job(stack, pool)
    stack.aws.market.interrupt(instance_id, **how)
    attempts_after(stack, job_id)
    assert bool(stack.happened("warned", instance_id)) is how["notice"]
    alive = [line for line in stack.instances(pool) if line.instance_id == instance_id and line.ends_at is None]
    assert len(stack.instances(pool)) - len(alive) <= 2
