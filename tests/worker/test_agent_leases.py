"""How the agent keeps leases, stops their jobs when told, and reports how they ended."""

import pytest

from tests.worker.agents import World
from tests.worker.control import lease
from worker.api import LeaseLost, Refused, Unanswered
from worker.leases import NeverStarted, Stop


def test_one_heartbeat_names_every_lease(world: World) -> None:
    world.queued = [lease("a", 1), lease("b", 7)]
    world.run(100.0)
    beats = world.bodies("/v1/heartbeat")
    assert 3 <= len(beats) <= 4
    assert all(beat["leases"] == [{"job_id": "a", "fence": 1}, {"job_id": "b", "fence": 7}] for beat in beats)


def test_a_result_is_reported_and_a_free_slot_is_filled_at_once(world: World) -> None:
    world.next_call_seconds = 60.0
    attempt = world.with_job()
    claims = len(world.bodies("/v1/claim"))
    attempt.end(0)
    world.run(1.0)
    (finish,) = world.bodies("/v1/finish")
    assert (finish["job_id"], finish["fence"], finish["exit_code"], finish["interrupted"]) == ("job-1", 1, 0, False)
    assert len(world.bodies("/v1/claim")) == claims + 1


def test_a_result_that_nobody_answered_is_told_again_and_its_lease_is_named_until_then(world: World) -> None:
    attempt = world.with_job()
    attempt.end(0)
    world.fail_on["/v1/finish"] = Unanswered("503")
    world.run(100.0)
    assert len(world.bodies("/v1/finish")) > 2
    assert world.bodies("/v1/heartbeat")[-1]["leases"] == [{"job_id": "job-1", "fence": 1}]
    world.fail_on.clear()
    world.run(30.0)
    assert world.agent.idle


@pytest.mark.parametrize("failure", [Unanswered("429"), Unanswered("503"), Unanswered("silence"), Refused(403, "")])
def test_a_control_plane_that_fails_stops_no_job(world: World, failure: Exception) -> None:
    attempt = world.with_job()
    world.failing = failure
    world.run(5 * 3600.0)
    assert attempt.stops == []
    assert world.offs == []


@pytest.mark.parametrize(("reason", "why"), [("lease-lost", Stop.LEASE_LOST), ("cancelled", Stop.CANCELLED)])
def test_a_job_is_stopped_when_an_answer_says_so(world: World, reason: str, why: Stop) -> None:
    attempt = world.with_job()
    world.stop = [{"job_id": "job-1", "fence": 1, "reason": reason}]
    world.run(31.0)
    assert attempt.stops[0][0] is why


def test_a_stop_for_another_fence_stops_nothing(world: World) -> None:
    attempt = world.with_job()
    world.stop = [{"job_id": "job-1", "fence": 0, "reason": "lease-lost"}]
    world.run(31.0)
    assert attempt.stops == []


def test_a_job_whose_lease_was_lost_reports_nothing(world: World) -> None:
    attempt = world.with_job()
    world.stop = [{"job_id": "job-1", "fence": 1, "reason": "lease-lost"}]
    world.run(31.0)
    attempt.end(0)
    world.run(5.0)
    assert world.bodies("/v1/finish") == []
    assert world.agent.idle


def test_a_result_that_comes_too_late_is_dropped(world: World) -> None:
    attempt = world.with_job()
    world.fail_on["/v1/finish"] = LeaseLost()
    attempt.end(0)
    world.run(60.0)
    assert len(world.bodies("/v1/finish")) == 1


def test_an_attempt_that_never_started_is_released_and_not_finished(world: World) -> None:
    attempt = world.with_job()
    attempt.outcome = NeverStarted("S3 does not answer")
    world.run(1.0)
    assert world.bodies("/v1/release") == [{"job_id": "job-1", "fence": 1, "reason": "S3 does not answer"}]
    assert world.bodies("/v1/finish") == []
