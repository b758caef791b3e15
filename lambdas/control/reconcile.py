"""One pass over one pool: begin, read, decide, act, conclude. The order is the safety of it:

begin       raises the epoch and clears `dirty`, before anything is read: news that comes later asks for another pass
gather      one strongly consistent query of the pool, the head of its queue, shared facts
plan        pure
act         each action's failure is an outcome; what decides is refused once a later pass has begun
conclude    numbers, reasons and the next look, refused likewise
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from botocore.exceptions import ClientError

from lambdas.adapters.launch_table import Superseded
from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.pool_table import Begun, PoolTable
from lambdas.adapters.table import Conflict, Fault
from lambdas.control.conclusion import concluded
from lambdas.control.ending import Ender
from lambdas.control.gather import Gatherer
from lambdas.control.launch import Launcher
from lambdas.control.metering import note_prices
from lambdas.control.outcomes import Outcome, Result
from lambdas.control.pass_report import Made, Reporter, Told
from lambdas.control.templates import Templates
from lambdas.domain.fleet import actions
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.plan.plan import Plan
from lambdas.domain.reasons import ReasonClass

_log = logging.getLogger(__name__)

LAUNCH_RESERVE = timedelta(seconds=30)
"""Time a launch needs in the worst case: 2 s to connect, 25 s for EC2's answer, a second or two to record it."""
ACTION_RESERVE = timedelta(seconds=10)
"""The same for every other action: a handful of table calls."""


class Ledger(Protocol):
    """What a pass asks of the job ledger."""

    def return_job(self, action: actions.ReturnJob, now: datetime) -> bool: ...

    def park_queued(self, pool: str, why: str, now: datetime) -> int: ...

    def fail_queued(self, job_id: str, why: str, now: datetime) -> bool: ...


