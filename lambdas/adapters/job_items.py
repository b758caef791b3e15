"""How a job is stored: what changes (JOB), what was asked (SPEC), how each attempt ended (ATTEMPT), its queue entry.

A JOB item is small, since it is written at every change; a SPEC of up to 256 KiB is written once and read when the job
is claimed.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from lambdas.adapters import items, keys
from lambdas.adapters.attributes import Item
from lambdas.adapters.bill_items import tariff_from
from lambdas.adapters.flat import read, written
from lambdas.adapters.table import Table
from lambdas.domain.buying.bills import attempt_charge, charged_slots, end_of
from lambdas.domain.fleet.fleet import Instance, Lease
from lambdas.domain.instants import from_text, to_text
from lambdas.domain.jobs.job_record import Attempt, JobRecord, Release
from lambdas.domain.jobs.jobs import JobSpec, JobState, QueuedJob

ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.PARKED})
"""States that nothing follows: such a job is kept for a while, then goes by itself."""


def job_item(job: JobRecord, changed_at: datetime) -> Item:
    return {
        **written(job),
        **{"pk": keys.job(job.job_id), "sk": keys.JOB},
        **{"gpk": keys.jobs_of(job.pool), "gsk": keys.job_change(changed_at, job.job_id)},
    }


def job_from(item: Mapping[str, Any]) -> JobRecord:
    given: dict[str, Any] = {"resources": None}
    return JobRecord(**given | read(JobRecord, item))


def spec_item(spec: JobSpec) -> Item:
    text = json.dumps(spec.to_document(), separators=(",", ":"))
    return {"pk": keys.job(spec.job_id), "sk": keys.SPEC, "spec": text}


def spec_from(item: Mapping[str, Any]) -> JobSpec:
    return JobSpec.from_document(json.loads(item["spec"]))


def attempt_item(job_id: str, attempt: Attempt, kept: timedelta) -> Item:
    """Kept twice as long as an ended job: it must outlive its job, whose end it cannot know."""
    ended = attempt.ended_at or attempt.started_at
    return {
        **written(attempt),
        **{"pk": keys.job(job_id), "sk": keys.attempt(attempt.n), "expires_at": expiry(ended, kept * 2)},
    }


def attempt_from(item: Mapping[str, Any]) -> Attempt:
    given: dict[str, Any] = {
        **{"instance_type": None, "availability_zone": None, "lifecycle": None},
        **{"ended_at": None, "outcome": None},
    }
    return Attempt(**given | read(Attempt, item))


def release_op(table: Table, lease: Lease, n: int, reason: str, now: datetime, kept: timedelta) -> Item:
    """The operation that notes a lease given back. One item for each attempt, however often that is: a job that waits
    for S3 is given back every few seconds. Kept as long as an attempt."""
    return table.update_op(
        keys.job(lease.job_id),
        keys.release(n),
        "SET n = :n, instance_id = :instance, released_at = :now, why = :why, expires_at = :expires ADD times :one",
        values={
            **{":n": n, ":instance": lease.instance_id, ":now": to_text(now), ":why": reason},
            **{":expires": expiry(now, kept * 2), ":one": 1},
        },
    )


def release_from(item: Mapping[str, Any]) -> Release:
    return Release(
        n=int(item["n"]),
        times=int(item["times"]),
        instance_id=item["instance_id"],
        at=from_text(item["released_at"]),
        reason=item["why"],
    )


def attempt_of(lease: Lease, n: int, instance: Instance | None) -> Attempt:
    """The attempt that runs under a lease."""
    return Attempt(
        n=n,
        instance_id=lease.instance_id,
        instance_type=instance and instance.instance_type,
        availability_zone=instance and instance.zone,
        lifecycle=instance and instance.capacity_type.value,
        started_at=lease.claimed_at,
        ended_at=None,
        outcome=None,
    )


def with_cost(attempt: Attempt, lease: Lease, instance: Item, until: datetime) -> Attempt:
    """The attempt with what it has cost at that instant, by its instance's item."""
    of = items.instance_from(instance)
    if (tariff := tariff_from(instance)) is None:
        return attempt
    end = end_of(of, until)
    slots = charged_slots(lease, of.slots)
    if (charge := attempt_charge(tariff, slots=slots, of=of.slots, begin=lease.claimed_at, end=end)) is None:
        return attempt
    return replace(
        attempt, cost_usd=charge.usd, on_demand_cost_usd=charge.on_demand_usd, cost_estimated=charge.estimated
    )


def requeued(job: JobRecord, now: datetime) -> JobRecord:
    """The record of a job that waits again, in the place that it had."""
    return replace(job, state=JobState.QUEUED, queued_at=now, finished_at=None, reason=None, exit_code=None)


def entry_item(job: JobRecord) -> Item:
    """The queue entry of a job that waits."""
    return items.queue_item(job.pool, queued(job))


def queued(job: JobRecord) -> QueuedJob:
    """The same as the plan reads it."""
    return QueuedJob(
        job_id=job.job_id,
        slots=job.slots,
        resources=job.resources,
        priority=job.priority,
        submitted_at=job.submitted_at,
        queued_at=job.queued_at,
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


def entry_key(job: JobRecord) -> tuple[str, str]:
    place = keys.queue_entry(job.priority, job.submitted_at, job.job_id)
    return keys.queue(job.pool, keys.shard(job.job_id)), place


def expiry(ended_at: datetime, kept: timedelta) -> int:
    """The TTL attribute of what is kept for so long."""
    return int((ended_at + kept).timestamp())


def expire_spec_op(table: Table, job_id: str, at: int) -> Item:
    """The operation that lets an ended job's SPEC go with its JOB."""
    return table.update_op(keys.job(job_id), keys.SPEC, "SET expires_at = :at", values={":at": at})


def keep_spec_op(table: Table, job_id: str) -> Item:
    """The operation that keeps the SPEC of a job that waits again. It fails where the SPEC is gone."""
    return table.update_op(keys.job(job_id), keys.SPEC, "REMOVE expires_at", condition="attribute_exists(pk)")


def run_item(job: JobRecord, seconds: Decimal, ended_at: datetime, kept: timedelta) -> Item:
    """How much running time a job with a deadline took in all, for the next of its kind (recurrence.py)."""
    assert job.recurs_as is not None
    return {
        **{"pk": keys.runs_of(job.pool, job.recurs_as), "sk": keys.run(ended_at, job.job_id)},
        **{"seconds": str(seconds), "expires_at": expiry(ended_at, kept)},
    }
