"""Metrics are lines that CloudWatch finds."""

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from lambdas.adapters.metrics import Metrics

NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def metrics(out: io.StringIO) -> Metrics:
    return Metrics("Lowtide", out, now=lambda: NOW)


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_embedded_metric_format(metrics: Metrics, out: io.StringIO) -> None:
    metrics.put("TicksCompleted", 1)
    metrics.flush()
    assert lines(out) == [
        {
            "_aws": {
                "Timestamp": 1795446000000,
                "CloudWatchMetrics": [
                    {
                        "Namespace": "Lowtide",
                        "Dimensions": [["Stack"]],
                        "Metrics": [{"Name": "TicksCompleted", "Unit": "Count"}],
                    }
                ],
            },
            "Stack": "Lowtide",
            "TicksCompleted": [1],
        }
    ]


def test_each_set_of_dimensions_is_a_line(metrics: Metrics, out: io.StringIO) -> None:
    metrics.put("LaunchFailures", 1)
    metrics.put("LaunchFailures", 1, reason="price")
    metrics.put("Interruptions", 1, pool="gpu")
    metrics.flush()
    found = {tuple(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0]): line for line in lines(out)}
    assert set(found) == {("Stack",), ("Stack", "Reason"), ("Stack", "Pool")}
    assert found["Stack", "Reason"]["Reason"] == "price"
    assert found["Stack", "Pool"]["Pool"] == "gpu"


def test_repeated_puts_are_separate_samples(metrics: Metrics, out: io.StringIO) -> None:
    metrics.put("Interruptions", 1)
    metrics.put("Interruptions", 2)
    metrics.flush()
    assert lines(out)[0]["Interruptions"] == [1, 2]


def test_no_line_has_more_values_of_a_metric_than_cloudwatch_takes(metrics: Metrics, out: io.StringIO) -> None:
    for value in range(250):
        metrics.put("JobsSucceeded", value)
    metrics.put("JobsFailed", 1)
    metrics.flush()
    written = lines(out)
    assert [len(line["JobsSucceeded"]) for line in written] == [100, 100, 50]
    assert [value for line in written for value in line["JobsSucceeded"]] == list(range(250))
    assert [line.get("JobsFailed") for line in written] == [[1], None, None]


def test_money_is_a_number_without_a_unit(metrics: Metrics, out: io.StringIO) -> None:
    metrics.put("HourlyCost", Decimal("0.35"), "None")
    metrics.flush()
    assert lines(out)[0]["HourlyCost"] == [0.35]
    assert lines(out)[0]["_aws"]["CloudWatchMetrics"][0]["Metrics"] == [{"Name": "HourlyCost", "Unit": "None"}]


def test_a_flush_forgets_what_it_wrote(metrics: Metrics, out: io.StringIO) -> None:
    metrics.put("JobsFailed", 1)
    metrics.flush()
    metrics.flush()
    assert len(lines(out)) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_cloudwatch_would_drop_is_refused(metrics: Metrics, value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        metrics.put("HourlyCost", value)


def test_a_metric_is_by_pool_or_by_reason(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match="not both"):
        metrics.put("LaunchFailures", 1, pool="gpu", reason="price")


def test_without_a_place_given_lines_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics("Lowtide", now=lambda: NOW)
    metrics.put("TicksCompleted", 1)
    metrics.flush()
    assert json.loads(capsys.readouterr().out)["TicksCompleted"] == [1]
