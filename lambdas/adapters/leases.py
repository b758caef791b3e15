"""Leases: who runs a job, given, renewed and ended. Each is one transaction, and each may be repeated.

A lease is the LEASE item under its pool; the JOB says the same (`state`, `instance_id`, `fence`), the INSTANCE counts
its leases. The three change together or not at all, so that a job has at most one live lease and one recorded result.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from lambdas.adapters import items, job_items, keys
from lambdas.adapters.attributes import Item
from lambdas.adapters.bill_items import counted
from lambdas.adapters.table import Conflict, Fault, Table, Unavailable
from lambdas.domain.buying.bills import charged_slots, end_of, slot_seconds
from lambdas.domain.fleet.fleet import Instance, InstanceState, Lease
from lambdas.domain.instants import to_text
from lambdas.domain.jobs.fit import Part, Used
from lambdas.domain.jobs.job_record import (
    Attempt,
    JobRecord,
    Outcome,
    Result,
    Settlement,
    cancelled,
    charged,
    lost,
    running_seconds,
    settle,
)
from lambdas.domain.jobs.jobs import JobSpec, JobState
from lambdas.domain.jobs.work import Standing, kept_after, restoring

_JOB_AND_SPEC = (keys.JOB, keys.SPEC)
_ATTEMPTS = 5
"""How often an end is decided anew because its instance's counters moved; each time another of its jobs ended."""


class LeaseLost(Fault):
    """The caller holds no lease of that job with that fence any more: it stops the job."""


class NotYours(Fault):
    """There is no such job, or another instance holds that very lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A lease and what its holder needs to run the job."""

    lease: Lease
    job: JobRecord
    """As it stands under the lease."""
    spec: JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A running job under one lease, as read."""

    job: JobRecord
    lease: Lease
    instance: Item | None
    """None: the instance's record is gone."""


