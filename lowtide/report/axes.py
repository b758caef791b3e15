"""Where things stand in a chart: the frame, round ticks, and paths of steps. Numbers only; words are the template's."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_TIME_STEPS = (
    *(timedelta(seconds=n) for n in (1, 2, 5, 10, 15, 30)),
    *(timedelta(minutes=n) for n in (1, 2, 5, 10, 15, 30)),
    *(timedelta(hours=n) for n in (1, 2, 3, 6, 12)),
    *(timedelta(days=n) for n in (1, 2, 7, 14, 28, 56, 112, 224, 448)),
)
_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
"""A Monday, so that ticks of a week stand on Mondays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A plot's place in its SVG, in CSS pixels: time runs from `left` to `right`, values from `bottom` up to `top`."""

    since: datetime
    until: datetime
    left: float
    right: float
    top: float
    bottom: float
    most: float
    """The value at `top`; 0 is at `bottom`."""

    def x(self, at: datetime) -> float:
        share = (at - self.since) / (self.until - self.since)
        return round(self.left + min(1.0, max(0.0, share)) * (self.right - self.left), 1)

    def y(self, value: float) -> float:
        return round(self.bottom - value / self.most * (self.bottom - self.top), 1)


def ceiling(most: float) -> tuple[float, float]:
    """(the axis's end, its step), at least up to `most`: three to five steps of 1, 2 or 5 times a power of ten.

    3.6 → (4, 1); 0.043 → (0.05, 0.01); 0 → (1, 0.5)."""
    if most <= 0:
        return 1.0, 0.5
    power = 10.0 ** math.floor(math.log10(most / 5))
    step = next(s * power for s in (1, 2, 5, 10, 20, 50) if s * power * 5 >= most * (1 - 1e-9))
    return math.ceil(most / step - 1e-9) * step, step


def value_ticks(most: float, step: float) -> list[float]:
    """From 0 to `most`."""
    return [number * step for number in range(round(most / step) + 1)]


def time_ticks(since: datetime, until: datetime, most: int) -> list[tuple[datetime, str]]:
    """At most `most` round instants with their labels: UTC, as fine as the distance between them."""
    step = next((s for s in _TIME_STEPS if (until - since) / s <= most), _TIME_STEPS[-1])
    at = _EPOCH + math.ceil((since - _EPOCH) / step) * step
    form = "%H:%M:%S" if step < timedelta(minutes=1) else "%H:%M" if step < timedelta(days=1) else "%d %b"
    ticks: list[tuple[datetime, str]] = []
    while at <= until and len(ticks) <= most:
        ticks.append((at, at.strftime(form)))
        at += step
    return ticks


def steps(frame: Frame, points: Sequence[tuple[datetime, float | None]]) -> str:
    """The path of a line that holds each value until the next; None: there is no line. The last holds to the end."""
    drawn: list[str] = []
    for begin, end, value in _stretches(frame, points):
        if value is None:
            drawn.append("")
        elif drawn and drawn[-1]:
            drawn.append(f"V{frame.y(value)}H{frame.x(end)}")
        else:
            drawn.append(f"M{frame.x(begin)} {frame.y(value)}H{frame.x(end)}")
    return "".join(drawn)


def band(frame: Frame, points: Sequence[tuple[datetime, float, float]]) -> str:
    """The path around everything between a lower and an upper value over time; empty stretches draw nothing."""
    drawn: list[str] = []
    open_: list[tuple[datetime, datetime, float, float]] = []
    for number, (begin, low, high) in enumerate(points):
        end = points[number + 1][0] if number + 1 < len(points) else frame.until
        if high > low:
            open_.append((begin, end, low, high))
        elif open_:
            drawn.append(_around(frame, open_))
            open_ = []
    return "".join([*drawn, *([_around(frame, open_)] if open_ else [])])


def _around(frame: Frame, parts: Sequence[tuple[datetime, datetime, float, float]]) -> str:
    path = [f"M{frame.x(parts[0][0])} {frame.y(parts[0][3])}"]
    path += [f"V{frame.y(high)}H{frame.x(end)}" for _, end, _, high in parts]
    path += [f"V{frame.y(low)}H{frame.x(begin)}" for begin, _, low, _ in reversed(parts)]
    return "".join(path) + "Z"


def _stretches(
    frame: Frame, points: Sequence[tuple[datetime, float | None]]
) -> Iterator[tuple[datetime, datetime, float | None]]:
    for number, (at, value) in enumerate(points):
        yield at, points[number + 1][0] if number + 1 < len(points) else frame.until, value


def line(frame: Frame, points: Sequence[tuple[datetime, float]]) -> str:
    """The path of straight lines from point to point."""
    return "M" + "L".join(f"{frame.x(at)} {frame.y(value)}" for at, value in points)
