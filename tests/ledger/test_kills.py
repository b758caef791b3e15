"""Killed between any two calls, before or after the call's effect, and delivered or asked again: nothing is lost, and
nothing happens twice. Which calls there are is recorded, never listed by hand."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters import keys
from lambdas.domain.jobs.jobs import JobState
from lowtide.sim.calls import KillAt, Killed, Recorder
from tests.ledger.world import World

Act = Callable[[World], Any]
NOTICE = {"kind": "interruption", "at": "2026-01-05T09:02:00Z"}
INSTANCE = f"i-{1:017x}"


def prepared_batch(world: World) -> Act:
    batch = [
        world.message(id="job"),
        world.message("not JSON"),
        world.message(id="job", slots=2),
        world.message(id="other"),
        world.message("x" * 300_000),
    ]
    return lambda world: world.take(*batch).failed


def prepared_new_batch(world: World) -> Act:
    batch = [world.message(id=job_id) for job_id in ("job", "other")]
    return lambda world: world.take(*batch).failed


def prepared_claim(world: World) -> Act:
    """A claim that died half-way gives what it had got when it is repeated; the next claim gives the rest."""
    for job_id in ("job", "other"):
        world.job(job_id)
    world.instance()

    def act(world: World) -> list[str]:
        answers = [world.claim(INSTANCE, request_id, most=2) for request_id in ("r-1", "r-2")]
        return sorted(lease["job_id"] for answer in answers for lease in answer["leases"])

    return act


def prepared_hello(world: World) -> Act:
    prepared_claim(world)(world)
    body = {"boot_id": "b", "worker": "1", "vcpus": 1, "memory_mib": 1, "gpus": 0}
    return lambda world: world.call(names.API_HELLO, INSTANCE, body)


def prepared_heartbeat(world: World) -> Act:
    prepared_claim(world)(world)
    world.clock.advance(timedelta(seconds=30))
    world.heartbeat(INSTANCE, ("job", 1))
    world.clock.advance(timedelta(seconds=30))
    return lambda world: world.heartbeat(INSTANCE, ("job", 1), notice=NOTICE)


def prepared_finish(world: World) -> Act:
    prepared_claim(world)(world)
    return lambda world: world.finish(INSTANCE, "job", 1, exit_code=0)


def prepared_interruption(world: World) -> Act:
    prepared_claim(world)(world)
    return lambda world: world.finish(INSTANCE, "job", 1, exit_code=1, interrupted=True)


def prepared_release(world: World) -> Act:
    prepared_claim(world)(world)
    body = {"job_id": "job", "fence": 1, "reason": "restarted"}
    return lambda world: world.call(names.API_RELEASE, INSTANCE, body)


def prepared_return(world: World) -> Act:
    prepared_claim(world)(world)
    return lambda world: world.leases.take_back("job", INSTANCE, 1, "gone", world.clock()) or True


def prepared_parking(world: World) -> Act:
    for job_id in ("job", "other"):
        world.job(job_id)
    return lambda world: world.ledger.park_queued("gpu", "deleted", world.clock()) >= 0


SCENARIOS: dict[str, Callable[[World], Act]] = {
    "intake batch": prepared_batch,
    "intake of new jobs": prepared_new_batch,
    "claim": prepared_claim,
    "hello": prepared_hello,
    "heartbeat": prepared_heartbeat,
    "finish": prepared_finish,
    "interruption": prepared_interruption,
    "release": prepared_release,
    "return": prepared_return,
    "parking": prepared_parking,
}


def calls_of(scenario: str) -> int:
    world = World()
    act = SCENARIOS[scenario](world)
    recorder = Recorder()
    world.dynamodb.hook = world.sqs.hook = recorder
    act(world)
    return len(recorder.calls)


def points() -> list[Any]:
    return [
        pytest.param(scenario, call, after, id=f"{scenario}, {'after' if after else 'before'} call {call}")
        for scenario in SCENARIOS
        for call in range(1, calls_of(scenario) + 1)
        for after in (False, True)
    ]


@pytest.mark.parametrize(("scenario", "call", "after"), points())
def test_a_kill_and_a_repeat_end_where_an_undisturbed_run_ends(scenario: str, call: int, after: bool) -> None:
    undisturbed, disturbed = World(), World()
    expected = SCENARIOS[scenario](undisturbed)(undisturbed)
    act = SCENARIOS[scenario](disturbed)
    disturbed.dynamodb.hook = disturbed.sqs.hook = KillAt(call=call, after_effect=after)
    with pytest.raises(Killed):
        act(disturbed)
    disturbed.dynamodb.hook = disturbed.sqs.hook = None
    disturbed.restart()
    answer = act(disturbed)

    assert answer == expected
    assert essence(disturbed) == essence(undisturbed)
    assert all(disturbed.dirty(rung["pool"]) for rung in undisturbed.rung())
    check_laws(disturbed)


PASSING = {(keys.pool("gpu"), keys.STATE), (keys.STACK, keys.API)}
"""Items that only say how the control loop was told, and that the API lives."""


def essence(world: World) -> list[dict[str, Any]]:
    """Every lasting item, without which request or copy it was."""
    stored = world.dynamodb.everything("lowtide")
    lasting = [item for item in stored if (item["pk"]["S"], item["sk"]["S"]) not in PASSING]
    return [{name: value for name, value in item.items() if name not in ("copy_id", "request_id")} for item in lasting]


def check_laws(world: World) -> None:
    """Every job waits exactly once, or runs under exactly one lease, or has ended; counters agree with leases."""
    stored = world.dynamodb.everything("lowtide")
    waiting = [item["job_id"]["S"] for item in stored if item["pk"]["S"].startswith("QUEUE#")]
    leased = [item["job_id"]["S"] for item in stored if item["sk"]["S"].startswith(keys.LEASE_PREFIX)]
    jobs = {item["job_id"]["S"]: item["state"]["S"] for item in stored if item["sk"]["S"] == keys.JOB}
    assert sorted(waiting) == sorted(job for job, state in jobs.items() if state == JobState.QUEUED)
    assert sorted(leased) == sorted(job for job, state in jobs.items() if state == JobState.RUNNING)
    for item in stored:
        if item["sk"]["S"].startswith(keys.INSTANCE_PREFIX):
            assert int(item["leases"]["N"]) == len(leased)
    parked = [item for item in stored if item["pk"]["S"] == keys.PARKED and "copy_id" in item]
    assert len(world.sqs.bodies(world.parked_url)) >= len(parked)


def test_the_enumeration_covers_every_flow() -> None:
    assert len(points()) > 60