class Leases:
    def __init__(self, table: Table, *, jobs_kept: timedelta) -> None:
        self._table = table
        self._kept = jobs_kept

    # --- given ---

    def waiting(self, job_id: str) -> tuple[JobRecord, JobSpec] | None:
        """A queued job and what was asked, read in one call; None where it is not queued any more."""
        found = {item["sk"]: item for item in self._table.get_many([(keys.job(job_id), sk) for sk in _JOB_AND_SPEC])}
        if len(found) < len(_JOB_AND_SPEC):
            return None
        job = job_items.job_from(found[keys.JOB])
        return (job, job_items.spec_from(found[keys.SPEC])) if job.state == JobState.QUEUED else None

    def grant(
        self,
        job: JobRecord,
        instance: Instance,
        *,
        part: Part,
        beside: Used,
        most_aux: int,
        request_id: str,
        now: datetime,
    ) -> tuple[Lease, JobRecord]:
        """The lease of a queued job, the job as it now runs. It takes `part` of the instance, which holds it beside
        what was used when that was read; of auxiliary jobs the instance takes `most_aux`.

        Raises Conflict: `failed(GRANT_INSTANCE)` where the instance is draining, full or gone, else somebody was
        quicker with the job."""
        running = replace(
            job,
            state=JobState.RUNNING,
            fence=job.fence + 1,
            attempts=job.attempts + 1,
            instance_id=instance.instance_id,
            started_at=job.started_at or now,
        )
        lease = _lease(running, instance, part, request_id, now)
        self._table.transact(
            [
                self._put_job(running, now, expected=job),
                self._table.delete_op(*job_items.entry_key(job), condition="attribute_exists(pk)"),
                self._table.put_op(items.lease_item(lease), condition="attribute_not_exists(pk)"),
                self._seat(instance, part, beside, most_aux, now),
            ]
        )
        return lease, running

    def _seat(self, instance: Instance, part: Part, beside: Used, most_aux: int, now: datetime) -> Item:
        """What fits beside what was used fits wherever no counter has grown since; one that fell only gave room."""
        taken = _counters(part)
        seen = {name: count for name, count in items.used_attributes(beside).items() if name != "used_aux"}
        bounds = {"used_aux": most_aux - 1} if part.auxiliary else seen
        sums = "".join(f", {name} = if_not_exists({name}, :none) + :add_{name}" for name in taken)
        within = "".join(f" AND (attribute_not_exists({name}) OR {name} <= :most_{name})" for name in bounds)
        return self._table.update_op(
            keys.pool(instance.pool),
            keys.instance(instance.instance_id),
            f"SET leases = leases + :one, heartbeat_at = :now, turned_at = :now{sums} REMOVE idle_since",
            condition=f"#state <> :draining AND leases >= :none{within}",
            names={"#state": "state"},
            values={
                **{":one": 1, ":none": 0, ":now": to_text(now), ":draining": InstanceState.DRAINING.value},
                **{f":add_{name}": each for name, each in taken.items()},
                **{f":most_{name}": bound for name, bound in bounds.items()},
            },
        )

    # --- read ---

    def of(self, pool: str, instance_id: str) -> list[Lease]:
        return list(map(items.lease_from, self._table.query(keys.pool(pool), prefix=keys.leases_of(instance_id))))

    def details(self, leases: list[Lease]) -> list[Granted]:
        """What their holder needs to run them; a lease that ended since is left out."""
        granted: list[Granted] = []
        for start in range(0, len(leases), 50):
            chunk = leases[start : start + 50]
            wanted = [(keys.job(lease.job_id), sk) for lease in chunk for sk in _JOB_AND_SPEC]
            found = {(item["pk"], item["sk"]): item for item in self._table.get_many(wanted)}
            granted.extend(filter(None, (_granted(lease, found) for lease in chunk)))
        return granted

    # --- ended ---

    def finish(
        self,
        pool: str,
        instance_id: str,
        job_id: str,
        fence: int,
        result: Result,
        now: datetime,
        *,
        at_once: timedelta,
    ) -> JobState:
        """The job's state after this result, which is recorded once however often it is told. `at_once`: as of
        `job_record.settle`.

        Raises LeaseLost, NotYours."""

        def decide(held: Held) -> tuple[JobRecord, Attempt | None]:
            told = _within(result, held.lease, now)
            moved = held.lease.moving_since is not None
            settlement = settle(held.job, told, at_once=at_once, moved=moved)
            attempt = _attempt(held, settlement, told.started_at, told.ended_at, result.exit_code)
            took = restoring(held.lease.claimed_at, told.started_at)
            job = _with_kept(held.job, told.standing, took)
            return _settled(job, settlement, result.exit_code, now), attempt

        return self._end_by_holder(pool, instance_id, job_id, fence, decide, now)

    def release(self, pool: str, instance_id: str, job_id: str, fence: int, reason: str, now: datetime) -> JobState:
        """The job waits again as if it had never been claimed, save that its fence stays and the worker's reason is
        kept.

        Raises LeaseLost, NotYours."""

        def decide(held: Held) -> tuple[JobRecord, Attempt | None]:
            begun = held.job.started_at if held.job.attempts > 1 else None
            job = replace(job_items.requeued(held.job, now), attempts=held.job.attempts - 1, started_at=begun)
            return job, None

        return self._end_by_holder(pool, instance_id, job_id, fence, decide, now, reason)

    def _end_by_holder(
        self,
        pool: str,
        instance_id: str,
        job_id: str,
        fence: int,
        decide: Callable[[Held], tuple[JobRecord, Attempt | None]],
        now: datetime,
        given_back: str | None = None,
    ) -> JobState:
        """`given_back`: why it is a release; None: it is the end of an attempt."""
        for _ in range(_ATTEMPTS):
            held = self._held(pool, instance_id, job_id, fence)
            if isinstance(held, JobState):
                return held
            job, attempt = decide(held)
            job = replace(job, settled_fence=fence, settled_state=job.state)
            if self._end(held, job, attempt, now, given_back):
                return job.state
        raise Unavailable(f"the leases of {instance_id} keep changing")

    def _held(self, pool: str, instance_id: str, job_id: str, fence: int) -> Held | JobState:
        """The job under this lease, or the answer that its holder was given before."""
        lease_key, instance_key = keys.lease(instance_id, job_id), keys.instance(instance_id)
        wanted = [(keys.job(job_id), keys.JOB), (keys.pool(pool), lease_key), (keys.pool(pool), instance_key)]
        found = {item["sk"]: item for item in self._table.get_many(wanted)}
        if keys.JOB not in found:
            raise NotYours(f"there is no job {job_id}")
        job = job_items.job_from(found[keys.JOB])
        if job.settled_fence == fence and job.settled_state is not None and job.instance_id == instance_id:
            return job.settled_state
        if fence > job.fence or (fence == job.fence and job.instance_id != instance_id):
            raise NotYours(f"job {job_id} was never given to {instance_id} with fence {fence}")
        if lease_key not in found or job.fence != fence or job.state != JobState.RUNNING:
            raise LeaseLost(f"lease {fence} of job {job_id} is over")
        return Held(job=job, lease=items.lease_from(found[lease_key]), instance=found.get(instance_key))

    def take_back(
        self, job_id: str, instance_id: str, fence: int, why: str, now: datetime, *, renewed_at: datetime | None = None
    ) -> bool:
        """Ends a lease whose holder is gone, silent or does not know of it: an interruption that lasted until it was
        last heard of. False: the lease is over already, or was renewed after `renewed_at`."""
        item = self._table.get(keys.job(job_id), keys.JOB)
        if item is None:
            return False
        pool = item["pool"]
        for _ in range(_ATTEMPTS):
            try:
                held = self._held(pool, instance_id, job_id, fence)
            except (LeaseLost, NotYours):
                return False
            if isinstance(held, JobState) or (renewed_at is not None and held.lease.renewed_at > renewed_at):
                return False
            settlement = lost(held.job, held.lease.claimed_at, held.lease.renewed_at, why)
            attempt = _attempt(held, settlement, held.lease.claimed_at, now, None)
            job = _with_kept(held.job, held.lease.standing, None)
            if self._end(held, _settled(job, settlement, None, now), attempt, now):
                return True
        raise Unavailable(f"the leases of {instance_id} keep changing")

    def cancel(self, job: JobRecord, now: datetime) -> bool:
        """Ends a running job for good: its holder hears at its next heartbeat that the lease is lost and stops the job;
        what it still reports is refused. False: the lease is over already."""
        assert job.instance_id is not None
        for _ in range(_ATTEMPTS):
            try:
                held = self._held(job.pool, job.instance_id, job.job_id, job.fence)
            except (LeaseLost, NotYours):
                return False
            if isinstance(held, JobState):
                return False
            settlement = cancelled(held.job)
            attempt = _attempt(held, settlement, held.lease.claimed_at, now, None)
            if self._end(held, _settled(held.job, settlement, None, now), attempt, now):
                return True
        raise Unavailable(f"the leases of {job.instance_id} keep changing")

    def _end(
        self, held: Held, job: JobRecord, attempt: Attempt | None, now: datetime, given_back: str | None = None
    ) -> bool:
        """What the attempt cost is written with its end. False: something moved since it was read."""
        if attempt is not None:
            attempt, job = _charged(held, attempt, job, now)
        operations = [
            self._put_job(job, now, expected=held.job),
            self._table.delete_op(
                keys.pool(job.pool),
                keys.lease(held.lease.instance_id, job.job_id),
                condition="renewed_at = :renewed",
                values={":renewed": to_text(held.lease.renewed_at)},
            ),
            *self._next(job, attempt, now),
        ]
        if held.instance is not None:
            operations.append(self._unseat(held.lease, held.instance, attempt, now))
        if attempt is not None:
            operations.append(self._table.put_op(job_items.attempt_item(job.job_id, attempt, self._kept)))
        if given_back is not None:
            n = held.job.attempts
            operations.append(job_items.release_op(self._table, held.lease, n, given_back, now, self._kept))
        try:
            self._table.insist(lambda: self._table.transact(operations))
        except Conflict:
            return False
        return True

    def _next(self, job: JobRecord, attempt: Attempt | None, now: datetime) -> list[Item]:
        """What follows: a queue entry, or the end of what was kept for running it, and what its kind learns of it."""
        if job.state == JobState.QUEUED:
            return [self._table.put_op(job_items.entry_item(job))]
        ended = [job_items.expire_spec_op(self._table, job.job_id, job_items.expiry(now, self._kept))]
        if job.state != JobState.SUCCEEDED or job.recurs_as is None or attempt is None:
            return ended
        seconds = (job.kept_seconds or Decimal(0)) + running_seconds(attempt.started_at, attempt.ended_at or now)
        return [*ended, self._table.put_op(job_items.run_item(job, seconds, now, self._kept))]

    def _unseat(self, lease: Lease, instance: Item, attempt: Attempt | None, now: datetime) -> Item:
        """The instance without the lease, and with what the attempt adds to its counters. The time of a lease that was
        given back is nobody's: the instance was idle."""
        freed = _counters(lease.part)
        less = "".join(f", {name} = {name} - :less_{name}" for name in freed)
        idle = ", idle_since = :now" if instance["leases"] == 1 else ""
        added = {} if attempt is None else _counted(lease, instance, attempt, now)
        sums = "".join(f", {name} = if_not_exists({name}, :zero) + :{name}" for name in added)
        return self._table.update_op(
            instance["pk"],
            instance["sk"],
            f"SET leases = leases - :one, turned_at = :now{less}{idle}{sums}",
            condition="leases = :leases",
            values={
                **{":one": 1, ":leases": instance["leases"], ":now": to_text(now)},
                **{f":less_{name}": each for name, each in freed.items()},
                **({":zero": 0} if added else {}),
                **{f":{name}": value for name, value in added.items()},
            },
        )

    def _put_job(self, job: JobRecord, now: datetime, *, expected: JobRecord) -> Item:
        """Replaces the JOB item, if it is in the expected state under the expected fence."""
        ended = {"expires_at": job_items.expiry(now, self._kept)} if job.state in job_items.ENDED else {}
        return self._table.put_op(
            {**job_items.job_item(job, now), **ended},
            condition="#state = :state AND fence = :fence",
            names={"#state": "state"},
            values={":state": expected.state.value, ":fence": expected.fence},
        )


