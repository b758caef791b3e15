"""The charts of a report's document as geometry, for a wide and for a narrow screen; the template draws them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lambdas.domain.instants import from_text
from lowtide.report.axes import Frame, band, ceiling, line, steps, time_ticks, value_ticks

Document = Mapping[str, Any]
Path = tuple[str, str]
"""(CSS class, path or words)"""

_FLEET_HEIGHT, _PRICE_HEIGHT, _COST_HEIGHT = 170, 84, 220
_HEADING, _BETWEEN, _AXIS, _LANE = 32, 46, 26, 32
"""CSS pixels: above the first panel for its name, above the second, below the last for its hours, and for one class of
reasons with its name."""
_HEADROOM = 1.1
"""An axis goes this much beyond its greatest value, so that no line runs along the edge."""
_BAR_LEAST = 3.0
"""The narrowest bar that can still be seen."""


_LEGEND: tuple[Path, ...] = (
    *(("wanted", "wanted"), ("spot", "running, spot"), ("on-demand", "running, on-demand"), ("launching", "launching")),
    *(("missing", "missing, or price above limit"), ("mark", "taken back by EC2"), ("price", "spot price")),
    *(("limit", "limit"), ("spent", "spent"), ("list-price", "the same hours on demand"), ("saved", "the difference")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How one variant is drawn. Text keeps its size in both."""

    name: str
    width: int
    left: int
    """Room for the labels of the value axes."""
    right: int
    ticks: int
    """Labels that fit beneath, at most."""


