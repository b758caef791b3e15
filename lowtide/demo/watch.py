"""What the demo sees of the deployment from outside, once a second: the table's own numbers and the alarms."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lambdas.adapters import keys
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.table import Table
from lambdas.domain.jobs.job_record import JobRecord
from lambdas.domain.jobs.jobs import JobState

ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.PARKED})


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMoment:
    """One pool at one moment, as its last pass left it."""

    name: str
    summary: Mapping[str, Any]
    reasons: Sequence[Mapping[str, Any]]

    def number(self, key: str) -> int:
        return int(self.summary.get(key, 0))

    def headline(self) -> Mapping[str, Any] | None:
        return self.reasons[0] if self.reasons else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    at: datetime
    pools: Sequence[PoolMoment]
    jobs: Sequence[JobRecord]
    alarms: Mapping[str, str]
    """Alarm name -> `OK`, `ALARM` or `INSUFFICIENT_DATA`."""

    def states(self) -> Counter[JobState]:
        return Counter(job.state for job in self.jobs)

    def ended(self) -> int:
        return sum(job.state in ENDED for job in self.jobs)

    def interruptions(self) -> int:
        return sum(job.interruptions for job in self.jobs)


@dataclass(slots=True)
class Interval:
    """A stretch of time in which a pool had less than it wanted, for one class of reason."""

    pool: str
    reason_class: str
    code: str
    message: str
    remedy: str
    since: datetime
    until: datetime
    most_missing: int


@dataclass(slots=True)
class Record:
    """What the moments add up to: intervals of missing capacity, and what the alarms did."""

    intervals: list[Interval] = field(default_factory=list[Interval])
    alarms: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Alarm name -> its states in order, repeats left out."""

    def add(self, moment: Moment) -> None:
        for name, state in moment.alarms.items():
            seen = self.alarms.setdefault(name, [])
            if not seen or seen[-1] != state:
                seen.append(state)
        for pool in moment.pools:
            if pool.number("unfulfilled") > 0 and (reason := pool.headline()) is not None:
                self._extend(pool, reason, moment.at)

    def _extend(self, pool: PoolMoment, reason: Mapping[str, Any], at: datetime) -> None:
        last = next((i for i in reversed(self.intervals) if i.pool == pool.name), None)
        gap = last and (at - last.until).total_seconds()
        if last is not None and gap is not None and gap < 3 and last.reason_class == reason["class"]:
            last.until, last.most_missing = at, max(last.most_missing, pool.number("unfulfilled"))
            last.message, last.remedy = str(reason["message"]), str(reason["remedy"])
            return
        self.intervals.append(
            Interval(
                pool=pool.name,
                reason_class=str(reason["class"]),
                code=str(reason["code"]),
                message=str(reason["message"]),
                remedy=str(reason["remedy"]),
                since=at,
                until=at,
                most_missing=pool.number("unfulfilled"),
            )
        )


def look(table: Table, ledger: Ledger, cloudwatch: Any, pools: Sequence[str], stack: str, now: datetime) -> Moment:
    """The deployment as it is now: one read a pool, one list of its jobs, one of the alarms."""
    alarms = cloudwatch.describe_alarms(AlarmNamePrefix=stack)["MetricAlarms"]
    return Moment(
        at=now,
        pools=[_pool(table, name) for name in pools],
        jobs=[job for name in pools for job in ledger.jobs(name)],
        alarms={alarm["AlarmName"]: alarm["StateValue"] for alarm in alarms},
    )


def _pool(table: Table, name: str) -> PoolMoment:
    state = table.get(keys.pool(name), keys.STATE) or {}
    return PoolMoment(name=name, summary=state.get("summary", {}), reasons=state.get("reasons", []))