GRANT_INSTANCE = 3
"""Place of the instance's operation in the transaction of `Leases.grant`."""


def _counters(part: Part) -> Item:
    """What it adds to its instance's counters."""
    return {name: each for name, each in items.used_attributes(Used().with_(part)).items() if each}


def _lease(job: JobRecord, instance: Instance, part: Part, request_id: str, now: datetime) -> Lease:
    return Lease(
        job_id=job.job_id,
        pool=job.pool,
        instance_id=instance.instance_id,
        fence=job.fence,
        slots=part.slots,
        resources=part.resources,
        share=part.share,
        claimed_at=now,
        request_id=request_id,
        renewed_at=now,
        priority=job.priority,
        submitted_at=job.submitted_at,
        interruptions=job.interruptions,
        on_demand=job.on_demand,
        spot_max_price=job.spot_max_price,
        deadline=job.deadline,
        estimated_seconds=job.estimated_seconds,
        estimate_from=job.estimate_from,
        kept_seconds=job.kept_seconds,
        kept_progress=job.kept_progress,
        restoring_seconds=job.restoring_seconds,
    )


def _granted(lease: Lease, found: dict[tuple[str, str], Item]) -> Granted | None:
    job, spec = (found.get((keys.job(lease.job_id), sk)) for sk in _JOB_AND_SPEC)
    if job is None or spec is None or job["fence"] != lease.fence:
        return None
    return Granted(lease=lease, job=job_items.job_from(job), spec=job_items.spec_from(spec))


