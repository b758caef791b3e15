"""Instants as people name them on a command line."""

from datetime import datetime

from lambdas.domain.durations import parse_duration
from lambdas.domain.instants import from_text
from lowtide.cli.errors import Misuse


def instant(option: str, text: str, now: datetime) -> datetime:
    """`2026-11-23T15:00:00Z`, `2026-11-23T16:00:00+01:00`, or how long ago: `20m`, `2h30m`. Raises Misuse."""
    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        return from_text(text)
    except ValueError as error:
        raise Misuse(
            f"{option} {text!r} is not a time: write for example 2026-11-23T15:00:00Z, or 20m for twenty minutes ago"
        ) from error
