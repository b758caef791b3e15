"""What a worker keeps doing although it is refused, or nobody does what it asked for."""

from tests.worker.agents import World
from worker.api import Refused, Unanswered


def test_a_result_that_is_refused_for_its_caller_is_kept_and_told_again() -> None:
    """403 may be about the signature alone, an instance's clock or a role that was just changed: hours of work hang on
    it. Its lease is named until it is known to be lost."""
    world = World()
    attempt = world.with_job()
    world.fail_on["/v1/finish"] = Refused(403, "{}")
    attempt.end(0)
    world.run(100)
    assert world.bodies("/v1/heartbeat")[-1]["leases"] == [{"job_id": "job-1", "fence": 1}]
    tried = len(world.bodies("/v1/finish"))
    world.fail_on.clear()
    world.run(60)
    assert len(world.bodies("/v1/finish")) == tried + 1
    assert world.agent.idle


def test_a_result_that_is_malformed_is_told_once() -> None:
    world = World()
    attempt = world.with_job()
    world.fail_on["/v1/finish"] = Refused(400, "{}")
    attempt.end(0)
    world.run(100)
    assert (len(world.bodies("/v1/finish")), world.agent.idle) == (1, True)


def test_an_instance_that_does_not_power_off_is_told_to_again() -> None:
    world = World()
    world.failing = Unanswered("silence")
    world.run(1800 + 130)
    assert len(world.offs) == 3
