"""How CloudWatch decides the state of a metric alarm. Pure: values in, state out.

The rules are those of "Configuring how CloudWatch alarms treat missing data" in the CloudWatch user guide; its two
tables are the tests of this file.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

EXTRA_PERIODS = 2
"""How many periods beyond EvaluationPeriods are looked at for data. The guide's tables show five for three."""


_TOTAL_OF_FILLED = re.compile(r"\s*SUM\(\s*FILL\(\s*METRICS\(\)\s*,\s*(-?\d+(?:\.\d+)?)\s*\)\s*\)\s*")


class State(StrEnum):
    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


class Missing(StrEnum):
    """TreatMissingData."""

    MISSING = "missing"
    IGNORE = "ignore"
    BREACHING = "breaching"
    NOT_BREACHING = "notBreaching"


COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What an alarm compares."""

    comparison: str
    threshold: float
    evaluation_periods: int
    """N of "M out of N"."""
    datapoints_to_alarm: int
    """M of "M out of N"."""
    missing: Missing


def total_of_filled(expression: str, series: Sequence[Sequence[float | None]]) -> list[float]:
    """What `SUM(FILL(METRICS(), n))` makes of these metrics' values, period by period.

    Raises ValueError for any other expression: metric math goes no further here.

    >>> total_of_filled("SUM(FILL(METRICS(), 0))", [[1, None], [None, None]])
    [1.0, 0.0]
    """
    found = _TOTAL_OF_FILLED.fullmatch(expression)
    if found is None:
        raise ValueError(f"of metric math, the local AWS knows SUM(FILL(METRICS(), n)) and not {expression}")
    filler = float(found[1])
    return [sum(filler if value is None else float(value) for value in period) for period in zip(*series, strict=True)]


def windows(*, now: float, period: float, count: int) -> list[tuple[float, float]]:
    """The last `count` whole periods before `now`, oldest first, each from its start until before its end.

    Periods begin at multiples of the period since the epoch, as CloudWatch's do. The one under way is left out: half
    of its data may still come.
    """
    end = now // period * period
    return [(end - (n + 1) * period, end - n * period) for n in reversed(range(count))]


def state(rule: Rule, values: Sequence[float | None], former: State) -> State:
    """The alarm's state after periods with these values (None: no data), oldest first."""
    breaches = COMPARISONS[rule.comparison]
    real = [breaches(value, rule.threshold) for value in values if value is not None][-rule.evaluation_periods :]
    fills = rule.evaluation_periods - len(real)
    if not fills:
        return _of(sum(real) >= rule.datapoints_to_alarm)
    match rule.missing:
        case Missing.BREACHING:
            return _of(sum(real) + fills >= rule.datapoints_to_alarm)
        case Missing.NOT_BREACHING:
            return _of(sum(real) >= rule.datapoints_to_alarm)
        case Missing.MISSING:
            return _of(_breaching_as_far_as_known(real, rule)) if real else State.INSUFFICIENT_DATA
        case Missing.IGNORE:
            undecided = not real or (all(real) and len(real) < rule.datapoints_to_alarm)
            return former if undecided else _of(sum(real) >= rule.datapoints_to_alarm)


def _breaching_as_far_as_known(real: Sequence[bool], rule: Rule) -> bool:
    return all(real) or sum(real) >= rule.datapoints_to_alarm


def _of(alarm: bool) -> State:
    return State.ALARM if alarm else State.OK
