"""What a benchmark found: a table with its story, kept as JSON, shown on a terminal or as text.

The JSON lies beside the document that is made of it, so that one benchmark can be run anew and the others stay told.
"""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "docs" / "performance"


class Absent(Exception):
    """What a benchmark needs and the project does not have; `str()` says where to put it."""


def _machine() -> str:
    """With the load of the last minute: above the number of cores something else ran, too, and only ratios tell."""
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, load {load:.0f}"


def _today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    name: str
    title: str
    about: str
    """What was measured, against what, and how to read it: a few sentences."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    benchmark: str = ""
    """By which it is measured, where that has another name."""
    machine: str = field(default_factory=_machine)
    measured_on: str = field(default_factory=_today)

    def keep(self) -> Path:
        PLACE.mkdir(parents=True, exist_ok=True)
        place = PLACE / f"{self.name}.json"
        place.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        return place

    def show(self, console: Console) -> None:
        table = Table(title=self.title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)
        console.print(self.about + "\n", style="dim")

    def markdown(self) -> str:
        rule = "| --- |" + " ---: |" * (len(self.columns) - 1)
        lines = [_line(self.columns), rule, *map(_line, self.rows)]
        return "\n".join([f"## {self.title}", "", *lines, "", self.about, ""])


def measured(result: Result) -> str:
    """When, on what, and by which command: the last line of its section."""
    by = result.benchmark or result.name
    return f"Measured {result.measured_on} on {result.machine}: `python -m lowtide.bench {by}`.\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def kept() -> list[Result]:
    """Every result that is kept, in order of name."""
    return [_read(json.loads(place.read_text(encoding="utf-8"))) for place in sorted(PLACE.glob("*.json"))]


def _read(document: dict[str, Any]) -> Result:
    columns, rows = tuple(document.pop("columns")), tuple(map(tuple, document.pop("rows")))
    return Result(columns=columns, rows=rows, **document)


def middle_and_tail(samples: Sequence[float]) -> tuple[float, float]:
    """Median and 95th percentile."""
    return median(samples), quantiles(samples, n=20, method="inclusive")[-1]