def _within(result: Result, lease: Lease, now: datetime) -> Result:
    """The result with its instants inside the lease's life, whatever the instance's clock says."""
    started = min(max(result.started_at, lease.claimed_at), now)
    return replace(result, started_at=started, ended_at=min(max(result.ended_at, started), now))


def _with_kept(job: JobRecord, standing: Standing, took: Decimal | None) -> JobRecord:
    """What its attempt leaves to the next, where it has a deadline. `took`: until its process began; None: unknown."""
    if job.deadline is None:
        return job
    kept = kept_after(job.kept, standing, took)
    return replace(
        job, kept_seconds=kept.seconds, kept_progress=kept.progress, restoring_seconds=kept.restoring_seconds
    )


def _settled(job: JobRecord, settlement: Settlement, exit_code: int | None, now: datetime) -> JobRecord:
    counted: dict[str, Any] = {
        **{"failures": settlement.failures, "failed_at_once_on": settlement.failed_at_once_on},
        "interruptions": settlement.interruptions,
        "used_seconds": settlement.used_seconds,
    }
    if settlement.state == JobState.QUEUED:
        return replace(job_items.requeued(job, now), **counted)
    final = None if settlement.outcome == Outcome.SUCCEEDED else settlement.reason
    return replace(job, state=settlement.state, finished_at=now, exit_code=exit_code, reason=final, **counted)


def _attempt(
    held: Held, settlement: Settlement, started_at: datetime, ended_at: datetime, exit_code: int | None
) -> Attempt:
    instance = None if held.instance is None else items.instance_from(held.instance)
    running = job_items.attempt_of(held.lease, held.job.attempts, instance)
    return replace(
        running,
        started_at=started_at,
        ended_at=ended_at,
        outcome=settlement.outcome,
        exit_code=exit_code,
        reason=settlement.reason,
    )


def _charged(held: Held, attempt: Attempt, job: JobRecord, now: datetime) -> tuple[Attempt, JobRecord]:
    """With what the attempt cost, from its claim until its slots were free again or its instance ended."""
    attempt = attempt if held.instance is None else job_items.with_cost(attempt, held.lease, held.instance, now)
    return attempt, charged(job, attempt)


def _counted(lease: Lease, instance: Item, attempt: Attempt, now: datetime) -> dict[str, Decimal]:
    of = items.instance_from(instance)
    seconds = slot_seconds(charged_slots(lease, of.slots), lease.claimed_at, end_of(of, now))
    return counted(attempt.cost_usd, seconds, interrupted=attempt.outcome is Outcome.INTERRUPTED)
