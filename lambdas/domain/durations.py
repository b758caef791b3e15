"""Durations as people write them: Go's form (`90s`, `20m`, `1h30m`), the one Determined's files use."""

import re
from datetime import timedelta
from decimal import Decimal

LONGEST = timedelta(hours=24 * 365)
"""A year: far above any real setting, far below what overflows an instant."""

_SECONDS = {
    **{"ns": Decimal("1e-9"), "us": Decimal("1e-6"), "µs": Decimal("1e-6"), "μs": Decimal("1e-6")},
    **{"ms": Decimal("1e-3"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)},
}
"""Go's units (time.ParseDuration). Both micro signs (U+00B5, U+03BC), as Go takes them; no days, since Go has none."""

_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_LONGEST_TEXT = 64


def parse_duration(text: str) -> timedelta:
    """The duration, rounded to microseconds; never negative, at most a year. `0` needs no unit, as in Go.

    Raises ValueError that says what is wrong and shows a right one.
    """
    if text == "0":
        return timedelta()
    if len(text) > _LONGEST_TEXT or not _WHOLE.fullmatch(text):
        raise ValueError(f"{_quoted(text)} is not a duration: write for example 90s, 20m or 1h30m")
    seconds = sum((Decimal(number) * _SECONDS[unit] for number, unit in _PART.findall(text)), Decimal())
    if seconds > Decimal(LONGEST.total_seconds()):
        raise ValueError(f"{_quoted(text)} is longer than a year: write at most {format_duration(LONGEST)}")
    return timedelta(microseconds=int((seconds * 1_000_000).to_integral_value()))


def format_duration(duration: timedelta) -> str:
    """`1h30m`, `45s`, `0s`: the shortest text that `parse_duration` reads back to the same duration."""
    seconds = Decimal(duration // timedelta(microseconds=1)) / 1_000_000
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [f"{number:f}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if number]
    return "".join(parts) or "0s"


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…")
