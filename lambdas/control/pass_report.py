"""What a pass tells: its decision, kept where it says something new, one canonical log line, and metrics."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from botocore.exceptions import ClientError

from lambdas import names
from lambdas.adapters.decisions import Decisions
from lambdas.adapters.pool_table import Conclusion
from lambdas.adapters.table import Fault
from lambdas.control.outcomes import Outcome
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.instants import from_text
from lambdas.domain.plan.decision import Decision, Mark, is_new, mark_of
from lambdas.domain.settings import Settings

_log = logging.getLogger(__name__)

_OUTCOMES_TOLD = 50
"""Outcomes in a log line and in a stored decision; the rest is counted. Some 10 KB."""


class Metrics(Protocol):
    def put(
        self, name: str, value: float, unit: str = "Count", *, pool: str | None = None, reason: str | None = None
    ) -> None: ...

    def flush(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A decision, and what came of it."""

    snapshot: Snapshot
    outcomes: tuple[Outcome, ...]
    conclusion: Conclusion
    notes: tuple[str, ...]
    decided_at: datetime
    """The instant that the plan was made for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(Made):
    """A finished pass."""

    was_resting: bool
    superseded: bool
    began_at: datetime
    ended_at: datetime

    @property
    def resting(self) -> bool:
        return self.conclusion.due is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    decisions: Decisions
    metrics: Metrics
    settings: Settings

    def keep(self, made: Made, last: Mark | None) -> Mark | None:
        """Keep the decision where it says something new; the mark of what is kept then. Before the pass concludes: what
        it did is kept even if a later pass has begun. What cannot be kept is logged, and no reason to fail."""
        snapshot, conclusion = made.snapshot, made.conclusion
        mark = mark_of(snapshot, conclusion.summary, conclusion.reasons, made.decided_at)
        if not is_new(mark, last, acted=bool(made.outcomes), every=self.settings.look_again):
            return last
        try:
            self.decisions.put(_decision(made), kept=self.settings.decisions_kept)
        except (Fault, ClientError) as error:
            _log.warning("decision not kept", extra={"pool": snapshot.pool.name, "error": str(error)})
            return last
        return mark

    def tell(self, told: Told) -> None:
        self._log(told)
        self._measure(told)

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
        self.metrics.put(names.METRIC_INTERRUPTIONS, 0, pool=pool)  # who notes one adds to it


def _decision(made: Made) -> Decision:
    pool = made.snapshot.pool
    return Decision(
        pool=pool.name,
        epoch=made.snapshot.epoch,
        at=made.decided_at,
        pool_version=pool.version,
        actions=tuple(_documents(made.outcomes)),
        summary=made.conclusion.summary,
        reasons=made.conclusion.reasons,
        notes=made.notes,
        snapshot=made.snapshot,
    )


def _documents(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    told = [outcome.document() for outcome in outcomes[:_OUTCOMES_TOLD]]
    left = len(outcomes) - len(told)
    return [*told, {"action": "further", "detail": f"{left} more"}] if left else told
