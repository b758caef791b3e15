"""What is no job is parked and delays nothing; a wrong pool file changes nothing; what comes twice counts once."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from lambdas import names
from lambdas.adapters.queues import Doorbell
from lambdas.domain.jobs.jobs import JobState
from tests.world.conftest import Stack, scarce, steady, until

LARGE = json.dumps({"pool": "steady", "command": ["true"], "env": {"FILLER": "x" * 300 * 1024}})


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ("this is not JSON", None, "JSON"),
        ({"pool": "nowhere", "command": "true"}, "pool", "nowhere"),
        ({"pool": "steady", "command": "true", "colour": "red"}, "colour", "colour"),
        ({"pool": "steady", "command": "true", "slots": -3}, "slots", "-3"),
        ({"pool": "steady", "command": "true", "slots": 64}, "slots", "multi-instance jobs are not supported"),
        (LARGE, None, "262,144"),
    ],
    ids=["not-json", "unknown-pool", "unknown-field", "negative-slots", "more-slots-than-an-instance", "300-kib"],
)
def test_a_message_that_is_no_job_is_parked_with_its_reason(
    stack: Stack, body: str | dict[str, Any], field: str | None, said: str
) -> None:
    neighbour = stack.send({"pool": "scarce", "command": "true", "id": f"beside-{uuid4().hex[:8]}"})
    message_id = stack.send(body)
    record = stack.parked_as(f"message {message_id} to be parked", lambda found: message_id in found.parked_id)
    assert (record.field, said in record.reason) == (field, True), record.reason
    assert stack.job(message_id) is None
    until(
        "its copy in the parked queue",
        lambda: next(p.copy_id for p in stack.parked() if p.parked_id == record.parked_id),
    )
    assert neighbour


def test_the_same_id_again_is_one_job_and_with_other_content_is_parked(stack: Stack) -> None:
    job_id = f"twice-{uuid4().hex[:8]}"
    stack.send({"pool": "steady", "command": "true", "id": job_id})
    stack.send({"pool": "steady", "command": "true", "id": job_id})
    stack.send({"pool": "steady", "command": "false", "id": job_id})
    record = stack.parked_as(f"the other {job_id} to be parked", lambda found: found.job_id == job_id)
    assert "id" in record.reason
    ended = stack.ended(job_id)
    assert (ended.state, ended.attempts) == (JobState.SUCCEEDED, 1)
    assert sum(found.job_id == job_id for found in stack.parked()) == 1


def test_a_file_with_two_pools_of_one_name_changes_nothing(stack: Stack) -> None:
    before = stack.lowtide("pools", "list", "--json").stdout
    file = stack.pool_file(steady(max_instances=9), steady(max_instances=8))
    refused = stack.lowtide("pools", "apply", file, "--yes")
    assert refused.returncode == 1
    assert "steady" in refused.stderr
    assert "nothing was changed" in refused.stderr
    assert stack.lowtide("pools", "list", "--json").stdout == before


def test_a_file_with_one_wrong_pool_changes_none_of_them(stack: Stack) -> None:
    before = stack.lowtide("pools", "list", "--json").stdout
    file = stack.pool_file(steady(max_instances=9), scarce(max_instances=-1))
    refused = stack.lowtide("pools", "apply", file, "--yes")
    assert refused.returncode == 1
    assert "resource_pools[1].provider.max_instances" in refused.stderr
    assert stack.lowtide("pools", "list", "--json").stdout == before


def test_a_batch_that_is_delivered_twice_at_once_is_taken_once(stack: Stack) -> None:
    job_ids = [f"batch-{uuid4().hex[:8]}" for _ in range(3)]
    bodies = [{"pool": "scarce", "command": "true", "id": job_id} for job_id in job_ids]
    event = {"Records": [_record(str(uuid4()), json.dumps(body)) for body in [*bodies, {"pool": "nowhere"}]]}
    before = len(stack.parked())
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: stack.invoke("ControlIntake", event), range(2)))
    assert answers == [{"batchItemFailures": []}] * 2
    for job_id in job_ids:
        job = stack.job(job_id)
        assert job is not None
        assert (job.state, job.attempts) == (JobState.QUEUED, 0)
    assert len(stack.parked()) == before + 1


def _record(message_id: str, body: str) -> dict[str, Any]:
    sent = str(int(datetime.now(UTC).timestamp() * 1000))
    return {"messageId": message_id, "body": body, "attributes": {"SentTimestamp": sent}, "eventSource": "aws:sqs"}


def test_passes_of_one_pool_at_once_launch_no_more_than_its_maximum(stack: Stack) -> None:
    stack.apply(steady(pool_name="raced", min_instances=0, max_instances=1, max_idle_agent_period="1s"))
    job_ids = [stack.send({"pool": "raced", "command": ["sleep", "1"]}) for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: _pass(stack, "raced", f"race-{n}"), range(6)))
    assert {stack.ended(job_id).state for job_id in job_ids} == {JobState.SUCCEEDED}
    until("the pool to be empty", lambda: stack.instances("raced"), lambda left: not left)
    lives = _lives(stack, "raced")
    assert _most_at_once(lives) == 1, lives


def _pass(stack: Stack, pool: str, cause: str) -> None:
    record = {"messageId": str(uuid4()), "body": json.dumps({"pool": pool, "cause": cause}), "attributes": {}}
    assert stack.invoke("ControlReconcile", {"Records": [record]}) == {"batchItemFailures": []}


def _lives(stack: Stack, pool: str) -> list[tuple[datetime, datetime]]:
    """From launch to end of each instance that EC2 ever tagged with the pool."""
    tags = [{"Name": f"tag:{names.TAG_POOL}", "Values": [pool]}]
    reservations = stack.aws.world.client("ec2").describe_instances(Filters=tags)["Reservations"]
    ids = [instance["InstanceId"] for reservation in reservations for instance in reservation["Instances"]]
    return [(stack.happened("launched", i)[0].at, stack.happened("ended", i)[0].at) for i in ids]


def _most_at_once(lives: list[tuple[datetime, datetime]]) -> int:
    return max(sum(begin <= moment < end for begin, end in lives) for moment, _ in lives)


def test_the_jobs_that_wait_for_a_pool_that_is_deleted_are_parked(stack: Stack) -> None:
    stack.apply(scarce(pool_name="doomed"))
    job_ids = [stack.send({"pool": "doomed", "command": "true"}) for _ in range(3)]
    for job_id in job_ids:
        stack.in_state(job_id, JobState.QUEUED)
    pools, now = stack.pools(), datetime.now(UTC)
    doomed = pools.pool("doomed")
    assert doomed is not None
    pools.put_pool(replace(doomed, deleted=True), doomed.version, now=now)
    queue = stack.function("ControlIntake")["Environment"]["Variables"][names.ENV_RECONCILE_QUEUE]
    Doorbell(stack.table, stack.aws.world.client("sqs"), queue, lambda: now).ring("doomed", "deleted")
    for job_id in job_ids:
        assert stack.in_state(job_id, JobState.PARKED).reason
    until("the pool to be gone", lambda: pools.pool("doomed"), lambda pool: pool is None)
