"""The worker's mind: claims leases, keeps them, reports how their jobs ended, heeds notices (docs/worker-api.md).

Two loops drive it, each by one method that does what is due and returns the seconds until it wants to be called again:
`turn` talks to the control plane, `watch` looks for a notice. Both may block in a call, so each has its own thread;
time, processes, metadata and power come in from outside, so that a simulation can drive both in virtual time.

A job is stopped for: a `stop` in an answer, a notice, its timeout (job.py), the power-off timers, the worker's own end.
Never because a call got 429, 5xx or silence.
"""

from __future__ import annotations

import random
import threading
import uuid
from datetime import datetime
from fractions import Fraction
from typing import Any, Callable

from worker.api import LeaseLost, Refused, Unanswered
from worker.imds import Notice, instant
from worker.job import STOP_GRACE_SECONDS
from worker.leases import Ended, Key, Lease, NeverStarted, Outcome, Stop, Used, used_by
from worker.log import Log
from worker.pace import Due, Reserve
from worker.ports import Calls, Clock, Machine, Notices, Running, Starts, Switch, Terms
from worker.power import Silence

CLAIM_AT_MOST = 10
"""Leases in one answer: a large instance fills up in a few calls instead of one very large transaction."""
LEASES_MOST = 1000
"""On one instance: what one heartbeat may name (docs/worker-api.md). Beyond that every heartbeat would be refused, and
every lease lost."""
GIVEN_BACK_SECONDS = 10.0
"""From a lease that never started here to the next claim: whatever kept it from starting may pass, and it may well be
the same job that is given again."""

UNGREETED = Terms(
    slots=0, aux_slots=0, heartbeat=30.0, notice_poll=5.0, checkpoint=300.0, reserve=Reserve(least=10.0, most=30.0)
)


