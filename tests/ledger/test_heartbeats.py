"""What keeps a lease, what loses it, and what a notice does."""

from datetime import timedelta
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters import items, keys
from lambdas.adapters.observations import Observations
from lambdas.domain.fleet.fleet import InstanceState, Lease
from lambdas.domain.instants import to_text
from lambdas.domain.jobs.jobs import JobState
from tests.ledger.world import World

NOTICE = {"kind": "interruption", "at": "2026-01-05T09:02:00Z"}


@pytest.fixture
def instance(world: World) -> str:
    world.job()
    instance = world.instance()
    world.claim(instance)
    world.clean()
    return instance


def lease(world: World, instance: str, job_id: str = "job") -> Lease | None:
    item = world.table.get(keys.pool("gpu"), keys.lease(instance, job_id))
    return None if item is None else items.lease_from(item)


def later(world: World, seconds: float = 30) -> None:
    world.clock.advance(timedelta(seconds=seconds))


def test_a_heartbeat_renews_the_leases_it_names(world: World, instance: str) -> None:
    later(world)
    answer = world.heartbeat(instance, ("job", 1))
    found = lease(world, instance)
    assert answer == {"stop": [], "drain": False, "notice": None, "next_call_seconds": 30.0}
    assert found is not None
    assert (found.renewed_at, found.missed) == (world.clock(), 0)


def test_a_lease_left_out_once_stays(world: World, instance: str) -> None:
    later(world)
    world.heartbeat(instance)
    later(world)
    world.heartbeat(instance, ("job", 1))
    found = lease(world, instance)
    assert found is not None
    assert (found.missed, world.record().state) == (0, JobState.RUNNING)


def test_a_lease_left_out_twice_in_a_row_goes_back(world: World, instance: str) -> None:
    for _ in range(2):
        later(world)
        world.heartbeat(instance)
    assert (lease(world, instance), world.record().state) == (None, JobState.QUEUED)
    assert world.dirty() == "unnamed:job:1"


def test_a_lease_given_while_the_heartbeat_was_on_its_way_does_not_count_as_left_out(
    world: World, instance: str
) -> None:
    later(world, 10)
    world.heartbeat(instance)
    found = lease(world, instance)
    assert found is not None
    assert found.missed == 0


def test_a_heartbeat_says_which_leases_are_lost(world: World, instance: str) -> None:
    world.leases.take_back("job", instance, 1, "silent", world.clock())
    answer = world.heartbeat(instance, ("job", 1), ("never", 4))
    assert answer["stop"] == [
        {"job_id": "job", "fence": 1, "reason": "lease-lost"},
        {"job_id": "never", "fence": 4, "reason": "lease-lost"},
    ]


def test_an_old_fence_neither_renews_nor_survives(world: World, instance: str) -> None:
    world.leases.take_back("job", instance, 1, "silent", world.clock())
    world.claim(instance, "r-2")
    claimed_at = world.clock()
    later(world)
    answer = world.heartbeat(instance, ("job", 1))
    found = lease(world, instance)
    assert found is not None
    assert (found.fence, found.renewed_at, found.missed) == (2, claimed_at, 1)
    assert answer["stop"] == [{"job_id": "job", "fence": 1, "reason": "lease-lost"}]


def test_a_heartbeat_renews_a_hundred_and_fifty_leases(world: World) -> None:
    instance = world.instance(2)
    for n in range(150):
        world.job(f"aux-{n}", slots=0)
    world.table.update(
        *(keys.pool("gpu"), keys.CONFIG, "SET document.max_aux_containers_per_agent = :n"), values={":n": 200}
    )
    given: list[tuple[str, int]] = []
    for turn in range(20):
        body = {"request_id": f"r-{turn}", "free_slots": 0, "free_aux_slots": 200, "most": 200}
        given += [(le["job_id"], le["fence"]) for le in world.call(names.API_CLAIM, instance, body)["leases"]]
    later(world)
    world.heartbeat(instance, *given)
    assert len(given) == 150
    assert all(le.renewed_at == world.clock() for le in world.leases.of("gpu", instance))


