"""What every tick tells of the pools in numbers (contract section 6), from what their last passes concluded."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from lambdas import names
from lambdas.adapters.metrics import Metrics
from lambdas.domain.instants import from_text
from lambdas.domain.reasons import ReasonClass

Summary = Mapping[str, Any]
"""As a pass stores it beside its conclusion: `{"desired": 2, "running": 1, "launching": 0, "draining": 0, "idle": 0,
"unfulfilled": 1, "unfulfilled_since": instant, "unfulfilled_alarm_seconds": 600, "queued_jobs": 3, "running_jobs": 1,
"oldest_queued_at": instant, "headline": "price", "hourly_cost_usd": "0.35", "on_demand_hourly_cost_usd": "0.98"}`.
What is absent counts as nothing."""

_COUNTS = (
    (names.METRIC_DESIRED, "desired"),
    (names.METRIC_RUNNING, "running"),
    (names.METRIC_LAUNCHING, "launching"),
    (names.METRIC_UNFULFILLED, "unfulfilled"),
    (names.METRIC_QUEUED_JOBS, "queued_jobs"),
    (names.METRIC_RUNNING_JOBS, "running_jobs"),
)
_COSTS = (
    (names.METRIC_HOURLY_COST, "hourly_cost_usd"),
    (names.METRIC_ON_DEMAND_HOURLY_COST, "on_demand_hourly_cost_usd"),
)
_BLOCKED = {ReasonClass.PERMISSION, ReasonClass.QUOTA, ReasonClass.CONFIGURATION}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    """The pools that a tick tells of; none is in two of these."""

    active: Mapping[str, Summary]
    """Not at rest."""
    closing: Mapping[str, Summary]
    """At rest now and active a tick ago: they get one closing value."""
    resting: Mapping[str, Summary]
    """At rest with instances: only the stack's totals count them."""


def publish(metrics: Metrics, pools: Pools, *, parked: int, now: datetime) -> None:
    """Totals while anything goes on, each active pool, and always what alarms read, zeros included."""
    shown = {**pools.active, **pools.closing}
    everything = [*shown.values(), *pools.resting.values()]
    if everything:
        _publish_totals(metrics, everything, now)
    for pool, summary in shown.items():
        _publish_pool(metrics, pool, summary, now)
    metrics.put(names.METRIC_UNFULFILLED_TOO_LONG, count_unfulfilled_too_long(pools.active.values(), now))
    metrics.put(names.METRIC_BLOCKED, sum(summary.get("headline") in _BLOCKED for summary in pools.active.values()))
    metrics.put(names.METRIC_PARKED, parked)
    metrics.put(names.METRIC_UNKNOWN_ERRORS, 0)  # a pass that meets one adds to it


def count_unfulfilled_too_long(summaries: Iterable[Summary], now: datetime) -> int:
    """Pools that miss instances for at least as long as their owner tolerates."""
    return sum(_unfulfilled_too_long(summary, now) for summary in summaries)


def _unfulfilled_too_long(summary: Summary, now: datetime) -> bool:
    since, seconds = summary.get("unfulfilled_since"), summary.get("unfulfilled_alarm_seconds")
    if since is None or seconds is None or not summary.get("unfulfilled"):
        return False
    return now - from_text(since) >= timedelta(seconds=float(seconds))


def _publish_totals(metrics: Metrics, summaries: Collection[Summary], now: datetime) -> None:
    for metric, key in _COUNTS:
        metrics.put(metric, sum(_number(summary, key) for summary in summaries))
    metrics.put(names.METRIC_OLDEST_QUEUED_AGE, max(_oldest_age(summary, now) for summary in summaries), "Seconds")
    for metric, key in _COSTS:
        metrics.put(metric, sum(_number(summary, key) for summary in summaries), "None")


def _publish_pool(metrics: Metrics, pool: str, summary: Summary, now: datetime) -> None:
    for metric, key in _COUNTS:
        metrics.put(metric, _number(summary, key), pool=pool)
    metrics.put(names.METRIC_OLDEST_QUEUED_AGE, _oldest_age(summary, now), "Seconds", pool=pool)


def _number(summary: Summary, key: str) -> Decimal:
    value = summary.get(key)
    return Decimal(0) if value is None else Decimal(str(value))


def _oldest_age(summary: Summary, now: datetime) -> float:
    oldest = summary.get("oldest_queued_at")
    return 0.0 if oldest is None else max(0.0, (now - from_text(oldest)).total_seconds())
