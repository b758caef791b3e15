"""When the agent powers its instance off, how it begins after another, and how it leaves."""

from tests.worker.agents import World
from tests.worker.control import lease
from worker.api import Refused, Unanswered
from worker.leases import Stop


def test_the_boot_time_power_off_is_cancelled_only_when_the_control_plane_answered(world: World) -> None:
    world.failing = Unanswered("silence")
    world.run(120.0)
    assert world.kept_on == 0
    world.failing = None
    world.run(60.0)
    assert world.kept_on == 1


def test_an_idle_worker_without_an_answer_powers_off_after_its_limit(world: World) -> None:
    world.run(10.0)
    world.failing = Unanswered("silence")
    world.run(1795.0)
    assert world.offs == []
    world.run(10.0)
    assert len(world.offs) == 1


def test_a_worker_that_never_got_an_answer_powers_off_too(world: World) -> None:
    world.failing = Refused(403, "unknown instance")
    world.run(1799.0)
    assert world.offs == []
    world.run(2.0)
    assert len(world.offs) == 1


def test_a_running_worker_without_an_answer_saves_then_powers_off_after_the_longer_limit(world: World) -> None:
    attempt = world.with_job()
    world.failing = Unanswered("silence")
    world.run(21590.0)
    assert attempt.stops == []
    world.run(15.0)
    assert attempt.stops[0][0] is Stop.INTERRUPTED
    assert world.offs == []
    attempt.end(143)
    world.run(1.0)
    assert len(world.offs) == 1


def test_any_answer_starts_the_limits_anew(world: World) -> None:
    world.run(10.0)
    for _ in range(5):
        world.failing = Unanswered("silence")
        world.run(1500.0)
        world.failing = None
        world.run(60.0)
    assert world.offs == []


def test_a_restarted_worker_gives_back_what_it_does_not_run() -> None:
    world = World()
    world.begun = [("begun", 2)]
    world.held = [lease("begun", 2), lease("waiting", 1)]
    world.agent.prepare()
    world.run(5.0)
    assert [(body["job_id"], body["interrupted"]) for body in world.bodies("/v1/finish")] == [("begun", True)]
    assert [body["job_id"] for body in world.bodies("/v1/release")] == ["waiting"]


def test_a_worker_that_is_stopped_interrupts_its_jobs_and_reports_them(world: World) -> None:
    attempt = world.with_job()
    world.agent.leave(20.0)
    assert attempt.stops == [(Stop.INTERRUPTED, 20.0)]
    attempt.end(143)
    before = len(world.bodies("/v1/claim"))
    world.run(5.0)
    assert world.bodies("/v1/finish")[0]["interrupted"] is True
    assert world.agent.idle
    assert len(world.bodies("/v1/claim")) == before