def test_an_interruption_notice_drains_the_instance_and_tells_the_pool(world: World, instance: str) -> None:
    answer = world.heartbeat(instance, ("job", 1), notice=NOTICE)
    stored = world.stored_instance(instance)
    assert answer["drain"] is True
    assert (stored["state"], stored["ends_at"], stored["drain_reason"]) == (
        *("draining", "2026-01-05T09:02:00.000000Z"),
        "interruption",
    )
    assert world.dirty() == f"interruption:{instance}:2026-01-05T09:02:00.000000Z"


def test_a_heartbeat_is_told_of_an_end_that_eventbridge_told_of_first(world: World, instance: str) -> None:
    known = Observations(world.table).known(instance)
    assert known is not None
    ends_at = world.clock() + timedelta(minutes=2)
    Observations(world.table).announce_end(known, ends_at, why="EC2 says so", now=world.clock())
    answer = world.heartbeat(instance, ("job", 1))
    assert answer["notice"] == {"kind": "interruption", "at": to_text(ends_at)}


def test_a_notice_ends_no_lease(world: World, instance: str) -> None:
    world.heartbeat(instance, ("job", 1), notice=NOTICE)
    assert (lease(world, instance) is not None, world.record().state) == (True, JobState.RUNNING)


def test_a_rebalance_recommendation_is_noted_and_drains_nothing(world: World, instance: str) -> None:
    answer = world.heartbeat(instance, ("job", 1), notice={**NOTICE, "kind": "rebalance"})
    stored = world.stored_instance(instance)
    assert (answer["drain"], stored["state"], stored["rebalance_at"]) == (
        *(False, "running"),
        "2026-01-05T09:02:00.000000Z",
    )
    assert world.dirty() is not None


def test_a_heartbeat_of_an_instance_that_is_not_in_the_table_is_refused(world: World, instance: str) -> None:
    world.heartbeat(instance, ("job", 1))
    world.table.delete(keys.pool("gpu"), keys.instance(instance))
    status, answer = world.post(names.API_HEARTBEAT, instance, {"leases": [], "notice": None})
    assert (status, answer["error"]) == (403, "unknown-instance")


# --- hello ---


def hello(world: World, instance: str) -> dict[str, Any]:
    body = {"boot_id": "b-1", "worker": "1", "vcpus": 96, "memory_mib": 393_216, "gpus": 8}
    return world.call(names.API_HELLO, instance, body)


def launched(world: World) -> str:

    return world.instance(7, state=InstanceState.LAUNCHING, reported_at=None, idle_since=None)


def test_a_workers_first_call_makes_its_instance_a_running_idle_one(world: World) -> None:
    instance = launched(world)
    later(world, 90)
    answer = hello(world, instance)
    stored = items.instance_from(world.stored_instance(instance))
    assert (stored.state, stored.reported_at, stored.idle_since) == ("running", world.clock(), world.clock())
    assert (answer["pool"], answer["slots"], answer["aux_slots"], answer["leases"]) == ("gpu", 8, 100, [])
    assert world.dirty() == f"hello:{instance}:b-1"


def test_the_settings_of_the_deployment_reach_the_worker(world: World) -> None:
    assert hello(world, launched(world))["settings"] == {
        **{"heartbeat_seconds": 30.0, "notice_poll_seconds": 5.0},
        **{"checkpoint_seconds": 300.0, "reserve_least_seconds": 10.0, "reserve_most_seconds": 30.0},
        **{"idle_power_off_seconds": 1800.0, "running_power_off_seconds": 21_600.0},
    }


def test_a_restarted_worker_learns_what_it_still_holds(world: World, instance: str) -> None:
    (held,) = hello(world, instance)["leases"]
    assert (held["job_id"], held["fence"], held["attempt"]) == ("job", 1, 1)


def test_a_later_call_changes_nothing_of_the_first(world: World) -> None:
    instance = launched(world)
    hello(world, instance)
    before = world.stored_instance(instance)
    later(world)
    hello(world, instance)
    assert world.stored_instance(instance) == before


def test_the_first_call_of_a_draining_instance_does_not_make_it_run(world: World) -> None:

    instance = world.instance(7, state=InstanceState.DRAINING, reported_at=None, idle_since=None)
    hello(world, instance)
    assert world.stored_instance(instance)["state"] == "draining"


def test_a_claim_before_any_hello_makes_the_instance_run_too(world: World) -> None:
    instance = launched(world)
    world.claim(instance)
    assert world.stored_instance(instance)["state"] == "running"
