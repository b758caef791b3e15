"""What instances and jobs have cost since a given instant, read from a deployment's table."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import islice

from lambdas.adapters import bill_items, items, job_items, keys
from lambdas.adapters.attributes import Item
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.table import Table
from lambdas.domain.buying.bills import Bill, Spent, bill_of, share_since
from lambdas.domain.fleet.fleet import Lease
from lambdas.domain.instants import to_text
from lambdas.domain.jobs.job_record import Attempt, JobRecord, Outcome
from lambdas.domain.jobs.jobs import JobSpec, JobState

_AT_ONCE = 25
"""Jobs that one call reads with what was asked of them: a BatchGetItem answers with 16 MB, a job has up to 256 KiB."""


def bills(table: Table, pools: Iterable[str], since: datetime, now: datetime) -> list[Bill]:
    """Of the instances of any pool that ended since then, and of these pools' that are there, as if they ended now."""
    there = [_so_far(item, leases, now) for pool in pools for item, leases in _instances(table, pool)]
    ended = [bill_items.bill_from(item) for item in table.query(keys.BILLS, since=to_text(since))]
    known = {bill.instance_id for bill in ended}
    return [*ended, *(bill for bill in there if bill.instance_id not in known and bill.ended_at > since)]


def _instances(table: Table, pool: str) -> Iterator[tuple[Item, list[Lease]]]:
    leases = [items.lease_from(item) for item in table.query(keys.pool(pool), prefix=keys.LEASE_PREFIX)]
    for item in table.query(keys.pool(pool), prefix=keys.INSTANCE_PREFIX):
        yield item, [lease for lease in leases if lease.instance_id == item["instance_id"]]


def _so_far(item: Item, leases: Sequence[Lease], now: datetime) -> Bill:
    tariff, counted = bill_items.tariff_from(item), bill_items.counted_from(item)
    return bill_of(items.instance_from(item), tariff, counted, now, leases)


def jobs(
    table: Table, ledger: Ledger, pools: Iterable[str], since: datetime, now: datetime
) -> Iterator[tuple[JobSpec, Spent]]:
    """What was asked, and what was spent on it since then, of every job that ran in these pools in that time."""
    for pool in pools:
        ids = iter(_changed(table, pool, since))
        while page := list(islice(ids, _AT_ONCE)):
            for job, spec in _read(table, page):
                if (spent := _spent_on(ledger, job, since, now)) is not None:
                    yield spec, spent


def _changed(table: Table, pool: str, since: datetime) -> list[str]:
    """Jobs that ended or ran again since then, and those that run."""
    listed = [item["job_id"] for item in table.query(keys.jobs_of(pool), index=True, since=to_text(since))]
    running = [item["job_id"] for item in table.query(keys.pool(pool), prefix=keys.LEASE_PREFIX)]
    return list(dict.fromkeys([*listed, *running]))


def _read(table: Table, job_ids: Sequence[str]) -> Iterator[tuple[JobRecord, JobSpec]]:
    wanted = [(keys.job(job_id), sk) for job_id in job_ids for sk in (keys.JOB, keys.SPEC)]
    found = {(item["pk"], item["sk"]): item for item in table.get_many(wanted)}
    for job_id in job_ids:
        job, spec = (found.get((keys.job(job_id), sk)) for sk in (keys.JOB, keys.SPEC))
        if job is not None and spec is not None:
            yield job_items.job_from(job), job_items.spec_from(spec)


def _spent_on(ledger: Ledger, job: JobRecord, since: datetime, now: datetime) -> Spent | None:
    """By the job's own sums where all of it lies in the period and has ended; else attempt by attempt. None: it did not
    run in that time."""
    if job.started_at is None:
        return None
    if job.state is not JobState.RUNNING and job.started_at >= since:
        return Spent(
            spent_usd=job.cost_usd,
            on_demand_usd=job.on_demand_cost_usd,
            interrupted_usd=job.interrupted_usd,
            estimated=int(job.cost_estimated),
        )
    within = [each for each in ledger.attempts(job, now) if each.ended_at is None or each.ended_at > since]
    return sum((_spent_in(attempt, since, now) for attempt in within), Spent()) if within else None


def _spent_in(attempt: Attempt, since: datetime, now: datetime) -> Spent:
    cost = attempt.cost_usd or Decimal(0)
    whole = Spent(
        spent_usd=cost,
        on_demand_usd=attempt.on_demand_cost_usd or cost,
        interrupted_usd=cost if attempt.outcome is Outcome.INTERRUPTED else Decimal(0),
        estimated=int(attempt.cost_estimated or attempt.cost_usd is None),
    )
    return whole.part(share_since(attempt.started_at, attempt.ended_at or now, since))
