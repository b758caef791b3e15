"""The job ledger: jobs in, lists out. What changes under a lease is in leases.py, what is no job in parked.py."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from itertools import islice

from lambdas.adapters import job_items, keys
from lambdas.adapters.attributes import Item
from lambdas.adapters.items import instance_from, lease_from, queued_from
from lambdas.adapters.job_queue import ranked_entries
from lambdas.adapters.leases import Leases
from lambdas.adapters.parked import Parked, ParkedMessage
from lambdas.adapters.pool_config import look_anew_op
from lambdas.adapters.table import TRANSACTION_LIMIT, Conflict, Table
from lambdas.domain.fleet.actions import ReturnJob
from lambdas.domain.instants import to_text
from lambdas.domain.jobs.job_body import message_body
from lambdas.domain.jobs.job_record import CANCELLED, Attempt, JobRecord, Release, tried_again
from lambdas.domain.jobs.jobs import JobSpec, JobState, QueuedJob, content_hash
from lambdas.domain.jobs.recurrence import LOOKED_AT, learned, recurs_as
from lambdas.domain.jobs.work import EstimateFrom

POSITION_MOST = 1_000
"""How far down a queue a position is counted."""
_PAGE = 50
"""Queue entries or listed jobs a call."""
_KEYS_A_CALL = 100
"""Keys a BatchGetItem (DynamoDB's limit)."""
TOGETHER_MOST = TRANSACTION_LIMIT // 3
"""Jobs that one transaction takes: each is three items."""
_UNKNOWN = "attribute_not_exists(pk) OR expires_at < :now"
"""There is no job of the id, or it is past its keeping."""


class Accepted(Enum):
    """What became of an accepted message."""

    NEW = "new"
    WAITING = "waiting"
    """It was in the ledger already, and is still queued."""
    KNOWN = "known"
    """It was in the ledger already, and runs or has ended."""
    OTHER = "other"
    """Its id belongs to a job with other content."""


class Ledger:
    """Jobs by id, a pool's queue and lists. Implements what a pass asks of the ledger too (control/reconcile.py)."""

    def __init__(self, table: Table, *, jobs_kept: timedelta) -> None:
        self._table = table
        self._leases = Leases(table, jobs_kept=jobs_kept)
        self._parked = Parked(table)
        self._kept = jobs_kept

    # --- in ---

    def accept(self, spec: JobSpec, submitted_at: datetime, now: datetime) -> Accepted:
        """Puts a job and its queue entry in one transaction; a job that is there already stays as it is, save a parked
        one of the same content, which waits again."""
        job = self._with_estimate(_new_record(spec, submitted_at))
        try:
            self._put(job, spec, now, _UNKNOWN, _unknown_values(now))
        except Conflict as conflict:
            return self._compared(conflict, job, spec, now)
        return Accepted.NEW

    def accept_new(self, jobs: Sequence[tuple[JobSpec, datetime]], now: datetime) -> None:
        """Puts 1 to TOGETHER_MOST jobs of different ids and their queue entries in one transaction; beside each, when
        it was submitted. Raises Conflict, and has put none, where any of the ids is there already."""
        operations: list[Item] = []
        for spec, submitted_at in jobs:
            job = self._with_estimate(_new_record(spec, submitted_at))
            operations += self._puts(job, spec, now, _UNKNOWN, _unknown_values(now))
        self._table.transact(operations)

    def _with_estimate(self, job: JobRecord) -> JobRecord:
        """A job with a deadline and no estimate has that of its kind's past, as far as the pool has one."""
        if job.recurs_as is None or job.estimated_seconds is not None:
            return job
        seconds = self.learned(job.pool, job.recurs_as)
        return replace(job, estimated_seconds=seconds, estimate_from=None if seconds is None else EstimateFrom.LEARNED)

    def learned(self, pool: str, recurs: str) -> Decimal | None:
        """Seconds that such a job takes, by the pool's last runs of it; None: it has none with a deadline."""
        runs = self._table.query(keys.runs_of(pool, recurs), newest_first=True, limit=LOOKED_AT)
        return learned([Decimal(run["seconds"]) for run in runs])

    def _put(self, job: JobRecord, spec: JobSpec, now: datetime, condition: str, values: Item) -> None:
        operations = self._puts(job, spec, now, condition, values)
        self._table.insist(lambda: self._table.transact(operations))

    def _puts(self, job: JobRecord, spec: JobSpec, now: datetime, condition: str, values: Item) -> list[Item]:
        named = {"#state": "state"} if "#state" in condition else None
        job_item = job_items.job_item(job, now)
        return [
            self._table.put_op(job_item, condition=condition, names=named, values=values, returning=True),
            self._table.put_op(job_items.spec_item(spec)),
            self._table.put_op(job_items.entry_item(job)),
        ]

    def _compared(self, conflict: Conflict, job: JobRecord, spec: JobSpec, now: datetime) -> Accepted:
        if not conflict.items or conflict.items[0] is None:
            raise conflict
        there = job_items.job_from(conflict.items[0])
        if there.content != job.content:
            return Accepted.OTHER
        if there.state == JobState.PARKED:
            return self._revive(there, spec, now)
        return Accepted.WAITING if there.state == JobState.QUEUED else Accepted.KNOWN

    def _revive(self, parked: JobRecord, spec: JobSpec, now: datetime) -> Accepted:
        """A parked job was sent again: it waits again, with the fence and the counts that it had."""
        job = job_items.requeued(parked, now)
        try:
            self._put(job, spec, now, "#state = :parked", {":parked": JobState.PARKED.value})
        except Conflict:
            return Accepted.WAITING  # another delivery of the same message was quicker
        return Accepted.NEW

    def return_job(self, action: ReturnJob, now: datetime) -> bool:
        """Ends a lease whose holder is gone or silent; see `Leases.take_back`."""
        return self._leases.take_back(
            action.job_id, action.instance_id, action.fence, action.why, now, renewed_at=action.renewed_at
        )

    def park_queued(self, pool: str, why: str, now: datetime) -> int:
        """Parks everything that waits in a pool's queue, and says how many jobs that were. May be repeated."""
        return sum(self._park_job(entry.job_id, why, now) for entry in self._ranked(pool))

    def _park_job(self, job_id: str, why: str, now: datetime) -> bool:
        job, spec = self.job(job_id), self.spec(job_id)
        if job is None or spec is None:
            return False
        body = message_body(spec)
        message = ParkedMessage(
            parked_id=f"{to_text(now)}#{job_id}",
            job_id=job_id,
            pool=job.pool,
            field="pool",
            reason=why,
            sent_at=job.submitted_at,
            parked_at=now,
            body=body,
            size=len(body.encode()),
        )
        try:
            self._table.insist(lambda: self._table.transact(self._parking(job, message, now)))
        except Conflict:
            return False  # claimed, or parked by somebody else, since the queue was read
        return True

    def fail_queued(self, job_id: str, why: str, now: datetime) -> bool:
        """A job that waits has failed; False: it waits no more."""
        return self._end_queued(self.job(job_id), JobState.FAILED, why, now)

    def _end_queued(self, job: JobRecord | None, state: JobState, why: str, now: datetime) -> bool:
        if job is None or job.state != JobState.QUEUED:
            return False
        try:
            self._table.insist(lambda: self._table.transact(self._ending(job, state, why, now)))
        except Conflict:
            return False  # claimed since it was read
        return True

    def _parking(self, job: JobRecord, message: ParkedMessage, now: datetime) -> list[Item]:
        return [*self._ending(job, JobState.PARKED, message.reason, now), *self._parked.put_ops(message)]

    def _ending(self, job: JobRecord, state: JobState, why: str, now: datetime) -> list[Item]:
        """The operations that take a waiting job out of its queue for good."""
        expiry = job_items.expiry(now, self._kept)
        return [
            self._table.update_op(
                keys.job(job.job_id),
                keys.JOB,
                "SET #state = :ended, reason = :why, finished_at = :now, gsk = :gsk, expires_at = :expiry",
                condition="#state = :queued",
                names={"#state": "state"},
                values={
                    **{":ended": state.value, ":queued": JobState.QUEUED.value, ":why": why},
                    **{":now": to_text(now), ":gsk": keys.job_change(now, job.job_id), ":expiry": expiry},
                },
            ),
            job_items.expire_spec_op(self._table, job.job_id, expiry),
            self._table.delete_op(*job_items.entry_key(job)),
        ]

    # --- a person's word ---

    def cancel(self, job: JobRecord, now: datetime) -> bool:
        """Ends a job that waits or runs; False: it has moved on since it was read."""
        if job.state == JobState.RUNNING:
            return self._leases.cancel(job, now)
        return self._end_queued(job, JobState.CANCELLED, CANCELLED, now)

    def retry(self, job: JobRecord, attempts: int, now: datetime) -> None:
        """Has a job that failed or was cancelled wait again under its id, in the place that it had, with `attempts`
        more tries. Raises Conflict where it has moved on since it was read, or what was asked is not kept any more."""
        again = job_items.requeued(tried_again(job, attempts), now)
        self._table.insist(
            lambda: self._table.transact(
                [
                    self._table.put_op(
                        job_items.job_item(again, now),
                        condition="#state = :state AND fence = :fence",
                        names={"#state": "state"},
                        values={":state": job.state.value, ":fence": job.fence},
                    ),
                    job_items.keep_spec_op(self._table, job.job_id),
                    self._table.put_op(job_items.entry_item(again)),
                    look_anew_op(self._table, job.pool, now),
                ]
            )
        )

    # --- out ---

    def found(self, job_ids: Iterable[str]) -> dict[str, JobRecord]:
        """Those of the jobs that the ledger has, by id; one call per hundred."""
        wanted = iter(dict.fromkeys(job_ids))
        found: dict[str, JobRecord] = {}
        while page := list(islice(wanted, _KEYS_A_CALL)):
            read = map(job_items.job_from, self._table.get_many([(keys.job(j), keys.JOB) for j in page]))
            found.update({job.job_id: job for job in read})
        return found

    def job(self, job_id: str) -> JobRecord | None:
        item = self._table.get(keys.job(job_id), keys.JOB)
        return None if item is None else job_items.job_from(item)

    def spec(self, job_id: str) -> JobSpec | None:
        item = self._table.get(keys.job(job_id), keys.SPEC)
        return None if item is None else job_items.spec_from(item)

    def attempts(self, job: JobRecord, now: datetime | None = None) -> list[Attempt]:
        """Attempts in order, the one that runs last, with what it has cost so far where it is said when that is."""
        ended = self._table.query(keys.job(job.job_id), prefix=keys.ATTEMPT_PREFIX)
        running = self._running_attempt(job, now)
        return [*map(job_items.attempt_from, ended), *([] if running is None else [running])]

    def releases(self, job: JobRecord) -> list[Release]:
        """The attempts that could not begin at first, in order; few jobs have any."""
        return [job_items.release_from(i) for i in self._table.query(keys.job(job.job_id), prefix=keys.RELEASE_PREFIX)]

    def _running_attempt(self, job: JobRecord, now: datetime | None) -> Attempt | None:
        if job.state != JobState.RUNNING or job.instance_id is None:
            return None
        lease_key, instance_key = keys.lease(job.instance_id, job.job_id), keys.instance(job.instance_id)
        pool = keys.pool(job.pool)
        found = {item["sk"]: item for item in self._table.get_many([(pool, lease_key), (pool, instance_key)])}
        if lease_key not in found:
            return None  # it ended since the job was read
        lease = lease_from(found[lease_key])
        if (instance := found.get(instance_key)) is None:
            return job_items.attempt_of(lease, job.attempts, None)
        attempt = job_items.attempt_of(lease, job.attempts, instance_from(instance))
        return attempt if now is None else job_items.with_cost(attempt, lease, instance, now)

    def jobs(self, pool: str, *, state: JobState | None = None) -> Iterator[JobRecord]:
        """A pool's jobs, last changed first, read page by page. Which jobs there are comes from the index and may be a
        second old; what is said of each is current."""
        listed = (item["job_id"] for item in self._listed(pool) if state is None or item["state"] == state)
        while page := list(islice(listed, _PAGE)):
            found = {item["job_id"]: item for item in self._table.get_many([(keys.job(j), keys.JOB) for j in page])}
            jobs = (job_items.job_from(found[job_id]) for job_id in page if job_id in found)
            yield from (job for job in jobs if state is None or job.state == state)

    def _listed(self, pool: str) -> Iterator[Item]:
        return self._table.query(keys.jobs_of(pool), index=True, newest_first=True, page=_PAGE)

    def queue_head(self, pool: str, most: int) -> tuple[tuple[QueuedJob, ...], bool]:
        """The first `most` waiting jobs in rank order, and whether that is the whole queue."""
        ranked = self._ranked(pool)
        head = tuple(islice(ranked, most))
        return head, next(ranked, None) is None

    def position(self, job: JobRecord) -> int | None:
        """A queued job's place in its pool's queue, 1 for the next; counted up to POSITION_MOST. None: not queued."""
        if job.state != JobState.QUEUED:
            return None
        _, place = job_items.entry_key(job)
        shards = (keys.queue(job.pool, number) for number in range(keys.QUEUE_SHARDS))
        return min(POSITION_MOST, sum(self._table.count(shard, upto=place, most=POSITION_MOST) for shard in shards))

    def _ranked(self, pool: str) -> Iterator[QueuedJob]:
        return map(queued_from, ranked_entries(self._table, pool))


def _unknown_values(now: datetime) -> Item:
    return {":now": int(now.timestamp())}


def _new_record(spec: JobSpec, submitted_at: datetime) -> JobRecord:
    asked = None if spec.estimated_duration is None else Decimal(str(spec.estimated_duration.total_seconds()))
    return JobRecord(
        job_id=spec.job_id,
        pool=spec.pool,
        state=JobState.QUEUED,
        slots=spec.slots,
        resources=spec.resources,
        priority=spec.priority,
        submitted_at=submitted_at,
        queued_at=submitted_at,
        content=content_hash(spec),
        max_attempts=spec.max_attempts,
        max_interruptions=spec.max_interruptions,
        on_demand=spec.on_demand,
        spot_max_price=spec.spot_max_price,
        deadline=spec.deadline,
        estimated_seconds=asked,
        estimate_from=None if asked is None else EstimateFrom.ASKED,
        recurs_as=None if spec.deadline is None else recurs_as(spec),
    )
