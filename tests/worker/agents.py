"""An agent under a virtual clock, with everything that it is given: no thread, no process, no network."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.worker.control import lease
from worker.agent import Agent
from worker.imds import Notice
from worker.leases import Ended, Lease, Outcome, Stop
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


def asked(vcpus: str, memory_mib: int = 1024, gpus: int = 0) -> dict[str, Any]:
    """A lease's part of a job of resources that takes half of two slots and more."""
    return {"slots": 2, "gpus": gpus, "resources": {"vcpus": vcpus, "memory_mib": memory_mib, "gpus": gpus}}
