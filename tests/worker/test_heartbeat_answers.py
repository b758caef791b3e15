"""What a heartbeat names, and what its answer means for each of them."""

from typing import Any

import pytest

from lambdas.control import worker_calls
from tests.worker.agents import World
from tests.worker.control import lease
from worker import agent
from worker.leases import Stop


def test_a_worker_claims_no_more_than_its_heartbeat_can_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "LEASES_MOST", 3)
    world = World(slots=100)
    world.queued = [lease("a"), lease("b")]
    world.run(5)
    assert world.bodies("/v1/claim")[-1]["most"] == 1
    world.queued = [lease("c")]
    world.run(5)
    asked = len(world.bodies("/v1/claim"))
    world.run(300)
    assert len(world.bodies("/v1/claim")) == asked
    world.attempts[0].end(0)
    world.run(5)
    assert world.bodies("/v1/claim")[-1]["most"] == 1


def test_the_worker_api_takes_a_heartbeat_of_so_many() -> None:
    named = [{"job_id": f"job-{n}", "fence": 1} for n in range(agent.LEASES_MOST)]
    assert len(worker_calls.heartbeat({"leases": named, "notice": None}).leases) == agent.LEASES_MOST


def test_only_what_is_still_held_is_confirmed() -> None:
    world = World(slots=4)
    kept, lost = world.with_job(job_id="kept"), world.with_job(job_id="lost")
    world.stop = [{"job_id": "lost", "fence": 1, "reason": "lease-lost"}]
    world.run(31)
    assert (bool(kept.confirmed), lost.confirmed) == (True, [])


def test_a_lease_is_confirmed_as_of_the_heartbeats_beginning() -> None:
    """What is deleted because of it has to have been without use when the answer was made, not when it came."""

    class Slow(World):
        began_at = 0.0

        def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
            if path == "/v1/heartbeat":
                self.began_at = self.clock.seconds
                self.clock.seconds += 5.0
            return super().call(path, body)

    world = Slow()
    attempt = world.with_job()
    world.run(31)
    assert attempt.confirmed[-1] == world.began_at


def test_a_reason_to_stop_that_this_worker_does_not_know_stops_the_job() -> None:
    world = World()
    attempt = world.with_job()
    world.stop = [{"job_id": "job-1", "fence": 1, "reason": "of-a-later-version"}]
    world.run(31)
    assert attempt.stops[0][0] is Stop.INTERRUPTED
