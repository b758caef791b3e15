"""What a pass tells: one canonical log line, metrics, and a stored decision when something was done."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from lambdas import names
from lambdas.adapters.items import reason_document
from lambdas.adapters.pool_table import Conclusion, PoolTable
from lambdas.control.outcomes import Outcome
from lambdas.domain.instants import from_text
from lambdas.domain.settings import Settings
from lambdas.domain.snapshot import Snapshot

_log = logging.getLogger(__name__)

_OUTCOMES_TOLD = 50
"""Outcomes in a log line and in a stored decision; the rest is counted. Some 10 KB."""


class Metrics(Protocol):
    def put(
        self, name: str, value: float, unit: str = "Count", *, pool: str | None = None, reason: str | None = None
    ) -> None: ...

    def flush(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A finished pass."""

    snapshot: Snapshot
    outcomes: tuple[Outcome, ...]
    conclusion: Conclusion
    notes: tuple[str, ...]
    was_resting: bool
    superseded: bool
    began_at: datetime
    ended_at: datetime

    @property
    def resting(self) -> bool:
        return self.conclusion.due is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    pools: PoolTable
    metrics: Metrics
    settings: Settings

    def tell(self, told: Told) -> None:
        self._log(told)
        self._measure(told)
        if told.outcomes and not told.superseded:
            self._store(told)

    def _log(self, told: Told) -> None:
        snapshot = told.snapshot
        counts = {"instances": len(snapshot.instances), "leases": len(snapshot.leases), "marks": len(snapshot.marks)}
        _log.info(
            "pass",
            extra={
                **{"pool": snapshot.pool.name, "epoch": snapshot.epoch, "pool_version": snapshot.pool.version},
                "read": {**counts, "intentions": len(snapshot.intentions), "queue": len(snapshot.queue)},
                "summary": dict(told.conclusion.summary),
                "actions": _documents(told.outcomes),
                "due": told.conclusion.due and told.conclusion.due.isoformat(),
                "notes": list(told.notes),
                "superseded": told.superseded,
                "duration_ms": round((told.ended_at - told.began_at) / timedelta(milliseconds=1)),
            },
        )

    def _measure(self, told: Told) -> None:
        for outcome in told.outcomes:
            self._measure_outcome(outcome)
        if not told.superseded and not (told.was_resting and told.resting):
            self._measure_pool(told)

    def _measure_outcome(self, outcome: Outcome) -> None:
        put = self.metrics.put
        if outcome.launched:
            put(names.METRIC_LAUNCHED, len(outcome.launched))
        if outcome.ended:
            put(names.METRIC_TERMINATED, len(outcome.ended))
        if outcome.refused_classes:
            put(names.METRIC_LAUNCH_FAILURES, 1)
        for reason_class in outcome.refused_classes:
            put(names.METRIC_LAUNCH_FAILURES, 1, reason=reason_class)
        if outcome.unknown_codes:
            put(names.METRIC_UNKNOWN_ERRORS, len(outcome.unknown_codes))

    def _measure_pool(self, told: Told) -> None:
        """While the pool is not at rest, and once more when it comes to rest, so that no graph ends above zero."""
        summary, pool = told.conclusion.summary, told.snapshot.pool.name
        for metric, field in (
            (names.METRIC_DESIRED, "desired"),
            (names.METRIC_RUNNING, "running"),
            (names.METRIC_LAUNCHING, "launching"),
            (names.METRIC_UNFULFILLED, "unfulfilled"),
            (names.METRIC_QUEUED_JOBS, "queued_jobs"),
            (names.METRIC_RUNNING_JOBS, "running_jobs"),
        ):
            self.metrics.put(metric, summary[field], pool=pool)
        oldest = summary.get("oldest_queued_at")
        age = (told.ended_at - from_text(oldest)).total_seconds() if oldest else 0
        self.metrics.put(names.METRIC_OLDEST_QUEUED_AGE, max(0, age), "Seconds", pool=pool)
        if told.resting:
            self.metrics.put(names.METRIC_INTERRUPTIONS, 0, pool=pool)

    def _store(self, told: Told) -> None:
        conclusion = told.conclusion
        self.pools.put_decision(
            told.snapshot.pool.name,
            told.ended_at,
            told.snapshot.epoch,
            told.ended_at + self.settings.decisions_kept,
            {
                **{"pool_version": told.snapshot.pool.version, "actions": _documents(told.outcomes)},
                **{"summary": dict(conclusion.summary), "notes": list(told.notes)},
                "reasons": [reason_document(reason) for reason in conclusion.reasons],
            },
        )


def _documents(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    told = [outcome.document() for outcome in outcomes[:_OUTCOMES_TOLD]]
    left = len(outcomes) - len(told)
    return [*told, {"action": "further", "detail": f"{left} more"}] if left else told
