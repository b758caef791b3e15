"""`lowtide status`: every pool on one screen: what it wants, what it has, and what is in its way."""

import json
import sys
import time
from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lambdas.domain.words import several
from lowtide.cli.connection import Deployment
from lowtide.cli.options import DEFAULT_STACK, AsJson, Stack
from lowtide.cli.output import ago, console, plain, print_json, span
from lowtide.cli.pool_numbers import Seen, document, missing_for, seen_pools
from lowtide.cli.remedies import for_stack

WATCH_SECONDS = 2.0

_COLUMNS = (
    *(("desired", "want"), ("running", "run"), ("launching", "new"), ("draining", "end"), ("idle", "idle")),
    *(("queued_jobs", "queued"), ("running_jobs", "jobs")),
)


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again, until Ctrl-C.")] = False,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Every pool: capacity wanted and there, jobs, cost, and why something is missing."""
    deployment = Deployment(stack)
    if not watch:
        now, pools = deployment.now(), seen_pools(deployment.table)
        if as_json:
            print_json(status_document(deployment, pools, now))
        else:
            console().print(_screen(deployment, pools, now))
        return
    _watch(deployment, as_json=as_json)


def status_document(deployment: Deployment, pools: list[Seen], now: datetime) -> dict[str, Any]:
    return {
        **{"stack": deployment.stack, "region": deployment.region, "as_of": now},
        "pools": [document(each, now) for each in pools],
    }


def _watch(deployment: Deployment, *, as_json: bool) -> None:
    """A screen that renews itself, where there is one, else one after the other; with `--json`, one document a line."""
    if as_json:
        while True:
            told = status_document(deployment, seen_pools(deployment.table), deployment.now())
            print(json.dumps(told, default=plain))
            sys.stdout.flush()
            time.sleep(WATCH_SECONDS)
    if not sys.stdout.isatty():
        while True:
            console().print(_screen(deployment, seen_pools(deployment.table), deployment.now()), "")
            sys.stdout.flush()
            time.sleep(WATCH_SECONDS)
    screen = console()
    with Live(console=screen, auto_refresh=False) as live:
        while True:
            live.update(_fitted(screen, deployment, seen_pools(deployment.table), deployment.now()), refresh=True)
            time.sleep(WATCH_SECONDS)


def _fitted(screen: Console, deployment: Deployment, pools: Sequence[Seen], now: datetime) -> RenderableType:
    """The whole screen where the terminal is high enough. Else those pools that fit with their reasons: first what
    lacks capacity, then what else has something to say; and how many are left out."""
    whole = _screen(deployment, pools, now)
    if _lines(screen, whole) <= screen.height:
        return whole
    ordered = sorted(pools, key=lambda each: (not _lacks(each), headline(each, now) is None))

    def first(count: int) -> RenderableType:
        return Group(_screen(deployment, ordered[:count], now), _left_out(ordered[count:]))

    counts = range(1, len(ordered))
    fitting = bisect_right(counts, screen.height, key=lambda count: _lines(screen, first(count)))
    return first(max(1, fitting))


def _lines(screen: Console, shown: RenderableType) -> int:
    return len(screen.render_lines(shown, pad=False))


def _lacks(each: Seen) -> bool:
    return each.counts["unfulfilled"] > 0


def _left_out(pools: Sequence[Seen]) -> Text:
    lacking = sum(map(_lacks, pools))
    also = f", {lacking} of which lack{'s' if lacking == 1 else ''} capacity" if lacking else ""
    return Text(f"… and {several(len(pools), 'more pool')}{also}", style="dim", no_wrap=True)


def _screen(deployment: Deployment, pools: Sequence[Seen], now: datetime) -> RenderableType:
    heading = Text(f"{deployment.stack} in {deployment.region}, {now:%H:%M:%S} UTC", style="dim")
    if not pools:
        return Group(heading, Text("No pools yet: lowtide pools apply FILE"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("pool", max_width=26, overflow="fold")
    for _, title in _COLUMNS:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("oldest", justify="right", no_wrap=True)
    table.add_column("$/hour", justify="right", no_wrap=True)
    for each in pools:
        oldest = "-" if each.oldest_queued_at is None else ago(each.oldest_queued_at, now)
        numbers = [str(each.counts[name]) for name, _ in _COLUMNS]
        table.add_row(Text(each.pool.name), *numbers, oldest, f"{each.hourly_cost_usd:.2f}")
    return Group(heading, table, *(line for each in pools for line in _trouble(each, now, deployment.stack)))


def _trouble(each: Seen, now: datetime, stack: str) -> list[Text]:
    """What is missing and the first reason, the one to act on."""
    told = headline(each, now)
    if told is None:
        return []
    lines = [Text(f"\n{each.pool.name}: {told}", style="yellow")]
    if each.reasons:
        lines.append(Text(f"  {for_stack(each.reasons[0].remedy, stack)}"))
    return lines


def headline(each: Seen, now: datetime) -> str | None:
    """`2 of 5 instances missing for 12m: price: cheapest offering …`; None where nothing is to be said."""
    missing, first = each.counts["unfulfilled"], (each.reasons[0] if each.reasons else None)
    if each.pool.deleted:
        return "being deleted"
    told: list[str] = []
    if missing:
        noun = "instance" if each.counts["desired"] == 1 else "instances"
        period = span(missing_for(each, now))
        told.append(f"{missing} of {each.counts['desired']} {noun} missing for {period}")
    if first:
        told.append(f"{first.reason_class.value}: {first.message}")
    elif each.pool.paused:
        told.append("paused")
    return ": ".join(told) or None