SIZES = (
    Size(name="wide", width=1040, left=56, right=24, ticks=10),
    Size(name="narrow", width=340, left=50, right=18, ticks=4),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One plot with its axes."""

    name: str
    frame: Frame
    paths: Sequence[Path]
    values: Sequence[tuple[float, str]]
    """(y, label) of each line across."""


OWNERS = frozenset({"limit", "budget", "paused"})
"""Classes of shortages that a pool's owner asked for: told like every other, but no fault of EC2's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    x: float
    width: float
    shortage: Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The shortages of one class over time."""

    name: str
    y: float
    bars: Sequence[Bar]

    @property
    def owners(self) -> bool:
        return self.name in OWNERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    size: Size
    height: float
    panels: Sequence[Panel]
    lanes: Sequence[Lane]
    marks: Sequence[tuple[float, Document]]
    """(x, interruption)"""
    hours: Sequence[tuple[float, str]]
    hours_y: float

    @property
    def legend(self) -> list[Path]:
        """(CSS class, words) of what is really drawn."""
        drawn = {kind for panel in self.panels for kind, path in panel.paths if path}
        return [(kind, words) for kind, words in _LEGEND if kind in drawn or (kind == "mark" and self.marks)]


def fleet_charts(pool: Document, since: datetime, until: datetime) -> list[Chart]:
    return [_fleet_chart(pool, since, until, size) for size in SIZES]


def cost_charts(cost: Document, since: datetime, until: datetime) -> list[Chart]:
    return [_cost_chart(cost, since, until, size) for size in SIZES]


def _fleet_chart(pool: Document, since: datetime, until: datetime, size: Size) -> Chart:
    points = [(from_text(point["at"]), point) for point in pool["timeline"]]
    panels = [_fleet_panel(points, since, until, size)]
    bottom = panels[0].frame.bottom
    if any(point["spot_price_usd"] is not None for _, point in points):
        panels.append(_price_panel(points, since, until, size, bottom + _BETWEEN))
        bottom = panels[-1].frame.bottom
    frame = panels[0].frame
    lanes = _lanes(pool["shortages"], frame, bottom + _AXIS)
    height = bottom + _AXIS + len(lanes) * _LANE
    return Chart(
        size=size,
        height=height,
        panels=panels,
        lanes=lanes,
        marks=[(frame.x(from_text(each["at"])), each) for each in pool["interruptions"]],
        **_hours(frame, size, bottom),
    )


def _hours(frame: Frame, size: Size, bottom: float) -> dict[str, Any]:
    ticks = time_ticks(frame.since, frame.until, size.ticks)
    return {"hours": [(frame.x(at), label) for at, label in ticks], "hours_y": bottom}


def _frame(since: datetime, until: datetime, size: Size, top: float, height: float, most: float) -> Frame:
    left, right = size.left, size.width - size.right
    return Frame(since=since, until=until, left=left, right=right, top=top, bottom=top + height, most=most)


def _fleet_panel(points: Sequence[tuple[datetime, Document]], since: datetime, until: datetime, size: Size) -> Panel:
    """Spot at the bottom, on-demand and what is launching upon it; what is missing below the line of what is wanted."""
    most, step = ceiling(_HEADROOM * max((max(_there(p), p["desired"]) for _, p in points), default=0))
    frame = _frame(since, until, size, _HEADING, _FLEET_HEIGHT, most)

    def stacked(*below: str, kind: str) -> str:
        lows = [(at, sum(p[name] for name in below), p[kind]) for at, p in points]
        return band(frame, [(at, low, low + value) for at, low, value in lows])

    paths = (
        ("spot", stacked(kind="running_spot")),
        ("on-demand", stacked("running_spot", kind="running_on_demand")),
        ("launching", stacked("running_spot", "running_on_demand", kind="launching")),
        ("missing", band(frame, [(at, _there(p), max(_there(p), p["desired"])) for at, p in points])),
        ("wanted", steps(frame, [(at, p["desired"]) for at, p in points])),
    )
    whole = [value for value in value_ticks(most, step) if value == round(value)]
    return Panel(name="Instances", frame=frame, paths=paths, values=[(frame.y(n), f"{n:g}") for n in whole])


def _there(point: Document) -> int:
    return point["running_spot"] + point["running_on_demand"] + point["launching"]


def _price_panel(
    points: Sequence[tuple[datetime, Document]], since: datetime, until: datetime, size: Size, top: float
) -> Panel:
    prices = [(at, p["spot_price_usd"]) for at, p in points]
    limits = [(at, p["price_limit_usd"]) for at, p in points]
    most, step = ceiling(_HEADROOM * max(value for _, value in (*prices, *limits) if value is not None))
    frame = _frame(since, until, size, top, _PRICE_HEIGHT, most)
    above = [
        (at, limit or 0, price if price is not None and limit is not None and price > limit else limit or 0)
        for (at, price), (_, limit) in zip(prices, limits, strict=True)
    ]
    paths = (("missing", band(frame, above)), ("limit", steps(frame, limits)), ("price", steps(frame, prices)))
    ticks = value_ticks(most, step)[:: 2 if most / step > 3 else 1]
    return Panel(name="Spot price, USD an hour", frame=frame, paths=paths, values=_dollars(frame, ticks, step))


def _dollars(frame: Frame, ticks: Sequence[float], step: float) -> list[tuple[float, str]]:
    """All with as many decimals as the step needs, two at least."""
    decimals = max(2, -math.floor(math.log10(step) + 1e-9))
    return [(frame.y(value), f"${value:,.{decimals}f}") for value in ticks]


def _lanes(shortages: Sequence[Document], frame: Frame, top: float) -> list[Lane]:
    """One for each class that occurs, in the order in which they first did."""
    names = list(dict.fromkeys(each["class"] for each in shortages))
    return [
        Lane(
            name=name,
            y=top + number * _LANE,
            bars=[_bar(each, frame) for each in shortages if each["class"] == name],
        )
        for number, name in enumerate(names)
    ]


def _bar(shortage: Document, frame: Frame) -> Bar:
    begin = frame.x(from_text(shortage["since"]))
    end = frame.x(from_text(shortage["until"])) if shortage["until"] else frame.right
    width = max(_BAR_LEAST, end - begin)
    return Bar(x=round(min(begin, frame.right - width), 1), width=round(width, 1), shortage=shortage)


def _cost_chart(cost: Document, since: datetime, until: datetime, size: Size) -> Chart:
    points = [(from_text(point["at"]), point["spent_usd"], point["on_demand_usd"]) for point in cost["points"]]
    most, step = ceiling(_HEADROOM * max(max(spent, on_demand) for _, spent, on_demand in points))
    frame = _frame(since, until, size, _HEADING, _COST_HEIGHT, most)
    spent, on_demand = [(at, value) for at, value, _ in points], [(at, value) for at, _, value in points]
    floor = f"L{frame.x(points[-1][0])} {frame.bottom}L{frame.x(points[0][0])} {frame.bottom}Z"
    back = "L" + line(frame, spent[::-1])[1:] + "Z"
    paths = (
        ("saved", line(frame, on_demand) + back),
        ("spent-area", line(frame, spent) + floor),
        ("list-price", line(frame, on_demand)),
        ("spent", line(frame, spent)),
    )
    values = _dollars(frame, value_ticks(most, step), step)
    panel = Panel(name="Cumulated cost, USD", frame=frame, paths=paths, values=values)
    hours = _hours(frame, size, frame.bottom)
    return Chart(size=size, height=frame.bottom + _AXIS, panels=[panel], lanes=(), marks=(), **hours)
