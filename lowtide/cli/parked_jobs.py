"""Messages that were no jobs, as who sent them asks for them: by the id that they named, or their message's."""

from collections.abc import Collection
from datetime import UTC, datetime

from lambdas.adapters.parked import Parked, ParkedMessage
from lambdas.adapters.table import Table
from lambdas.domain.jobs.job_record import JobRecord
from lambdas.domain.jobs.jobs import JobState

EVER = datetime.min.replace(tzinfo=UTC)


def parked_jobs(table: Table, job_ids: Collection[str], sent_since: datetime = EVER) -> dict[str, JobRecord]:
    """By id, each in state `parked` with the reason of the message parked last; its pool is empty where none was named.

    Reads the whole list of records, so ask only about what the ledger does not have, and only of messages sent since
    then: a record stays when its job is sent anew."""
    wanted = set(job_ids)
    if not wanted:
        return {}
    found: dict[str, JobRecord] = {}
    for message in Parked(table).list():
        if message.job_id in wanted and message.sent_at >= sent_since:
            found.setdefault(message.job_id, _job(message, message.job_id))
    return found


def parked_job(table: Table, job_id: str) -> JobRecord | None:
    return parked_jobs(table, [job_id]).get(job_id)


def _job(message: ParkedMessage, job_id: str) -> JobRecord:
    """What a message asked for beside its pool is not read: it is no job for some reason or other."""
    return JobRecord(
        job_id=job_id,
        pool=message.pool or "",
        state=JobState.PARKED,
        slots=1,
        resources=None,
        priority=0,
        submitted_at=message.sent_at,
        queued_at=message.sent_at,
        content="",
        reason=message.reason,
    )
