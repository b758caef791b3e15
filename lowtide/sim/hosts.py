"""Instances of the virtual world: each runs the real worker (worker/agent.py) under the virtual clock.

Its jobs are made up: the command `run SECONDS EXIT_CODE` takes that long and exits so; a notice or a stop ends it at
once, as SIGTERM ends an ordinary program. With `saves` behind it, all that an attempt did is saved as it goes, and the
next one does the rest.
"""

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

from lambdas.domain.settings import Settings
from lowtide.market import catalogue
from lowtide.market.instances import Instance
from lowtide.sim.calls import Killed
from worker.agent import Agent
from worker.api import LeaseLost
from worker.imds import Notice
from worker.leases import Ended, Lease, Outcome, Stop
from worker.ports import Machine, Terms

Call = Callable[[str, str, dict[str, Any]], dict[str, Any]]
"""From an instance id, a path and a body to the worker API's answer; raises as worker.api.Api does."""
SIGTERM = 15


def command(seconds: float, exit_code: int = 0, *, saves: bool = False) -> list[str]:
    """A job's command as hosts here run it."""
    return ["run", str(seconds), str(exit_code), *(["saves"] if saves else [])]


def _unread(event: str, **fields: Any) -> None:
    """The agent's log."""


class Attempt:
    """A job on a host, from its start to its outcome."""

    def __init__(
        self,
        lease: Lease,
        devices: tuple[int, ...],
        now: Callable[[], datetime],
        saved: dict[str, timedelta],
        given_up: Callable[[], object],
    ) -> None:
        """`given_up`: told when the worker ends it without a notice, and without having been told to."""
        self.lease = lease
        self.devices = devices
        self._now = now
        self._given_up = given_up
        self._began_at = now()
        _, seconds, exit_code, *saves = lease.command
        self._saved = saved if saves else None
        self._done_before = saved.get(lease.key.job_id, timedelta()) if saves else timedelta()
        self.ends_at = self._began_at + timedelta(seconds=float(seconds)) - self._done_before
        self._exit_code = int(exit_code)
        self._stopped: tuple[Stop, datetime] | None = None

    @property
    def outcome(self) -> Outcome | None:
        if self._stopped is not None:
            why, at = self._stopped
            told = self.standing()
            return Ended(self._began_at, at, None, SIGTERM, why, done=False, error=None, standing=told)
        if self._now() < self.ends_at:
            return None
        return Ended(self._began_at, self.ends_at, self._exit_code, None, None, done=False, error=None)

    def stop(self, why: Stop, kill_after: float = 0.0) -> None:  # noqa: ARG002 - the job ends at SIGTERM
        if why is Stop.INTERRUPTED:
            self._given_up()
        self._end(why)

    def _end(self, why: Stop) -> None:
        if self.outcome is None:
            self._stopped = (why, self._now())
            if self._saved is not None:
                self._saved[self.lease.key.job_id] = self._done_before + self._ran()

    def _ran(self) -> timedelta:
        return (self._now() if self._stopped is None else self._stopped[1]) - self._began_at

    def standing(self) -> dict[str, str]:
        seconds = f"{self._ran().total_seconds():.3f}"
        return {"ran_seconds": seconds, **({"saved_seconds": seconds} if self._saved is not None else {})}

    def warn(self, notice: Notice, seconds_left: float) -> None:  # noqa: ARG002 - as in `stop`
        if notice.kind == "interruption":
            self._end(Stop.INTERRUPTED)

    def confirm(self, began_at: float) -> None:
        """Its lease is still its own; there is no checkpoint here that waits for it."""

    def forget(self) -> None: ...


