"""The demo's live table."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lambdas.domain.jobs.jobs import JobState
from lowtide.demo.watch import Moment

_COLUMNS = ("wanted", "running", "starting", "draining", "missing", "queued", "at work")
_KEYS = ("desired", "running", "launching", "draining", "unfulfilled", "queued_jobs", "running_jobs")


def render(moment: Moment, *, total: int, elapsed: timedelta, prices: Mapping[str, Decimal]) -> Group:
    """Pools in numbers with the reason that each would give, and where the jobs stand. Fits 100 columns."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("pool", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for pool in moment.pools:
        table.add_row(pool.name, *(_number(pool.number(key), key) for key in _KEYS))
    return Group(_progress(moment, total, elapsed, prices), Text(), table, Text(), *_reasons(moment))


def line(moment: Moment, *, total: int, elapsed: timedelta) -> Text:
    """The same in one line, for where there is no terminal."""
    short = [f"{pool.name} lacks {n}" for pool in moment.pools if (n := pool.number("unfulfilled"))]
    return Text(", ".join([_progress(moment, total, elapsed, {}).plain, *short]))


def _number(value: int, key: str) -> Text:
    if value == 0:
        return Text("·", style="dim")
    return Text(str(value), style="red" if key == "unfulfilled" else "")


def _progress(moment: Moment, total: int, elapsed: timedelta, prices: Mapping[str, Decimal]) -> Text:
    states = moment.states()
    market = ", ".join(f"{name} ${price}" for name, price in prices.items())
    done, failed = states[JobState.SUCCEEDED], states[JobState.FAILED]
    text = Text.assemble(
        (f"{int(elapsed.total_seconds()):>4} s  ", "dim"),
        (f"{done} of {total} jobs done", "bold"),
        f", {states[JobState.RUNNING]} running, {states[JobState.QUEUED]} queued, "
        f"{moment.interruptions()} interruptions survived",
        (f", {failed} failed" if failed else "", "red"),
    )
    return text.append(f"\n        spot market: {market}", "dim") if market else text


def _reasons(moment: Moment) -> list[Text]:
    lines: list[Text] = []
    for pool in moment.pools:
        if pool.number("unfulfilled") and (reason := pool.headline()):
            lines.append(Text.assemble((f"{pool.name}: ", "yellow"), f"{reason['class']}: {reason['message']}"))
    raised = sorted(name for name, state in moment.alarms.items() if state == "ALARM")
    if raised:
        lines.append(Text.assemble(("alarm: ", "bold red"), ", ".join(raised)))
    return lines
