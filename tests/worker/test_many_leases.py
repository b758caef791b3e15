"""A worker takes no more leases than one heartbeat may name: one that is refused loses them all."""

import pytest

from lambdas.control import worker_calls
from tests.worker.control import lease
from tests.worker.test_agent import World
from worker import agent


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
