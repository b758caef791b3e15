"""What the agent makes of notices and of draining."""

from datetime import timedelta

from tests.worker.agents import World
from tests.worker.control import lease
from worker.api import Unanswered
from worker.imds import Notice
from worker.leases import Stop


def test_a_notice_stops_every_job_at_once_and_tells_of_it_before_the_next_period(world: World) -> None:
    attempt = world.with_job()
    world.spot = Notice("interruption", world.clock.now() + timedelta(seconds=120))
    world.run(5.0)
    (stop,) = attempt.stops
    assert stop[0] is Stop.INTERRUPTED
    assert 115.0 <= stop[1] <= 120.0
    assert world.bodies("/v1/heartbeat")[-1]["notice"] == {"kind": "interruption", "at": "2026-11-23T15:02:05.000000Z"}


def test_a_notice_is_told_until_it_is_answered_and_then_no_more(world: World) -> None:
    attempt = world.with_job()
    world.fail_on["/v1/heartbeat"] = Unanswered("503")
    world.spot = Notice("interruption", world.clock.now() + timedelta(seconds=120))
    world.run(30.0)
    world.fail_on.clear()
    world.run(80.0)
    told = [beat["notice"] is not None for beat in world.bodies("/v1/heartbeat")]
    assert sum(told) > 2
    assert told[-1] is False
    assert len(attempt.stops) == 1


def test_an_interrupted_instance_claims_no_more(world: World) -> None:
    world.run(5.0)
    world.spot = Notice("interruption", world.clock.now() + timedelta(seconds=120))
    world.run(6.0)
    before = len(world.bodies("/v1/claim"))
    world.run(100.0)
    assert len(world.bodies("/v1/claim")) == before


def test_a_lease_claimed_while_the_notice_came_is_given_back_unstarted(world: World) -> None:
    def notice_comes() -> None:
        world.spot = Notice("interruption", world.clock.now() + timedelta(seconds=120))
        world.agent.watch()

    world.run(1.0)
    world.queued = [lease()]
    world.on_claim = notice_comes
    world.run(10.0)
    assert world.attempts == []
    assert [body["job_id"] for body in world.bodies("/v1/release")] == ["job-1"]


def test_an_interrupted_attempt_is_reported_as_such_whatever_its_exit_code(world: World) -> None:
    attempt = world.with_job()
    world.spot = Notice("interruption", world.clock.now() + timedelta(seconds=120))
    world.run(6.0)
    attempt.end(0, done=True)
    world.run(1.0)
    (finish,) = world.bodies("/v1/finish")
    assert (finish["interrupted"], finish["exit_code"], finish["done"]) == (True, 0, True)


def test_a_rebalance_recommendation_is_told_and_stops_nothing(world: World) -> None:
    attempt = world.with_job()
    world.advice = Notice("rebalance", world.clock.now())
    world.run(6.0)
    assert attempt.stops == []
    assert world.bodies("/v1/heartbeat")[-1]["notice"]["kind"] == "rebalance"


def test_an_interruption_after_a_recommendation_is_heeded(world: World) -> None:
    attempt = world.with_job()
    world.advice = Notice("rebalance", world.clock.now())
    world.run(6.0)
    world.spot = Notice("interruption", world.clock.now() + timedelta(seconds=120))
    world.run(6.0)
    assert attempt.stops[0][0] is Stop.INTERRUPTED


def test_a_draining_instance_lets_its_jobs_finish_and_then_powers_off_when_told(world: World) -> None:
    attempt = world.with_job()
    world.drain = world.power_off = True
    world.run(600.0)
    assert attempt.stops == []
    assert world.offs == []
    attempt.end(0)
    world.run(5.0)
    assert world.bodies("/v1/finish")[0]["interrupted"] is False
    assert len(world.offs) == 1
