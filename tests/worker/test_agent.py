"""The agent's decisions under a virtual clock: no thread, no process, no network."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.worker.control import lease
from worker.agent import Agent
from worker.api import LeaseLost, Refused, Unanswered
from worker.imds import Notice
from worker.leases import Ended, Lease, NeverStarted, Outcome, Stop
from worker.ports import Machine, Terms

START = datetime(2026, 11, 23, 15, tzinfo=UTC)
SETTINGS = {
    "heartbeat_seconds": 30.0,
    "notice_poll_seconds": 5.0,
    "checkpoint_seconds": 300.0,
    "reserve_least_seconds": 10.0,
    "reserve_most_seconds": 30.0,
    "idle_power_off_seconds": 1800.0,
    "running_power_off_seconds": 21600.0,
}


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds - 1000.0)

    def monotonic(self) -> float:
        return self.seconds


class FakeAttempt:
    def __init__(self, given: Lease, devices: tuple[int, ...]) -> None:
        self.lease = given
        self.devices = devices
        self.outcome: Outcome | None = None
        self.stops: list[tuple[Stop, float]] = []
        self.warnings: list[tuple[str, float]] = []
        self.confirmed: list[float] = []
        self.told: dict[str, str] = {}

    def standing(self) -> dict[str, str]:
        return self.told

    def stop(self, why: Stop, kill_after: float = 30.0) -> None:
        self.stops.append((why, kill_after))

    def warn(self, notice: Notice, seconds_left: float) -> None:
        self.warnings.append((notice.kind, seconds_left))
        if notice.kind == "interruption":
            self.stop(Stop.INTERRUPTED, seconds_left)

    def confirm(self, began_at: float) -> None:
        self.confirmed.append(began_at)

    def forget(self) -> None:
        pass

    def end(self, exit_code: int | None = 0, *, done: bool = False) -> None:
        stopped = self.stops[0][0] if self.stops else None
        self.outcome = Ended(START, START, exit_code, None, stopped, done, None)


class World:
    """Everything that the agent is given, and what it did with it."""

    def __init__(self, *, slots: int = 2, gpus: int = 0) -> None:
        self.clock = FakeClock()
        self.slots = slots
        self.queued: list[dict[str, Any]] = []
        self.held: list[dict[str, Any]] = []
        self.stop: list[dict[str, Any]] = []
        self.failing: Exception | None = None
        self.fail_on: dict[str, Exception] = {}
        self.drain = self.power_off = False
        self.next_call_seconds = 2.0
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.attempts: list[FakeAttempt] = []
        self.begun: list[tuple[str, int]] = []
        self.spot: Notice | None = None
        self.advice: Notice | None = None
        self.offs: list[str] = []
        self.kept_on = 0
        self.on_claim: Callable[[], None] = lambda: None
        self.agent = Agent(
            api=self,
            notices=self,
            runner=self,
            power=self,
            clock=self.clock,
            machine=Machine("boot", "worker", 4, 16384, gpus),
            first_power_off_seconds=1800.0,
            chance=random.Random(7),
            log=lambda event, **fields: None,
        )

    # what the agent calls
    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((path, body))
        failure = self.fail_on.get(path) or self.failing
        if failure is not None:
            raise failure
        if path == "/v1/hello":
            return {"pool": "cpu", "slots": self.slots, "aux_slots": 3, "settings": SETTINGS, "leases": self.held}
        if path == "/v1/heartbeat":
            return {"stop": self.stop, "drain": self.drain, "next_call_seconds": 30.0}
        if path == "/v1/claim":
            given, self.queued = self.queued, []
            self.on_claim()
            answer = {"next_call_seconds": self.next_call_seconds, "drain": self.drain, "power_off": self.power_off}
            return {"leases": given, **answer}
        return {"state": "queued"}

    def start(self, given: Lease, devices: tuple[int, ...], terms: Terms) -> FakeAttempt:
        self.attempts.append(FakeAttempt(given, devices))
        return self.attempts[-1]

    def clear_leftovers(self) -> list[tuple[str, int]]:
        return self.begun

    def interruption(self) -> Notice | None:
        return self.spot

    def rebalance(self) -> Notice | None:
        return self.advice

    def off(self, why: str) -> None:
        self.offs.append(why)

    def keep_on(self) -> None:
        self.kept_on += 1

    # what a test does
    def run(self, seconds: float) -> "World":
        """Turns and looks for notices as often as asked, for so many virtual seconds."""
        end, watch_at = self.clock.seconds + seconds, self.clock.seconds
        turns = 0
        while True:
            turns += 1
            assert turns < 20000, "the agent turns without end"
            if self.clock.seconds >= watch_at:
                watch_at = self.clock.seconds + self.agent.watch()
            pause = self.agent.turn()
            following = min(self.clock.seconds + pause, watch_at)
            if following > end:
                self.clock.seconds = end
                return self
            self.clock.seconds = max(following, self.clock.seconds + 0.001)

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [body for called, body in self.calls if called == path]

    def with_job(self, **changes: Any) -> FakeAttempt:
        """The attempt of a job that the agent has claimed."""
        self.queued.append(lease(**changes))
        self.run(5.0)
        return self.attempts[-1]


@pytest.fixture
def world() -> World:
    return World()


def test_the_boot_time_power_off_is_cancelled_only_when_the_control_plane_answered(world: World) -> None:
    world.failing = Unanswered("silence")
    world.run(120.0)
    assert world.kept_on == 0
    world.failing = None
    world.run(60.0)
    assert world.kept_on == 1


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


def asked(vcpus: str, memory_mib: int = 1024, gpus: int = 0) -> dict[str, Any]:
    """A lease's part of a job of resources that takes half of two slots and more."""
    return {"slots": 2, "gpus": gpus, "resources": {"vcpus": vcpus, "memory_mib": memory_mib, "gpus": gpus}}


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


def test_an_attempt_that_never_started_is_released_and_not_finished(world: World) -> None:
    attempt = world.with_job()
    attempt.outcome = NeverStarted("S3 does not answer")
    world.run(1.0)
    assert world.bodies("/v1/release") == [{"job_id": "job-1", "fence": 1, "reason": "S3 does not answer"}]
    assert world.bodies("/v1/finish") == []


def test_after_a_lease_that_never_started_the_next_claim_waits(world: World) -> None:
    attempt = world.with_job(slots=2)
    attempt.outcome = NeverStarted("the container engine failed")
    before = len(world.bodies("/v1/claim"))
    world.run(8.0)
    assert len(world.bodies("/v1/claim")) == before
    world.run(3.0)
    assert len(world.bodies("/v1/claim")) > before


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


def test_a_lease_that_cannot_be_read_is_given_back(world: World) -> None:
    world.queued = [lease(inputs=[{"s3": "https://elsewhere/x", "path": "."}])]
    world.run(5.0)
    assert world.attempts == []
    assert "cannot read the lease" in world.bodies("/v1/release")[0]["reason"]


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