class Doorbell(Protocol):
    def ring(self, pool: str, cause: str) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    config: PoolConfig
    pools: PoolTable
    gatherer: Gatherer
    launcher: Launcher
    ender: Ender
    templates: Templates
    ledger: Ledger
    doorbell: Doorbell
    reporter: Reporter
    decide: Callable[[Snapshot, datetime], Plan]
    now: Callable[[], datetime]

    def reconcile(self, pool: str, time_left: Callable[[], timedelta]) -> None:
        """One pass. Raises what is not an action's own failure: a fault in reading or concluding, or a bug."""
        began_at = self.now()
        begun = self.pools.begin(pool, began_at)
        records = self.pools.records(pool)
        if records is None:
            self.config.forget_unknown(pool, begun.epoch)
            _log.info("pass over an unknown pool", extra={"pool": pool})
            return
        gathered = self.gatherer.gather(begun, records)
        decided_at = self.now()
        plan = self.decide(gathered.snapshot, decided_at)
        outcomes = tuple(self._outcomes(plan, gathered.snapshot, time_left))
        if not outcomes or outcomes[-1].result is not Result.SUPERSEDED:
            outcomes = (*outcomes, *self.templates.sweep(records.templates, gathered.snapshot))
        unnoted: tuple[str, ...] = ()
        if time_left() >= ACTION_RESERVE:
            unnoted = note_prices(self.pools, records, gathered.snapshot, self.now())
        made = Made(
            snapshot=gathered.snapshot,
            outcomes=outcomes,
            conclusion=concluded(begun, gathered.snapshot, plan, outcomes, self.now(), gathered.refused),
            notes=(*gathered.notes, *plan.notes, *unnoted),
            decided_at=decided_at,
        )
        self._conclude(begun, made, began_at)
        if any(map(_called, outcomes)) and not any(ReasonClass.THROTTLING in o.refused_classes for o in outcomes):
            self._hand_on(pool, begun.epoch)

    def _hand_on(self, pool: str, epoch: int) -> None:
        """Wake the pools whose turn it is to call EC2."""
        for other in self.launcher.hand_on():
            self.doorbell.ring(other, f"turn#{pool}#{epoch}")

    def _outcomes(self, plan: Plan, snapshot: Snapshot, time_left: Callable[[], timedelta]) -> Iterator[Outcome]:
        """What became of each action in turn; the last one where a later pass has begun."""
        for action in plan.actions:
            outcome = self._outcome(action, snapshot, time_left())
            yield outcome
            if outcome.result is Result.SUPERSEDED:
                return

    def _outcome(self, action: actions.Action, snapshot: Snapshot, left: timedelta) -> Outcome:
        name = actions.name_of(action)
        if left < (LAUNCH_RESERVE if isinstance(action, actions.Launch | actions.Repeat) else ACTION_RESERVE):
            return Outcome(action=name, why=action.why, result=Result.POSTPONED, detail="no time left in this run")
        try:
            return self._execute(action, snapshot)
        except Superseded:
            return Outcome(action=name, why=action.why, result=Result.SUPERSEDED)
        except (Fault, ClientError) as error:
            return Outcome(action=name, why=action.why, result=Result.FAILED, detail=f"{type(error).__name__}: {error}")

    def _execute(self, action: actions.Action, snapshot: Snapshot) -> Outcome:
        match action:
            case actions.Launch():
                return self.launcher.launch(action, snapshot)
            case actions.Repeat():
                return self.launcher.repeat(action, snapshot)
            case actions.Close():
                return self.ender.close(action)
            case actions.Retire():
                return self.ender.retire(action, snapshot)
            case actions.Drain():
                return self.ender.drain(action, snapshot)
            case actions.Move():
                return self.ender.move(action, snapshot)
            case actions.Terminate():
                return self.ender.terminate(action, snapshot)
            case actions.Forget():
                return self.ender.forget(action, snapshot)
            case actions.Keep():
                return self.ender.keep(action, snapshot)
            case actions.ReturnJob():
                return self._return_job(action)
            case actions.FailQueued():
                return self._fail_queued(action)
            case actions.ParkQueued():
                return self._park_queued(action, snapshot)

    def _return_job(self, action: actions.ReturnJob) -> Outcome:
        done = self.ledger.return_job(action, self.now())
        result = Result.DONE if done else Result.NOTHING
        return Outcome(action=actions.name_of(action), why=action.why, result=result, detail=action.job_id)

    def _fail_queued(self, action: actions.FailQueued) -> Outcome:
        failed = sum(self.ledger.fail_queued(job_id, action.why, self.now()) for job_id in action.job_ids)
        result = Result.DONE if failed else Result.NOTHING
        return Outcome(action=actions.name_of(action), why=action.why, result=result, detail=f"{failed} failed")

    def _park_queued(self, action: actions.ParkQueued, snapshot: Snapshot) -> Outcome:
        parked = self.ledger.park_queued(snapshot.pool.name, action.why, self.now())
        return Outcome(
            action=actions.name_of(action), why=action.why, result=Result.DONE, detail=f"{parked} parked", again=True
        )

    def _conclude(self, begun: Begun, made: Made, began_at: datetime) -> None:
        snapshot, outcomes = made.snapshot, made.outcomes
        if not outcomes and _nothing_left(snapshot):
            return self._remove(begun, snapshot)
        conclusion = replace(made.conclusion, decided=self.reporter.keep(made, begun.decided))
        standing = self.pools.conclude(snapshot.pool.name, begun.epoch, conclusion)
        self.reporter.tell(
            Told(
                snapshot=snapshot,
                outcomes=outcomes,
                conclusion=conclusion,
                notes=made.notes,
                decided_at=made.decided_at,
                was_resting=begun.resting,
                superseded=not standing,
                began_at=began_at,
                ended_at=self.now(),
            )
        )
        if standing and any(outcome.again or outcome.result is Result.POSTPONED for outcome in outcomes):
            self.doorbell.ring(snapshot.pool.name, f"pass#{begun.epoch}")
        return None

    def _remove(self, begun: Begun, snapshot: Snapshot) -> None:
        """The pool is deleted and has nothing left. On news or a new version meanwhile, a later pass looks again."""
        try:
            self.config.remove(snapshot.pool, begun.epoch)
        except Conflict:
            self.pools.due_at(snapshot.pool.name, self.now())
        _log.info("pool removed", extra={"pool": snapshot.pool.name, "epoch": begun.epoch})


def _called(outcome: Outcome) -> bool:
    """Whether it called EC2 to launch, and so took a token."""
    return outcome.action in ("launch", "repeat") and outcome.result in (Result.DONE, Result.REFUSED, Result.LOST)


def _nothing_left(snapshot: Snapshot) -> bool:
    busy = snapshot.instances or snapshot.leases or snapshot.intentions or snapshot.queue
    return snapshot.pool.deleted and not busy
