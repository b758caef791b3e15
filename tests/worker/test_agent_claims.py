"""What the agent claims, when, and what it starts of what it gets."""

import pytest

from tests.worker.agents import World, asked
from tests.worker.control import lease
from worker.api import Unanswered
from worker.leases import Lease, NeverStarted


def no_thread(*_: object) -> None:
    raise RuntimeError("can't start new thread")


def test_an_idle_worker_asks_as_often_as_it_is_told_and_not_in_step(world: World) -> None:
    world.next_call_seconds = 10.0
    world.run(1000.0)
    assert 100 <= len(world.bodies("/v1/claim")) <= 112
    assert world.bodies("/v1/heartbeat") == []


def test_a_claim_keeps_its_request_id_until_it_is_answered(world: World) -> None:
    world.run(1.0)
    world.fail_on["/v1/claim"] = Unanswered("the answer was lost")
    world.run(60.0)
    world.fail_on.clear()
    world.run(30.0)
    ids = [body["request_id"] for body in world.bodies("/v1/claim")]
    assert ids[0] not in ids[1:]
    repeated = [one for one in ids if ids.count(one) > 1]
    assert len(set(repeated)) == 1
    assert len(set(ids)) == len(ids) - len(repeated) + 1


def test_a_lease_that_is_given_twice_is_started_once(world: World) -> None:
    world.queued = [lease(), lease()]
    world.run(5.0)
    assert len(world.attempts) == 1


def test_claims_tell_the_slots_that_are_left(world: World) -> None:
    world.queued = [lease("a"), lease("aux", slots=0)]
    world.run(5.0)
    last = world.bodies("/v1/claim")[-1]
    assert (last["free_slots"], last["free_aux_slots"], last["most"]) == (1, 2, 10)
    assert last["running"] == {"slots": 1, "vcpus": "0", "memory_mib": 0, "gpus": 0, "aux_slots": 1}


def test_claims_tell_the_resources_that_run(world: World) -> None:
    world.queued = [lease("a", **asked("1.5", 2048)), lease("b", **asked("2.25", 512)), lease("c", slots=0)]
    world.run(5.0)
    last = world.bodies("/v1/claim")[-1]
    assert last["running"] == {"slots": 0, "vcpus": "3.75", "memory_mib": 2560, "gpus": 0, "aux_slots": 1}
    assert last["free_slots"] == 0


def test_a_claim_tells_of_a_job_whose_lease_is_over_until_it_has_ended(world: World) -> None:
    attempt = world.with_job(**asked("1.5"))
    world.stop = [{"job_id": "job-1", "fence": 1, "reason": "lease-lost"}]
    world.run(60.0)
    assert world.bodies("/v1/claim")[-1]["running"]["vcpus"] == "1.5"
    attempt.end(0)
    world.run(60.0)
    assert world.bodies("/v1/claim")[-1]["running"]["vcpus"] == "0"


def test_a_worker_without_a_free_vcpu_does_not_claim() -> None:
    world = World(slots=2)
    world.queued = [
        lease("a", **asked("2.5")),
        lease("b", **asked("1.5")),
        *(lease(f"x-{n}", slots=0) for n in range(3)),
    ]
    world.run(1.0)
    before = len(world.bodies("/v1/claim"))
    world.run(600.0)
    assert len(world.bodies("/v1/claim")) == before


def test_a_worker_without_free_slots_does_not_claim() -> None:
    world = World(slots=2)
    world.queued = [lease("a", slots=2), *(lease(f"aux-{n}", slots=0) for n in range(3))]
    world.run(1.0)
    before = len(world.bodies("/v1/claim"))
    world.run(600.0)
    assert len(world.bodies("/v1/claim")) == before


def test_each_job_gets_gpus_of_its_own() -> None:
    world = World(slots=4, gpus=4)
    world.queued = [lease("a", slots=1), lease("b", slots=2), lease("c", slots=0)]
    world.run(5.0)
    assert [attempt.devices for attempt in world.attempts] == [(0,), (1, 2), ()]


def test_a_job_of_resources_gets_the_gpus_that_it_names_and_no_other_jobs() -> None:
    world = World(slots=4, gpus=4)
    world.queued = [lease("a", **asked("2", gpus=1)), lease("b", **asked("0.5")), lease("c", **asked("0.5", gpus=2))]
    world.run(5.0)
    assert [attempt.devices for attempt in world.attempts] == [(0,), (), (1, 2)]
    world.attempts[0].end(0)
    world.queued = [lease("d", **asked("1", gpus=2))]
    world.run(5.0)
    assert world.attempts[-1].devices == (0, 3)


def test_a_control_plane_that_tells_no_gpus_means_one_a_slot() -> None:
    given = lease("a", slots=2)
    del given["gpus"]
    del given["resources"]
    parsed = Lease.parse(given)
    assert (parsed.gpus, parsed.resources) == (2, None)


def test_after_a_lease_that_never_started_the_next_claim_waits(world: World) -> None:
    attempt = world.with_job(slots=2)
    attempt.outcome = NeverStarted("the container engine failed")
    before = len(world.bodies("/v1/claim"))
    world.run(8.0)
    assert len(world.bodies("/v1/claim")) == before
    world.run(3.0)
    assert len(world.bodies("/v1/claim")) > before


def test_a_lease_that_cannot_be_read_is_given_back(world: World) -> None:
    world.queued = [lease(inputs=[{"s3": "https://elsewhere/x", "path": "."}])]
    world.run(5.0)
    assert world.attempts == []
    assert "cannot read the lease" in world.bodies("/v1/release")[0]["reason"]


def test_a_result_is_told_though_what_the_attempt_leaves_cannot_be_removed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = world.with_job()
    monkeypatch.setattr(attempt, "forget", no_thread)
    attempt.end(3)
    with pytest.raises(RuntimeError):
        world.run(60.0)
    world.run(60.0)
    assert [body["exit_code"] for body in world.bodies("/v1/finish")] == [3]


def test_leases_that_the_instance_has_no_thread_for_are_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "start", no_thread)
    world.queued = [lease("a"), lease("b")]
    world.run(5.0)
    assert [body["job_id"] for body in world.bodies("/v1/release")] == ["a", "b"]
