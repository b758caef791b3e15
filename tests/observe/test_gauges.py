"""What the stack's totals say beside sums."""

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from lambdas import names
from lambdas.adapters.metrics import Metrics
from lambdas.control.gauges import publish_totals

NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


def told(*summaries: Mapping[str, Any]) -> dict[tuple[str, str | None], float]:
    """By metric and reason."""
    out = io.StringIO()
    metrics = Metrics("Lowtide", out, now=lambda: NOW)
    publish_totals(metrics, summaries, NOW)
    metrics.flush()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    return {
        (metric["Name"], line.get(names.DIMENSION_REASON)): line[metric["Name"]][0]
        for line in lines
        for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]
    }


def test_what_is_unfulfilled_is_told_by_the_class_of_each_pools_first_reason() -> None:
    found = told(
        {"unfulfilled": 2, "reason": {"class": "capacity"}},
        {"unfulfilled": 1, "reason": {"class": "capacity"}},
        {"unfulfilled": 4, "reason": {"class": "price"}},
        {"unfulfilled": 0, "reason": {"class": "starting"}},
    )
    assert {reason: value for (name, reason), value in found.items() if name == names.METRIC_UNFULFILLED} == {
        None: 7,
        "capacity": 3,
        "price": 4,
    }


def test_the_price_by_the_limit_is_the_pools_where_it_is_highest() -> None:
    assert told({"price_of_limit": "0.4"}, {"price_of_limit": "1.25"}, {})[names.METRIC_PRICE_OF_LIMIT, None] == 125


def test_where_no_price_is_known_nothing_is_said_of_it() -> None:
    assert (names.METRIC_PRICE_OF_LIMIT, None) not in told({"desired": 1})


def test_every_metric_that_the_contract_names_is_there_although_nothing_happened() -> None:
    names_told = {name for name, reason in told({"desired": 1}) if reason is None}
    counted = {"Interruptions", "InstancesLaunched", "InstancesTerminated", "LaunchFailures"}
    ended = {"JobsSucceeded", "JobsFailed"}
    gauges = {"DesiredInstances", "RunningInstances", "LaunchingInstances", "UnfulfilledInstances"}
    jobs = {"QueuedJobs", "RunningJobs", "OldestQueuedJobAge"}
    assert counted | ended | gauges | jobs | {"HourlyCost", "OnDemandHourlyCost"} <= names_told


def test_what_instances_would_cost_on_demand_is_summed() -> None:
    found = told({"on_demand_equivalent_hourly_usd": "0.5"}, {"on_demand_equivalent_hourly_usd": "1"})
    assert found[names.METRIC_EQUIVALENT_HOURLY_COST, None] == 1.5
