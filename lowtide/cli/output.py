"""How listings are shown: a table for people, the same rows as JSON for programs."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table

from lambdas.domain.instants import to_text

_WHOLE = frozenset({"id", "instance_id", "name", "state", "pool"})
"""Columns that are copied and searched for: never broken over two lines."""


def console() -> Console:
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def print_json(value: Any) -> None:
    """Exact: money as decimal numbers, instants as ISO 8601, nothing rounded for show."""
    print(json.dumps(value, indent=2, default=plain))


def print_rows(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], *, empty: str) -> None:
    """One line a row; `empty` is said where there is none."""
    if not rows:
        console().print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=column in _WHOLE)
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    console().print(table)


def ago(instant: datetime, now: datetime) -> str:
    """`12s`, `5m`, `3h`, `2d`: how long ago, in the largest whole unit."""
    return span(now - instant)


def span(period: timedelta) -> str:
    seconds = max(0, int(period.total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return to_text(value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"{type(value).__name__} has no JSON form")