class Agent:
    """One instance's worker. `wake` is called when both loops should look again now, whatever they asked for before."""

    def __init__(
        self,
        *,
        api: Calls,
        notices: Notices,
        runner: Starts,
        power: Switch,
        clock: Clock,
        machine: Machine,
        first_power_off_seconds: float,
        chance: random.Random,
        log: Log,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """`first_power_off_seconds`: law 11's limit until hello has told the deployment's own."""
        self._api = api
        self._notices = notices
        self._runner = runner
        self._power = power
        self._clock = clock
        self._machine = machine
        self._chance = chance
        self._log = log
        self._wake = wake
        self._silence = Silence(first_power_off_seconds, first_power_off_seconds, clock.monotonic())
        self._terms = UNGREETED
        self._greeted = False
        self._lock = threading.RLock()
        """Guards the five below, which `watch` changes or reads as well; never held during a call."""
        self._attempts: dict[Key, Running] = {}
        self._owed: dict[Key, Outcome] = {}
        """Outcomes that no answer has acknowledged yet."""
        self._notice: Notice | None = None
        self._unsent: Notice | None = None
        self._hearsay = False
        """The notice is the control plane's word; the metadata's own, which is exact, is still looked for."""
        self._draining = False
        self._ending: str | None = None
        """Why the instance is to be powered off; None while it is not."""
        self._leaving = False
        self._request_id = ""
        self._begun = set[Key]()
        self._hello_due, self._claim_due, self._beat_due, self._report_due, self._off_due = (
            Due(chance) for _ in range(5)
        )

    # --- the two loops ------------------------------------------------------------------------------------------------

    def turn(self) -> float:
        if not self._greeted:
            self._greet()
        self._collect()
        self._report()
        if self._greeted:
            self._beat()
            self._claim()
        self._mind_the_silence()
        return self._seconds_until_due()

    def watch(self) -> float:
        """Looks for a notice and acts on it before anything else. Silence of the metadata service means nothing."""
        try:
            found = self._new_notice()
        except (OSError, ValueError, KeyError) as error:
            self._log("metadata-unanswered", error=str(error))
        else:
            if found is not None:
                self._heed(found)
        return self._terms.notice_poll

    def leave(self, kill_after: float) -> None:
        """The worker is being stopped: no more claims, every job interrupted. `turn` until `idle`."""
        self._leaving = True
        self._stop_all(kill_after)

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing is left to report."""
        with self._lock:
            return not self._attempts and not self._owed

    # --- hello --------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Once, before the first turn: ends what an earlier worker on this instance left running."""
        self._begun = {Key(*begun) for begun in self._runner.clear_leftovers()}

    def _greet(self) -> None:
        now = self._clock.monotonic()
        if now < self._hello_due.at:
            return
        answer = self._call("/v1/hello", dict(vars(self._machine)), self._hello_due)
        if answer is None:
            return
        settings = answer["settings"]
        self._terms = Terms.parse(answer)
        self._silence.idle_limit = float(settings["idle_power_off_seconds"])
        self._silence.running_limit = float(settings["running_power_off_seconds"])
        self._greeted = True
        self._power.keep_on()
        self._log("hello", pool=answer["pool"], slots=self._terms.slots, held=len(answer["leases"]))
        with self._lock:
            self._owed.update({key: self._abandoned(key) for key in map(_key, answer["leases"])})
        self._wake()  # `watch` has a new period

    def _abandoned(self, key: Key) -> Outcome:
        """What became of a lease that an earlier worker on this instance held."""
        if key not in self._begun:
            return NeverStarted("the worker restarted before it began")
        now = self._clock.now()
        why = "the worker restarted while it ran"
        return Ended(now, now, None, None, Stop.INTERRUPTED, done=False, error=why)

    # --- outcomes -----------------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Moves what has ended from the running to the owed; a lost lease owes nothing."""
        with self._lock:
            for key, attempt in list(self._attempts.items()):
                outcome = attempt.outcome
                if outcome is None:
                    continue
                del self._attempts[key]
                told = {name: value for name, value in outcome.body(key).items() if name != "error"}
                self._log("ended", **told)  # without the error, which quotes the job's output
                if not (isinstance(outcome, Ended) and outcome.stopped is Stop.LEASE_LOST):
                    self._owed[key] = outcome
                    self._report_due.now()
                if isinstance(outcome, NeverStarted):
                    self._claim_due.after(self._clock.monotonic(), GIVEN_BACK_SECONDS)
                else:
                    self._claim_due.now()
                attempt.forget()  # last: what fails here must not take the result with it

    def _report(self) -> None:
        if self._clock.monotonic() < self._report_due.at:
            return
        for key, outcome in list(self._owed.items()):
            path = "/v1/finish" if isinstance(outcome, Ended) else "/v1/release"
            try:
                self._answered(path, outcome.body(key))
            except LeaseLost:
                self._log("result-not-wanted", job_id=key.job_id, fence=key.fence)
            except Refused as error:
                self._log("refused", path=path, error=str(error))
                if error.status == 403:  # perhaps only our signature: the result is kept until its lease is lost
                    self._report_due.failed(self._clock.monotonic(), self._terms.heartbeat)
                    return
            except Unanswered as error:
                self._log("unanswered", path=path, error=str(error))
                self._report_due.failed(self._clock.monotonic(), self._terms.heartbeat)
                return
            with self._lock:
                self._owed.pop(key, None)
            if isinstance(outcome, Ended):
                self._claim_due.now()  # only now is its room free for others; a claim in between was told to wait
            self._report_due.after(self._clock.monotonic(), 0.0)

    # --- heartbeat ----------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        if self._clock.monotonic() < self._beat_due.at:
            return
        with self._lock:
            keys, notice = [*self._attempts, *self._owed], self._unsent
            standings = {key: attempt.standing() for key, attempt in self._attempts.items()}
        if not keys and notice is None:
            return
        told = None if notice is None else {"kind": notice.kind, "at": _text(notice.at)}
        leases = [{**key.body(), **({"standing": standings[key]} if standings.get(key) else {})} for key in keys]
        body = {"leases": leases, "notice": told}
        began_at = self._clock.monotonic()
        answer = self._call("/v1/heartbeat", body, self._beat_due)
        if answer is None:
            return
        with self._lock:
            self._confirm(keys, {_key(lost) for lost in answer["stop"]}, began_at)
            self._unsent = None if self._unsent == notice else self._unsent
            self._draining = bool(answer["drain"])
            for lost in answer["stop"]:
                self._obey(_key(lost), _why(lost["reason"]))
        self._hear(answer.get("notice"))
        self._beat_due.after(self._clock.monotonic(), min(self._terms.heartbeat, answer["next_call_seconds"]))

    def _confirm(self, named: list[Key], lost: set[Key], began_at: float) -> None:
        """Tells attempts that their lease was still ours at `began_at`."""
        for key in named:
            if key not in lost and key in self._attempts:
                self._attempts[key].confirm(began_at)

    def _obey(self, key: Key, why: Stop) -> None:
        attempt = self._attempts.get(key)
        if attempt is not None:
            self._log("told-to-stop", job_id=key.job_id, fence=key.fence, reason=why.value)
            attempt.stop(why, STOP_GRACE_SECONDS)
        elif why is Stop.LEASE_LOST:
            self._owed.pop(key, None)

    # --- claims -------------------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        if not self._may_claim() or self._clock.monotonic() < self._claim_due.at:
            return
        self._request_id = self._request_id or str(uuid.UUID(int=self._chance.getrandbits(128), version=4))
        most = min(CLAIM_AT_MOST, self._nameable())
        body = {"request_id": self._request_id, "most": most, **self._room()}
        answer = self._call("/v1/claim", body, self._claim_due)
        if answer is None:
            return
        self._request_id = ""
        self._claim_due.after(self._clock.monotonic(), answer["next_call_seconds"])
        with self._lock:
            self._draining = bool(answer["drain"])
            if not self._attempts and not self._owed:
                self._beat_due.after(self._clock.monotonic(), self._terms.heartbeat)
            for lease in answer["leases"]:
                self._take(lease)
        if not answer["leases"] and answer["power_off"] and self.idle:
            self._end("the control plane said so")

    def _may_claim(self) -> bool:
        """A draining instance without leases goes on asking: the answer tells it to power off."""
        if self._leaving or self._ending or self._interrupted():
            return False
        if self._draining:
            return self.idle
        if self._nameable() <= 0:
            return False
        used = self._used()
        vcpus = Fraction(used.slots, max(1, self._terms.slots)) + Fraction(used.vcpus) / max(1, self._machine.vcpus)
        return used.aux < self._terms.aux_slots or (self._terms.slots > 0 and vcpus < 1)

    def _nameable(self) -> int:
        """Leases that a heartbeat has room for beside those that it names already."""
        with self._lock:
            return LEASES_MOST - len(self._attempts) - len(self._owed)

    def _room(self) -> dict[str, Any]:
        """What it runs, also under leases that are over and that it stops: the control plane sees to it that nothing is
        given beyond what is free beside that. Whole slots are for a control plane from before `running`."""
        with self._lock:
            covered = sum(attempt.lease.slots for attempt in self._attempts.values())
        used = self._used()
        return {
            "free_slots": max(0, self._terms.slots - covered),
            "free_aux_slots": max(0, self._terms.aux_slots - used.aux),
            "running": {
                **{"slots": used.slots, "vcpus": str(used.vcpus), "memory_mib": used.memory_mib, "gpus": used.gpus},
                "aux_slots": used.aux,
            },
        }

    def _used(self) -> Used:
        with self._lock:
            return used_by([attempt.lease for attempt in self._attempts.values()])

    def _take(self, given: dict[str, Any]) -> None:
        """Starts a lease, or owes its release when a notice came while it was being claimed."""
        key = _key(given)
        if key in self._attempts or key in self._owed:
            return
        try:
            lease = Lease.parse(given)
        except (KeyError, TypeError, ValueError) as error:
            self._give_back(key, f"this worker cannot read the lease: {error!r}")
            return
        if self._interrupted() or self._leaving:
            self._give_back(key, "the instance is about to end")
            return
        self._log("start", job_id=key.job_id, fence=key.fence, attempt=lease.attempt)
        try:
            self._attempts[key] = self._runner.start(lease, self._devices(lease.gpus), self._terms)
        except RuntimeError as error:
            self._give_back(key, f"the instance has no thread left: {error}")
            return
        if self._notice is not None:
            self._attempts[key].warn(self._notice, self._seconds_left(self._notice))

    def _give_back(self, key: Key, reason: str) -> None:
        self._owed[key] = NeverStarted(reason)
        self._report_due.now()

    def _devices(self, count: int) -> tuple[int, ...]:
        """The lowest free GPUs; none where the instance has none."""
        taken = {device for attempt in self._attempts.values() for device in attempt.devices}
        return tuple(device for device in range(self._machine.gpus) if device not in taken)[:count]

    # --- notices ------------------------------------------------------------------------------------------------------

    def _interrupted(self) -> bool:
        return self._notice is not None and self._notice.kind == "interruption"

    def _new_notice(self) -> Notice | None:
        if self._interrupted() and not self._hearsay:
            return None
        return self._notices.interruption() or (self._notices.rebalance() if self._notice is None else None)

    def _heed(self, notice: Notice) -> None:
        """SIGTERM first, then the heartbeat that tells of it, then whatever `turn` finds to do."""
        with self._lock:
            self._notice = self._unsent = notice
            self._hearsay = False
            self._warn(notice)
            self._beat_due.now()
        self._log("notice", kind=notice.kind, ends_at=_text(notice.at))
        if self._greeted:
            self._beat()
        self._wake()

    def _hear(self, told: dict[str, Any] | None) -> None:
        """EventBridge was quicker than this instance's metadata, which may not answer at all: its word is heeded."""
        if told is None:
            return
        notice = Notice(told["kind"], instant(told["at"]))
        with self._lock:
            if self._interrupted():
                return
            self._notice, self._hearsay = notice, True
            self._warn(notice)
        self._log("notice-heard", kind=notice.kind, ends_at=_text(notice.at))

    def _warn(self, notice: Notice) -> None:
        for attempt in self._attempts.values():
            attempt.warn(notice, self._seconds_left(notice))

    def _seconds_left(self, notice: Notice) -> float:
        return max(0.0, (notice.at - self._clock.now()).total_seconds())

    def _stop_all(self, kill_after: float) -> None:
        with self._lock:
            for attempt in self._attempts.values():
                attempt.stop(Stop.INTERRUPTED, kill_after)

    # --- law 11 -------------------------------------------------------------------------------------------------------

    def _mind_the_silence(self) -> None:
        now = self._clock.monotonic()
        if self._ending is None and self._silence.exhausted(now, running=not self.idle):
            self._end("the control plane has not answered for too long")
        with self._lock:
            running = bool(self._attempts)
        if self._ending is not None and not running and now >= self._off_due.at:
            self._power.off(self._ending)
            self._off_due.after(now, 60.0)

    def _end(self, why: str) -> None:
        self._ending = why
        self._stop_all(STOP_GRACE_SECONDS)

    # --- calls --------------------------------------------------------------------------------------------------------

    def _call(self, path: str, body: dict[str, Any], due: Due) -> dict[str, Any] | None:
        """The answer, or None, the next try being due later."""
        try:
            return self._answered(path, body)
        except (Unanswered, Refused, LeaseLost) as error:
            self._log("unanswered", path=path, error=f"{type(error).__name__}: {error}")
            due.failed(self._clock.monotonic(), self._terms.heartbeat)
            return None

    def _answered(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = self._api.call(path, body)
        except LeaseLost:
            self._silence.broken(self._clock.monotonic())
            raise
        self._silence.broken(self._clock.monotonic())
        return answer

    def _seconds_until_due(self) -> float:
        """Until the next turn has something to do, if nothing wakes it before."""
        now = self._clock.monotonic()
        if not self._greeted:
            end = self._silence.exhausted_at(running=False) if self._ending is None else self._off_due.at
            return max(0.0, min(self._hello_due.at, end) - now)
        with self._lock:
            dues = [self._silence.exhausted_at(running=not self.idle)] if self._ending is None else [now + 60.0]
            if self._ending is not None and not self._attempts:
                dues.append(self._off_due.at)
            if self._attempts or self._owed or self._unsent:
                dues.append(self._beat_due.at)
            if self._owed:
                dues.append(self._report_due.at)
        if self._may_claim():
            dues.append(self._claim_due.at)
        return max(0.0, min(dues) - now)


def _key(given: dict[str, Any]) -> Key:
    return Key(given["job_id"], int(given["fence"]))


def _why(reason: str) -> Stop:
    """A reason of a newer control plane is heeded like the mildest that there is: with a last save."""
    try:
        return Stop(reason)
    except ValueError:
        return Stop.INTERRUPTED


def _text(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
