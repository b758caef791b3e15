"""Drills as they go: trouble is made, what follows is waited for, and each step's time is taken.

Times are of the wall clock, in seconds. Where AWS runs faster than life (`lowtide local up --pace`), so does recovery.
"""

import json
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from lambdas import names
from lambdas.adapters import keys
from lambdas.adapters.items import reason_from
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.pool_config import PoolConfig
from lambdas.domain.jobs.job_record import JobRecord
from lambdas.domain.jobs.jobs import JobState
from lambdas.domain.pools.pools import CapacityType, Pool
from lambdas.domain.reasons import Reason, ReasonClass
from lambdas.domain.words import dollars
from lowtide.cli import fleet_store
from lowtide.cli.connection import Deployment
from lowtide.cli.errors import Failure
from lowtide.cli.fleet_store import Held
from lowtide.drill.market import Market

POLL_SECONDS = 0.5
DEARER = Decimal(2)
"""How many times its limit a type costs in a price drill."""
_OVER = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.PARKED}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """`clock` in seconds, `pause` until the next look; `within` seconds each step may take; `job` is what a shortage's
    own job runs."""

    deployment: Deployment
    market: Market
    say: Callable[[str], None]
    clock: Callable[[], float]
    pause: Callable[[float], None]
    within: float
    job: Sequence[str] = ("sleep", "1")
    _ledgers: list[Ledger] = field(default_factory=list[Ledger])

    # --- interrupt ----------------------------------------------------------------------------------------------------

    def interrupt(self, pool: str | None, instance_id: str | None) -> dict[str, Any]:
        """One spot instance that runs a job is taken back; over when each of its jobs runs elsewhere, or has ended.

        Raises Failure where no such instance runs, and where a job is not back in time."""
        held = self._busy(pool, instance_id)
        lost = held.instance.instance_id
        waiting = [lease.job_id for lease in held.leases]
        self.market.interrupt(lost)
        began = self.clock()
        self.say(f"{lost} got its spot notice; it runs {', '.join(waiting)}")
        back: list[dict[str, Any]] = []

        def all_back() -> bool:
            for job in [job for each in waiting if (job := self._ledger().job(each)) and _is_back(job, lost)]:
                waiting.remove(job.job_id)
                back.append(self._came_back(job, self.clock() - began))
            return not waiting

        self._until(all_back, lambda: f"{', '.join(waiting)} did not run again")
        return {
            "drill": "interrupt",
            "instance_id": lost,
            "jobs": back,
            "recovered_seconds": _whole(self.clock() - began),
        }

    def _busy(self, pool: str | None, instance_id: str | None) -> Held:
        table = self.deployment.table
        pools = [pool] if pool else [each.name for each in PoolConfig(table).pools()]
        for held in fleet_store.instances(table, pools):
            fits = instance_id in (None, held.instance.instance_id) and held.instance.ends_at is None
            if fits and held.leases and held.instance.capacity_type is CapacityType.SPOT:
                return held
        which = instance_id or (f"spot instance of {pool}" if pool else "spot instance")
        raise Failure(f"no {which} runs a job: lowtide submit --pool POOL -- sleep 600, then drill again")

    def _came_back(self, job: JobRecord, seconds: float) -> dict[str, Any]:
        if job.state is JobState.RUNNING:
            self.say(f"{job.job_id} runs again on {job.instance_id}, {seconds:.1f} s after the notice")
        else:
            self.say(f"{job.job_id} {job.state.value}, {seconds:.1f} s after the notice")
        return {
            **{"id": job.job_id, "state": job.state.value, "instance_id": job.instance_id},
            "seconds": _whole(seconds),
        }

    # --- price and capacity -------------------------------------------------------------------------------------------

    def price(self, pool: Pool) -> dict[str, Any]:
        """Every type of a spot pool costs twice its limit until the pool says so. Raises Failure for another pool."""
        if not pool.spot:
            raise Failure(
                f"{pool.name} is an on-demand pool: no price moves it; try lowtide drill capacity {pool.name}"
            )
        types = [facts.name for facts in pool.types]
        limits = [limit for facts in pool.types if (limit := pool.price_limit(facts)) is not None]
        if not limits:
            raise Failure(f"no price limit of {pool.name} is known: set spot_max_price in dollars, then drill again")
        usd = max(limits) * DEARER
        self.say(f"{', '.join(types)} cost {dollars(usd)} an hour now")
        return self._shortage("price", pool, ReasonClass.PRICE, lambda: self.market.hold_prices(types, usd))

    def capacity(self, pool: Pool) -> dict[str, Any]:
        """None of the pool's types can be had until the pool says so."""
        types = [facts.name for facts in pool.types]
        self.say(f"there is no {', '.join(types)} to be had now")
        return self._shortage("capacity", pool, ReasonClass.CAPACITY, lambda: self.market.hold_empty(types))

    def _shortage(self, name: str, pool: Pool, wanted: ReasonClass, hold: Callable[[], None]) -> dict[str, Any]:
        """A small job of the drill's own makes the pool want an instance; where one takes it all the same, another
        follows. Over when that job has its instance."""
        jobs: list[str] = []
        began = self.clock()

        def shown() -> Reason | None:
            hold()
            self._demand(pool, jobs)
            return next((reason for reason in self._reasons(pool) if reason.reason_class is wanted), None)

        with self._restored():
            reason = self._until(shown, lambda: f"{pool.name} shows no reason of class {wanted}")
        told = self.clock() - began
        self.say(f"after {told:.1f} s {pool.name} says: {reason.message}")
        restored = self.clock()
        last = jobs[-1]
        job = self._until(lambda: self._served(last), lambda: f"{last} did not run, which waits in {pool.name}")
        recovered = self.clock() - restored
        state = "runs" if job.state is JobState.RUNNING else job.state.value
        self.say(f"{job.job_id} {state}, {recovered:.1f} s after the end")
        return {
            **{"drill": name, "pool": pool.name, "reason": {"class": wanted.value, "code": str(reason.code)}},
            **{"message": reason.message, "reason_seconds": _whole(told), "recovered_seconds": _whole(recovered)},
        }

    @contextmanager
    def _restored(self) -> Generator[None]:
        """Says that the market is left alone, whatever ended the block."""
        try:
            yield
        finally:
            self.say("the market is its own again within some seconds")

    def _demand(self, pool: Pool, jobs: list[str]) -> None:
        """One job of the drill's waits; the one before has ended."""
        if jobs and not ((job := self._ledger().job(jobs[-1])) and job.state in _OVER):
            return
        jobs.append(f"drill-{uuid.uuid4().hex[:12]}")
        body = {"id": jobs[-1], "pool": pool.name, "command": list(self.job), "tags": {"drill": "shortage"}}
        url = self.deployment.output(names.OUTPUT_JOB_QUEUE_URL)
        self.deployment.sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body))

    def _served(self, job_id: str) -> JobRecord | None:
        job = self._ledger().job(job_id)
        return job if job and (job.state is JobState.RUNNING or job.state in _OVER) else None

    def _reasons(self, pool: Pool) -> list[Reason]:
        state = self.deployment.table.get(keys.pool(pool.name), keys.STATE) or {}
        return [reason_from(each) for each in state.get("reasons", ())]

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _ledger(self) -> Ledger:
        if not self._ledgers:
            self._ledgers.append(Ledger(self.deployment.table, jobs_kept=self.deployment.settings.jobs_kept))
        return self._ledgers[0]

    def _until(self, look: Callable[[], T | None], otherwise: Callable[[], str]) -> T:
        """The first truthy answer. Raises Failure after `within` seconds."""
        ends = self.clock() + self.within
        while not (seen := look()):
            if self.clock() >= ends:
                raise Failure(
                    f"{otherwise()} within {self.within:.0f} s: look with lowtide status and lowtide why POOL"
                )
            self.pause(POLL_SECONDS)
        return seen


def _is_back(job: JobRecord, lost: str) -> bool:
    return job.state in _OVER or (job.state is JobState.RUNNING and job.instance_id != lost)


def _whole(seconds: float) -> float:
    """To a tenth: what a look every half second can tell."""
    return round(seconds, 1)
