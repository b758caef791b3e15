"""The ledger's transactions on every implementation of DynamoDB, racing ones above all."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from lambdas.control.worker_calls import Claim
from lambdas.domain.jobs.jobs import JobState
from tests.ledger.world import World

WORKERS = 24


@pytest.fixture
def world(dynamodb: Any) -> World:
    return World(client=dynamodb, table_name=f"ledger-{uuid.uuid4().hex[:12]}")


def test_a_jobs_whole_life(world: World) -> None:
    message = world.message(id="job", slots=2, timeout="1h", resources=None)
    world.take(message, world.message("not JSON"))
    world.take(message)
    first, second = world.instance(1), world.instance(2)
    world.claim(first)
    world.clock.advance(timedelta(seconds=30))
    world.heartbeat(first, ("job", 1), notice={"kind": "interruption", "at": "2026-01-05T09:02:00Z"})
    world.finish(first, exit_code=143, interrupted=True)
    (lease,) = world.claim(second)["leases"]
    assert world.finish(second, fence=lease["fence"]) == {"state": "succeeded"}
    assert world.finish(second, fence=lease["fence"]) == {"state": "succeeded"}
    job = world.record()
    assert (job.state, job.attempts, job.interruptions) == (JobState.SUCCEEDED, 2, 1)
    assert [attempt.instance_id for attempt in world.ledger.attempts(job)] == [first, second]
    assert [job.job_id for job in world.ledger.jobs("gpu")] == ["job"]
    assert len(list(world.parked.list())) == 1


def test_a_parked_queue_is_empty(world: World) -> None:
    world.job()
    assert world.ledger.park_queued("gpu", "deleted", world.clock()) == 1
    assert world.ledger.queue_head("gpu", 1) == ((), True)


def test_workers_claiming_at_once_get_a_job_each_and_none_twice(world: World) -> None:
    for n in range(WORKERS):
        world.job(f"job-{n}", slots=8)
    workers = [(world.instance(n), world.worker_api(seed=n)) for n in range(1, WORKERS + 1)]

    def claim_until_given(number: int) -> str:
        instance, api = workers[number]
        for turn in range(50):
            asked = Claim(request_id=f"{instance}-{turn}", free_slots=8, free_aux_slots=0, most=1)
            if leases := api.claim(instance, asked)["leases"]:
                return leases[0]["job_id"]
        raise AssertionError(f"worker {number} never got a job")

    with ThreadPoolExecutor(WORKERS) as threads:
        given = list(threads.map(claim_until_given, range(WORKERS)))
    assert sorted(given) == sorted(f"job-{n}" for n in range(WORKERS))


def test_two_results_and_a_take_back_at_once_record_one_end(world: World) -> None:
    instance = world.instance()
    world.job()
    world.claim(instance)

    def end(number: int) -> object:
        if number % 2:
            return world.leases.take_back("job", instance, 1, "silent", world.clock())
        return world.post("/v1/finish", instance, world.result(exit_code=0))[0]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(end, range(8)))
    finished, returned = answers.count(200) > 0, answers.count(True)
    assert (finished, returned) in {(True, 0), (False, 1)}
    assert world.record().state == (JobState.SUCCEEDED if finished else JobState.QUEUED)
    assert len([a for a in world.ledger.attempts(world.record()) if a.ended_at is not None]) == 1
    assert world.stored_instance(instance)["leases"] == 0