class Host:
    """One instance from its first line of user data on; everything the agent is given, in one object."""

    def __init__(
        self,
        instance: Instance,
        *,
        now: Callable[[], datetime],
        call: Call,
        shut_down: Callable[["Host", str], None],
        settings: Settings,
        seed: object,
        saved: dict[str, timedelta],
    ) -> None:
        """`saved`: the work that jobs' checkpoints hold, of all hosts."""
        self.instance_id = instance.instance_id
        self.boots_at = None if instance.boot_fails else instance.launched_at + instance.boot_delay
        """None: its user data never runs."""
        self.attempts: list[Attempt] = []
        self.ahead = timedelta(0)
        """How far its clock is ahead of the time; below zero: behind it."""
        self.hangs = False
        """True: its worker does nothing, and what it runs goes on."""
        self.answered_at: datetime | None = None
        """When the control plane last answered its worker; before that, when its worker began. None: not yet."""
        self.came_back_at: datetime | None = None
        """When its worker last came back from doing nothing. None: it never did."""
        self.gave_up_after: timedelta | None = None
        """How long nobody had answered when its worker ended by itself what it ran. None: it has not."""
        self._lives = 0
        """Workers that died here."""
        self._calling = False
        self._now = now
        self._began = self.boots_at or now()
        self._send = call
        self._saved = saved
        self._shut_down = shut_down
        self._notice_poll = settings.notice_poll
        self._spot: Notice | None = None
        self._advice: Notice | None = None
        self._turn_at = self.boots_at
        self._watch_at: datetime | None = None
        facts = catalogue.facts(instance.offering.instance_type)
        self._machine = Machine(
            boot_id=f"boot-{instance.instance_id}",
            worker="simulated",
            vcpus=facts.vcpus if facts else 1,
            memory_mib=facts.memory_mib if facts else 1,
            gpus=facts.gpus if facts else 0,
        )
        self._power_off_seconds = settings.idle_power_off.total_seconds()
        self._chance = Random(f"{seed}/{instance.instance_id}")  # noqa: S311 - a simulation, no secret
        self._agent = self._started()

    def _started(self) -> Agent:
        agent = Agent(
            api=self,
            notices=self,
            runner=self,
            power=self,
            clock=self,
            machine=self._machine,
            first_power_off_seconds=self._power_off_seconds,
            chance=self._chance,
            log=_unread,
            wake=self._wake,
        )
        agent.prepare()
        return agent

    def restart(self) -> None:
        """The worker dies and its service starts it anew; what it ran is ended by the new one."""
        self._lives += 1
        self.answered_at = self._now()
        self.gave_up_after = None
        self._agent = self._started()
        self.attempts = []
        self._wake()

    def hang(self) -> None:
        """The worker does nothing from now on; what it runs goes on."""
        self.hangs = True

    def come_back(self) -> None:
        """A worker that hung goes on where it was."""
        self.hangs = False
        self.came_back_at = self._now()

    def cut_off(self) -> None:
        """The instance is gone, and its worker with it."""
        self._lives += 1

    @property
    def occupied(self) -> bool:
        """Its worker runs something or has a result to tell."""
        return not self._agent.idle

    @property
    def busy(self) -> bool:
        return any(attempt.outcome is None for attempt in self.attempts)

    def due(self) -> datetime | None:
        """When it next has something to do; None: never, or not before it is answered."""
        if self.hangs or self._calling:
            return None
        ends = [attempt.ends_at for attempt in self.attempts if attempt.outcome is None]
        return min((at for at in (self._turn_at, self._watch_at, *ends) if at is not None), default=None)

    def run(self) -> None:
        """Do what is due now. Who dies, or loses the instance, in the middle of a call never hears its answer."""
        with contextlib.suppress(Killed):
            self._run()

    def _run(self) -> None:
        now = self._now()
        self.answered_at = self.answered_at or now
        if self._watch_at is not None and self._watch_at <= now:
            self._watch_at = None
            self._agent.watch()
        turn_at, ended = self._turn_at, any(attempt.outcome for attempt in self.attempts)
        if turn_at is not None and (turn_at <= now or ended):
            self.attempts = [attempt for attempt in self.attempts if attempt.outcome is None]
            # a millisecond at least: clocks here count microseconds, and waits are floats
            self._turn_at = now + timedelta(seconds=max(self._agent.turn(), 0.001))

    def notice(self, ends_at: datetime) -> None:
        """The metadata service tells of the end from now on; the worker looks within its period."""
        self._spot = Notice("interruption", ends_at)
        self._look_soon()

    def advise(self, at: datetime) -> None:
        self._advice = Notice("rebalance", at)
        self._look_soon()

    def _look_soon(self) -> None:
        now = self._now()
        if self.boots_at is not None:
            self._watch_at = max(now + self._notice_poll, self.boots_at)

    def _wake(self) -> None:
        self._turn_at = self._now()

    # --- what the agent is given --------------------------------------------------------------------------------------

    def now(self) -> datetime:
        return self._now() + self.ahead

    def monotonic(self) -> float:
        """From its worker's beginning on."""
        return max(0.0, (self._now() - self._began).total_seconds())

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        life, self._calling = self._lives, True
        try:
            answer = self._send(self.instance_id, path, body)
            self._heard(life)
        except LeaseLost:
            self._heard(life)
            raise
        finally:
            self._calling = False
            if self._lives != life:
                raise Killed(f"the worker of {self.instance_id}")
        return answer

    def _heard(self, life: int) -> None:
        """An answer came; one to a worker that has died since is nobody's."""
        if self._lives == life:
            self.answered_at = self._now()

    def interruption(self) -> Notice | None:
        return self._spot

    def rebalance(self) -> Notice | None:
        return self._advice

    def start(self, lease: Lease, devices: tuple[int, ...], terms: Terms) -> Attempt:  # noqa: ARG002 - saves take no time
        self.attempts.append(Attempt(lease, devices, self._now, self._saved, self._given_up))
        return self.attempts[-1]

    def _given_up(self) -> None:
        self.gave_up_after = self._now() - self.answered_at if self.answered_at is not None else None

    def clear_leftovers(self) -> list[tuple[str, int]]:
        return [(attempt.lease.key.job_id, attempt.lease.key.fence) for attempt in self.attempts]

    def off(self, why: str) -> None:
        self._shut_down(self, why)

    def keep_on(self) -> None: ...
