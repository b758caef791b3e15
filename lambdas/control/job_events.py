"""What the table's stream says of jobs and of pools' shortages, told to EventBridge: one event for each change of a
job's state, and for each turn of a shortage (shortage_news.py).

The stream holds every change that was written, whoever wrote it, and is read until it was told: no event is lost when a
function dies, some come twice. A consumer tells repetitions by job, state and attempt; by pool, since, status and code.
Ends of jobs are counted as metrics once they were told.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from lambdas import names
from lambdas.adapters.attributes import decode
from lambdas.adapters.event_bus import ENTRIES_A_CALL, Event
from lambdas.adapters.faults import Fault
from lambdas.adapters.job_items import job_from
from lambdas.adapters.metrics import Metrics
from lambdas.control.shortage_news import shortage_news
from lambdas.domain.instants import to_text
from lambdas.domain.jobs.job_record import JobRecord
from lambdas.domain.jobs.jobs import JobState

_log = logging.getLogger(__name__)


class Bus(Protocol):
    """What is asked of EventBridge (adapters/event_bus.py)."""

    def put(self, events: Sequence[Event]) -> list[int]: ...


_ENDS = {JobState.SUCCEEDED.value: names.METRIC_SUCCEEDED, JobState.FAILED.value: names.METRIC_FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Teller:
    bus: Bus
    metrics: Metrics
    stack: str

    def tell(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Lambda's partial batch response: from the first record that was not told on, the stream is read again."""
        changes = list(_changes(records, self.stack))
        for start in range(0, len(changes), ENTRIES_A_CALL):
            page = changes[start : start + ENTRIES_A_CALL]
            try:
                failed = self.bus.put([event for _, event in page])
            except Fault as fault:
                _log.warning("events not told", extra={"error": str(fault)})
                failed = [0]
            if failed:
                self._count(event for _, event in page[: min(failed)])
                return {"batchItemFailures": [{"itemIdentifier": page[min(failed)][0]}]}
            self._count(event for _, event in page)
        _log.info("events", extra={"records": len(records), "told": len(changes)})
        return {"batchItemFailures": []}

    def _count(self, told: Iterable[Event]) -> None:
        for event in told:
            if metric := _ENDS.get(event.detail.get("state", "")):
                self.metrics.put(metric, 1)


def _changes(records: Sequence[Mapping[str, Any]], stack: str) -> Iterator[tuple[str, Event]]:
    """(sequence number, event) of every record that says something new."""
    for record in records:
        told = record["dynamodb"]
        of_a_pool = told["Keys"][names.TABLE_SK]["S"] == names.ITEM_POOL_STATE
        event = _shortage_event(record, stack) if of_a_pool else _job_event(told, stack)
        if event is not None:
            yield told["SequenceNumber"], event


def _shortage_event(record: Mapping[str, Any], stack: str) -> Event | None:
    news = shortage_news(record, stack)
    return news and Event(detail_type=names.EVENT_POOL_SHORTAGE, detail=news.detail(), at=news.at)


def _job_event(told: Mapping[str, Any], stack: str) -> Event | None:
    """Of a record that changes a job's state, or begins another attempt of it."""
    if "NewImage" not in told:
        return None
    new = job_from(decode(told["NewImage"]))
    old = job_from(decode(told["OldImage"])) if "OldImage" in told else None
    if old is not None and (old.state, old.fence) == (new.state, new.fence):
        return None
    at = datetime.fromtimestamp(float(told["ApproximateCreationDateTime"]), tz=UTC)
    return Event(detail_type=names.EVENT_JOB_STATE, detail=_detail(new, old, stack), at=at)


def _detail(new: JobRecord, old: JobRecord | None, stack: str) -> dict[str, Any]:
    """Nothing that the job was given or wrote: no command, no variables, no last words of its output."""
    return {
        **{"stack": stack, "job_id": new.job_id, "pool": new.pool},
        **{"state": new.state.value, "previous_state": old and old.state.value},
        **{"attempt": new.attempts, "instance_id": new.instance_id, "exit_code": new.exit_code},
        **{"interruptions": new.interruptions, "failures": new.failures, "submitted_at": to_text(new.submitted_at)},
        "started_at": None if new.started_at is None else to_text(new.started_at),
        "finished_at": None if new.finished_at is None else to_text(new.finished_at),
    }
