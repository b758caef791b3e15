"""Metrics and alarms as CloudWatch has them: metrics out of log lines, AWS's own gauges, alarms on a clock.

Stock ministack extracts no embedded metrics, has no AWS/SQS metrics, knows AWS/Lambda ones only for calls through the
Invoke API, refuses templates whose alarms are on metric math, and evaluates an alarm only when somebody writes a
metric: without dimensions, periods, or missing data.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lowtide.local import alarms
from lowtide.local.contract import upstream
from lowtide.local.replacements import Replacements

_LOG = logging.getLogger(__name__)
_MINUTE = 60.0
_KEPT_POINTS = 1000
"""Of each AWS/SQS gauge; at twelve a (scaled) minute that is an hour and a half of the world's time."""


@dataclass(frozen=True, slots=True)
class Datum:
    """One embedded metric: every value that one log line gave it."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    unit: str
    at: float
    """Epoch seconds."""
    values: Sequence[float]


class CloudWatch:
    """Watches one account's Region. Its thread runs from `install` to `close`."""

    def __init__(self, *, account: str, region: str, pace: float) -> None:
        self._account = account
        self._region = region
        self._pace = pace
        self._closing = threading.Event()
        self._deciding = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="local-cloudwatch", daemon=True)

    def install(self, replacements: Replacements) -> None:
        functions, cloudwatch = upstream("services.lambda_svc"), upstream("services.cloudwatch")
        log = functions._emit_lambda_logs

        def logged(
            func: Mapping[str, Any],
            request_id: str,
            log_text: str,
            error: bool,
            duration_ms: int,
            *,
            log_source: str | None = None,
        ) -> None:
            log(func, request_id, log_text, error, duration_ms, log_source=log_source)
            self._record_invocation((func.get("config") or func)["FunctionName"], log_text, error, duration_ms)

        def throttled(function_name: str, duration_ms: float, error: bool, throttle: bool) -> None:
            # Stock calls this for every Invoke, which `logged` counts already, and for what is throttled, which it
            # does not.
            del duration_ms, error
            if throttle:
                dimensions = {"FunctionName": function_name}
                cloudwatch.record_metric("AWS/Lambda", "Throttles", 1, "Count", dimensions)

        replacements.replace(functions, "_emit_lambda_logs", logged)
        replacements.replace(functions, "_emit_lambda_metrics", throttled)
        replacements.replace(cloudwatch, "_evaluate_alarm", self._decide)
        provisioners = upstream("services.cloudformation.provisioners")
        alarm_of = provisioners._cw_metric_alarm_record
        replacements.replace(provisioners, "_cw_metric_alarm_record", _with_metric_math(alarm_of))
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    # --- metrics ------------------------------------------------------------------------------------------------------

    def _record_invocation(self, function: str, log_text: str, error: bool, duration_ms: int) -> None:
        cloudwatch = upstream("services.cloudwatch")
        with upstream("core.responses").request_scope(self._account, self._region):
            for datum in embedded(log_text, default_time=time.time()):
                cloudwatch._store_datum(
                    datum.namespace,
                    datum.name,
                    dict(datum.dimensions),
                    datum.at,
                    datum.unit,
                    None,
                    list(datum.values),
                    None,
                    None,
                )
            for name, value, unit in (
                ("Invocations", 1, "Count"),
                ("Errors", int(error), "Count"),
                ("Throttles", 0, "Count"),
                ("Duration", duration_ms, "Milliseconds"),
            ):
                cloudwatch.record_metric("AWS/Lambda", name, value, unit, {"FunctionName": function})

    def _record_queues(self) -> None:
        sqs, cloudwatch = upstream("services.sqs"), upstream("services.cloudwatch")
        now = time.time()
        with sqs._queues_lock:
            gauges = [(queue["name"], gauge) for queue in sqs._queues.values() for gauge in _gauges(queue, now)]
        for queue, (name, value, unit) in gauges:
            cloudwatch.record_metric("AWS/SQS", name, value, unit, {"QueueName": queue})
        for key, points in cloudwatch._metrics.items():
            if key[0] == "AWS/SQS":
                del points[:-_KEPT_POINTS]

    # --- alarms -------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        # Twelve looks a minute of the world's time, and never more than ten a second of real time.
        interval = max(0.1, _MINUTE / self._pace / 12)
        while not self._closing.wait(interval):
            try:
                with upstream("core.responses").request_scope(self._account, self._region):
                    self._record_queues()
                    for alarm in list(upstream("services.cloudwatch")._alarms.values()):
                        self._decide(alarm)
            except Exception:
                # ministack's stores change under this thread; the next look sees them whole.
                _LOG.exception("CloudWatch could not look at its queues and alarms")

    def _decide(self, alarm: dict[str, Any]) -> None:
        """Evaluates one alarm now, changes its state, and tells its history and its actions."""
        cloudwatch = upstream("services.cloudwatch")
        watches = alarm.get("MetricName") or alarm.get("Metrics")
        if not watches or alarm.get("ComparisonOperator") not in alarms.COMPARISONS:
            return
        with self._deciding:
            rule = _rule(alarm)
            values = self._values(alarm, rule.evaluation_periods + alarms.EXTRA_PERIODS)
            former = alarms.State(alarm["StateValue"])
            new = alarms.state(rule, values, former)
            if new == former:
                return
            reason = _reason(rule, values)
            # ministack's describe calls read what is stored here.
            alarm.update(StateValue=new.value, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
            cloudwatch._record_history(alarm["AlarmName"], former.value, new.value, reason)
        cloudwatch._dispatch_alarm_actions(alarm, former.value, new.value, reason)
        cloudwatch._evaluate_parent_alarms(alarm)

    def _values(self, alarm: Mapping[str, Any], count: int) -> Sequence[float | None]:
        """What each of the last whole periods has, oldest first; None where there was no data."""
        if queries := alarm.get("Metrics"):
            series = [self._statistics(_metric_of(query), count) for query in queries if "MetricStat" in query]
            return alarms.total_of_filled(_expression(queries), series)
        return self._statistics(alarm, count)

    def _statistics(self, alarm: Mapping[str, Any], count: int) -> list[float | None]:
        cloudwatch = upstream("services.cloudwatch")
        dimensions = cloudwatch._dims_from_list(alarm.get("Dimensions") or [])
        key = (alarm["Namespace"], alarm["MetricName"], cloudwatch._dims_key(dimensions))
        unit = alarm.get("Unit")
        points = [p for p in cloudwatch._metrics.get(key) or [] if unit is None or p.get("Unit") == unit]
        statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average"
        period = float(alarm.get("Period") or _MINUTE) / self._pace

        def value(start: float, end: float) -> float | None:
            inside = [point for point in points if start <= point["Timestamp"] < end]
            stats = cloudwatch._calc_stats(inside)
            return cloudwatch._stat_value(stats, statistic, inside) if stats else None

        return [value(start, end) for start, end in alarms.windows(now=time.time(), period=period, count=count)]


def embedded(log_text: str, *, default_time: float) -> Iterator[Datum]:
    """The metrics of every line in CloudWatch's embedded metric format; other lines give none.

    >>> line = '{"_aws": {"Timestamp": 1000, "CloudWatchMetrics": [{"Namespace": "N", "Dimensions": [["S"]],' \\
    ...        ' "Metrics": [{"Name": "M", "Unit": "Count"}]}]}, "S": "x", "M": [1, 2]}'
    >>> list(embedded(line, default_time=0))
    [Datum(namespace='N', name='M', dimensions={'S': 'x'}, unit='Count', at=1.0, values=[1.0, 2.0])]
    """
    for line in log_text.splitlines():
        start = line.find("{")
        if start < 0 or '"_aws"' not in line:
            continue
        try:
            document: Any = json.loads(line[start:])
            yield from _data(document, default_time)
        except (ValueError, KeyError, TypeError, AttributeError):
            # CloudWatch drops a malformed document without a word; a person at a desk wants to know.
            _LOG.warning("not in the embedded metric format: %s", line)


def _data(document: Mapping[str, Any], default_time: float) -> list[Datum]:
    about = document["_aws"]
    at = about["Timestamp"] / 1000 if "Timestamp" in about else default_time
    return [
        Datum(
            directive["Namespace"],
            metric["Name"],
            {name: str(document[name]) for name in names},
            metric.get("Unit", "None"),
            at,
            _numbers(document[metric["Name"]]),
        )
        for directive in about["CloudWatchMetrics"]
        for metric in directive["Metrics"]
        for names in directive.get("Dimensions") or [[]]
    ]


def _with_metric_math(stock: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """`stock`, which makes an alarm of a template's properties, for those on an expression too. Raises ValueError for
    one that the alarm could not be decided by, which fails the deployment."""

    def record(name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
        queries: Sequence[Mapping[str, Any]] = properties.get("Metrics") or ()
        if not queries:
            return stock(name, properties)
        alarms.total_of_filled(_expression(queries), [])
        plain = {key: value for key, value in properties.items() if key != "Metrics"}
        alarm = stock(name, {**plain, "Namespace": "-", "MetricName": "-"})
        return {**alarm, "Namespace": "", "MetricName": "", "Metrics": list(queries)}

    return record


def _expression(queries: Sequence[Mapping[str, Any]]) -> str:
    """The one that the alarm watches. Raises ValueError where there is not exactly one."""
    found = [query["Expression"] for query in queries if "Expression" in query]
    if len(found) != 1:
        raise ValueError(f"an alarm on metric math takes one expression here, not {len(found)}")
    return found[0]


def _metric_of(query: Mapping[str, Any]) -> dict[str, Any]:
    """One of an alarm's metrics, in the form of an alarm on it alone."""
    wanted = query["MetricStat"]
    return {**wanted["Metric"], "Period": wanted["Period"], "Statistic": wanted["Stat"], "Unit": wanted.get("Unit")}


def _numbers(value: Any) -> list[float]:
    return [float(number) for number in (value if isinstance(value, list) else [value])]


def _gauges(queue: Mapping[str, Any], now: float) -> Iterator[tuple[str, float, str]]:
    """What SQS publishes of a queue every minute, in AWS's names."""
    messages: Sequence[Mapping[str, Any]] = queue["messages"]
    hidden = [m for m in messages if m["visible_at"] > now]
    delayed = sum(1 for m in hidden if m["receive_count"] == 0)
    oldest = min((m["sent_at"] for m in messages), default=now)
    yield "ApproximateNumberOfMessagesVisible", len(messages) - len(hidden), "Count"
    yield "ApproximateNumberOfMessagesNotVisible", len(hidden) - delayed, "Count"
    yield "ApproximateNumberOfMessagesDelayed", delayed, "Count"
    yield "ApproximateAgeOfOldestMessage", max(0.0, now - oldest), "Seconds"


def _rule(alarm: Mapping[str, Any]) -> alarms.Rule:
    periods = int(alarm.get("EvaluationPeriods") or 1)
    return alarms.Rule(
        comparison=alarm["ComparisonOperator"],
        threshold=float(alarm.get("Threshold") or 0),
        evaluation_periods=periods,
        datapoints_to_alarm=int(alarm.get("DatapointsToAlarm") or periods),
        missing=alarms.Missing(alarm.get("TreatMissingData") or "missing"),
    )


def _reason(rule: alarms.Rule, values: Sequence[float | None]) -> str:
    """In CloudWatch's manner: what was seen, oldest first, and what it was compared with."""
    seen = ", ".join("no data" if value is None else f"{value:g}" for value in values)
    return (
        f"Threshold Crossed: {rule.datapoints_to_alarm} out of {rule.evaluation_periods} datapoints decide; "
        f"the last were [{seen}]; {rule.comparison} {rule.threshold:g}, missing data is {rule.missing.value}"
    )
