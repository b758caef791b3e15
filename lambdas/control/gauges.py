"""What every tick tells of the stack in numbers (contract section 6), from what its pools' last passes concluded.

A pool's own gauges are told by its passes (pass_report.py).
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from lambdas import names
from lambdas.adapters.metrics import Metrics
from lambdas.domain.instants import from_text

Summary = Mapping[str, Any]
"""As a pass stores it (conclusion.py): `{"desired": 2, "running": 1, "launching": 0, "draining": 0, "idle": 0,
"unfulfilled": 1, "unfulfilled_alarm_at": instant, "queued_jobs": 3, "running_jobs": 1, "oldest_queued_at": instant,
"blocked": false, "hourly_cost_usd": "0.35", "on_demand_hourly_cost_usd": "0.12",
"on_demand_equivalent_hourly_usd": "0.98", "price_of_limit": "0.83", "reason": {"class": "capacity", ...}}`. What is
absent counts as nothing."""

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
    (names.METRIC_EQUIVALENT_HOURLY_COST, "on_demand_equivalent_hourly_usd"),
)
_COUNTED = (
    *(names.METRIC_INTERRUPTIONS, names.METRIC_LAUNCHED, names.METRIC_TERMINATED, names.METRIC_LAUNCH_FAILURES),
    *(names.METRIC_SUCCEEDED, names.METRIC_FAILED),
)
"""What others add to as it happens; read as sums, which the zeros here leave as they are."""


def publish_totals(metrics: Metrics, summaries: Collection[Summary], now: datetime) -> None:
    """The stack's gauges, summed over its pools, and a zero for what is counted elsewhere, so that every metric of the
    contract is there every minute. Zeros without any pool. What is unfulfilled also by the class of each
    pool's first reason, and the price by its limit where one is known: both only while there is something to say."""
    for metric, key in _COUNTS:
        metrics.put(metric, sum(_number(summary, key) for summary in summaries))
    for metric in _COUNTED:
        metrics.put(metric, 0)
    oldest = max((_oldest_age(summary, now) for summary in summaries), default=0.0)
    metrics.put(names.METRIC_OLDEST_QUEUED_AGE, oldest, "Seconds")
    for metric, key in _COSTS:
        metrics.put(metric, sum(_number(summary, key) for summary in summaries), "None")
    for reason_class, missing in _unfulfilled_by_class(summaries).items():
        metrics.put(names.METRIC_UNFULFILLED, missing, reason=reason_class)
    shares = [_number(summary, "price_of_limit") for summary in summaries if "price_of_limit" in summary]
    if shares:
        metrics.put(names.METRIC_PRICE_OF_LIMIT, 100 * max(shares), "Percent")


def publish_for_alarms(metrics: Metrics, active: Iterable[Summary], *, parked: int, now: datetime) -> None:
    """What alarms read, from the pools that are not at rest; zeros included, whether anything goes on or not."""
    told = list(active)
    metrics.put(names.METRIC_UNFULFILLED_TOO_LONG, sum(_unfulfilled_too_long(summary, now) for summary in told))
    metrics.put(names.METRIC_BLOCKED, sum(bool(summary.get("blocked")) for summary in told))
    metrics.put(names.METRIC_PARKED, parked)
    metrics.put(names.METRIC_UNKNOWN_ERRORS, 0)  # a pass that meets one adds to it


def _unfulfilled_by_class(summaries: Collection[Summary]) -> Mapping[str, Decimal]:
    """Of pools that miss instances; each pool counts under the class of the reason to act on."""
    found: dict[str, Decimal] = {}
    for summary in summaries:
        missing, reason = _number(summary, "unfulfilled"), summary.get("reason")
        if missing and reason is not None:
            found[reason["class"]] = found.get(reason["class"], Decimal()) + missing
    return found


def _unfulfilled_too_long(summary: Summary, now: datetime) -> bool:
    """Whether the pool misses instances for at least as long as its owner tolerates."""
    alarm_at = summary.get("unfulfilled_alarm_at")
    return bool(summary.get("unfulfilled")) and alarm_at is not None and from_text(alarm_at) <= now


def _number(summary: Summary, key: str) -> Decimal:
    value = summary.get(key)
    return Decimal(0) if value is None else Decimal(str(value))


def _oldest_age(summary: Summary, now: datetime) -> float:
    oldest = summary.get("oldest_queued_at")
    return 0.0 if oldest is None else max(0.0, (now - from_text(oldest)).total_seconds())
