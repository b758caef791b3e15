"""How listings are shown: a table for people, the same rows as JSON for programs."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lambdas.domain.instants import to_text

_WHOLE = frozenset({"id", "instance_id", "name", "state", "pool"})
"""Columns that are copied and searched for: never broken over two lines."""
_SHORT, _LONG = 10, 20
"""Letters that a folded column has at least: a date stands above its time, and a sentence in more than single words."""
_GAP = 2
"""Between two columns."""


def console() -> Console:
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def print_json(value: Any) -> None:
    """Exact: money as decimal numbers, instants as ISO 8601, nothing rounded for show."""
    print(json.dumps(value, indent=2, default=plain))


def print_rows(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], *, empty: str) -> None:
    """One line a row, nothing of it cut off; `empty` is said where there is none.

    What a terminal is too narrow for is told in as many lines as it takes: long cells are folded, and where even that
    would leave columns of some letters each, a row is its names in one line and the rest beneath."""
    if not rows:
        console().print(empty)
        return
    titles = [column.replace("_", " ") for column in columns]
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(map(cell_len, each)) for each in zip(titles, *cells, strict=True)]
    least = [width if column in _WHOLE else _folded(width) for column, width in zip(columns, widths, strict=True)]
    room = console().width if sys.stdout.isatty() else _across(widths)
    if _across(least) > room:
        _print_stacked(columns, titles, cells)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, title in zip(columns, titles, strict=True):
        table.add_column(title, overflow="fold", no_wrap=column in _WHOLE)
    for row in cells:
        table.add_row(*map(Text, row))
    Console(highlight=False, width=min(room, _across(widths))).print(table)


def _folded(width: int) -> int:
    """The least that a column of this width is folded to."""
    return min(width, _SHORT) if width <= _LONG else _LONG


def _across(widths: Sequence[int]) -> int:
    """Of a table with columns of these widths."""
    return sum(widths) + _GAP * (len(widths) - 1)


def _print_stacked(columns: Sequence[str], titles: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    for row in cells:
        told = list(zip(columns, titles, row, strict=True))
        console().print("  ".join(cell for column, _, cell in told if column in _WHOLE), markup=False)
        rest = ", ".join(f"{title} {cell}" for column, title, cell in told if column not in _WHOLE and cell != "-")
        console().print(Padding(Text(rest), (0, 0, 0, 2)))


def ago(instant: datetime, now: datetime) -> str:
    """`12s`, `5m`, `3h`, `2d`: how long ago, in the largest whole unit."""
    return span(now - instant)


def span(period: timedelta) -> str:
    seconds = max(0, int(period.total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def clock_time(instant: datetime, now: datetime) -> str:
    """`15:04:05 UTC`, with the date where it is another day's."""
    form = "%H:%M:%S" if instant.date() == now.date() else "%Y-%m-%d %H:%M:%S"
    return f"{instant:{form}} UTC"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return " ".join(str(value).split())


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return to_text(value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"{type(value).__name__} has no JSON form")
