"""Instants as people name them on a command line."""

import re
from datetime import datetime, timedelta

from lambdas.domain.durations import parse_duration
from lambdas.domain.instants import from_text
from lowtide.cli.errors import Misuse

_DAYS = re.compile(r"([0-9]{1,4})d")
"""Whole days: the one unit that Go's durations lack and that people look back by."""


def instant(option: str, text: str, now: datetime) -> datetime:
    """`2026-11-23T15:00:00Z`, `2026-11-23T16:00:00+01:00`, or how long ago: `20m`, `2h30m`, `7d`. Raises Misuse."""
    if days := _DAYS.fullmatch(text):
        return now - timedelta(days=int(days[1]))
    try:
        return now - parse_duration(text)
    except (ValueError, OverflowError):
        pass
    try:
        return from_text(text)
    except (ValueError, OverflowError) as error:
        raise Misuse(
            f"{option} {text!r} is not a time: write for example 2026-11-23T15:00:00Z, 20m for twenty minutes ago, "
            "or 7d for a week ago"
        ) from error


def later(option: str, text: str, now: datetime) -> datetime:
    """`2026-11-24T09:00:00Z`, or how far ahead: `6h`, `2d`. Raises Misuse."""
    if days := _DAYS.fullmatch(text):
        return now + timedelta(days=int(days[1]))
    try:
        return now + parse_duration(text)
    except (ValueError, OverflowError):
        pass
    try:
        return from_text(text)
    except (ValueError, OverflowError) as error:
        raise Misuse(
            f"{option} {text!r} is not a time: write for example 2026-11-24T09:00:00Z, 6h for six hours from now, "
            "or 2d for two days"
        ) from error
