"""The lines of a backtest's page as geometry, one for each scenario, for a wide and for a narrow screen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lowtide.report.axes import Frame, ceiling, line, steps, time_ticks, value_ticks
from lowtide.report.charts import SIZES, Size

KINDS = 6
"""Lines that look different; more scenarios begin anew."""
_HEADING, _HEIGHT, _AXIS = 32, 190, 26
"""CSS pixels: above the plot for its name, of the plot, below it for its hours."""
_HEADROOM = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """One variant of a chart."""

    size: Size
    frame: Frame
    height: float
    paths: Sequence[tuple[str, str]]
    """(CSS class, path)"""
    values: Sequence[tuple[float, str]]
    hours: Sequence[tuple[float, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    key: str
    title: str
    told: str
    """What it shows, for those who do not see it."""
    drawings: Sequence[Drawing]
    rows: Sequence[tuple[str, Sequence[float | None]]]
    """(instant, the value of each scenario)"""
    money: bool


_CHARTS: Sequence[tuple[str, str, str, bool]] = (
    ("spent_usd", "Cumulated cost, USD", "what was spent on instances so far", True),
    ("waiting_jobs", "Jobs that wait", "how many jobs waited, as means of each stretch of time", False),
    ("instances", "Instances", "how many instances there were, as means of each stretch of time", False),
    ("missing", "Instances missing", "how many instances were wanted and not there", False),
)


def charts(document: Mapping[str, Any]) -> list[Chart]:
    """`document` as outcome.document gives it."""
    begin, end = document["begin"], max(each["ended_at"] for each in document["scenarios"])
    return [_chart(document["scenarios"], begin, end, *each) for each in _CHARTS]


def kind(number: int) -> str:
    """The CSS class of a scenario's line."""
    return f"line-{number % KINDS}"


def _chart(
    scenarios: Sequence[Mapping[str, Any]],
    begin: datetime,
    end: datetime,
    key: str,
    title: str,
    told: str,
    money: bool,
) -> Chart:
    lines = [[(point["at"], float(point[key])) for point in each["points"]] for each in scenarios]
    most, step = ceiling(_HEADROOM * max((value for each in lines for _, value in each), default=0.0))
    label: Callable[[float], str] = (lambda value: f"${value:,.2f}") if money else (lambda value: f"{value:g}")
    drawings = [_drawing(lines, begin, end, size, most, step, label, straight=money) for size in SIZES]
    return Chart(key=key, title=title, told=told, drawings=drawings, rows=_rows(lines), money=money)


def _drawing(
    lines: Sequence[Sequence[tuple[datetime, float]]],
    begin: datetime,
    end: datetime,
    size: Size,
    most: float,
    step: float,
    label: Callable[[float], str],
    *,
    straight: bool,
) -> Drawing:
    frame = Frame(
        since=begin,
        until=end,
        left=size.left + 8,
        right=size.width - size.right,
        top=_HEADING,
        bottom=_HEADING + _HEIGHT,
        most=most,
    )
    draw = line if straight else steps
    return Drawing(
        size=size,
        frame=frame,
        height=frame.bottom + _AXIS,
        paths=[(kind(number), draw(frame, points) if points else "") for number, points in enumerate(lines)],
        values=[(frame.y(value), label(value)) for value in value_ticks(most, step)],
        hours=[(frame.x(at), text) for at, text in time_ticks(begin, end, size.ticks)],
    )


def _rows(lines: Sequence[Sequence[tuple[datetime, float]]]) -> list[tuple[str, Sequence[float | None]]]:
    """One for each instant; None after a scenario's end."""
    longest = max(lines, key=len, default=())
    return [
        (at.isoformat(), [points[number][1] if number < len(points) else None for points in lines])
        for number, (at, _) in enumerate(longest)
    ]
