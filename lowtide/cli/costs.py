"""`lowtide costs`: what was spent, what it saved, what stood idle, what interruptions took; by pool and by job tag."""

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from lambdas.adapters.ledger import Ledger
from lambdas.adapters.pool_config import PoolConfig
from lambdas.domain.buying.bills import Bill, Spent, spent_on
from lambdas.domain.words import several
from lowtide.cli import cost_store
from lowtide.cli.connection import Deployment
from lowtide.cli.errors import Misuse
from lowtide.cli.moments import instant
from lowtide.cli.options import DEFAULT_STACK, AsJson, Stack
from lowtide.cli.output import console, print_json

UNTAGGED = "(none)"
"""How people are shown the jobs without the tag; null for programs, empty in CSV."""
EMPTY = '""'
"""And those whose tag has no text."""
_MONEY = ("spent_usd", "on_demand_usd", "saved_usd", "idle_usd", "interrupted_usd")
_OF_TAGS = ("spent_usd", "on_demand_usd", "saved_usd", "interrupted_usd")
"""An idle instance is no job's: by tag there is no idle time."""
_TITLES = {
    **{"spent_usd": "spent $", "on_demand_usd": "on demand $", "saved_usd": "saved $", "idle_usd": "idle $"},
    "interrupted_usd": "interrupted $",
}


@dataclass(slots=True)
class _Row:
    spent: Spent = field(default_factory=Spent)
    count: int = 0
    """Instances of a pool, jobs of a tag's value."""


def costs(
    since: Annotated[str, typer.Option(help="From when on: a time, or how long ago, as 36h or 7d.")] = "7d",
    tag: Annotated[str | None, typer.Option(help="By the values of this job tag, too.")] = None,
    pool: Annotated[str | None, typer.Option(help="Only this pool's.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: a row a pool, or with --tag one a value.")] = False,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """What instances cost, and what of it was saved, idle, or spent on attempts that were interrupted."""
    if as_csv and as_json:
        raise Misuse("--csv and --json are two answers: ask for one of them")
    deployment = Deployment(stack)
    now = deployment.now()
    begin = instant("--since", since, now)
    pools = _by_pool(_bills(deployment, pool, begin, now), begin)
    tags = None if tag is None else _by_tag(deployment, tag, [pool] if pool else list(pools), begin, now)
    if as_json:
        print_json(_document(pools, tag, tags, begin, now))
    elif as_csv:
        _print_csv(pools, tag, tags)
    else:
        _print_tables(pools, tag, tags, begin)


def _bills(deployment: Deployment, only: str | None, since: datetime, now: datetime) -> list[Bill]:
    """Of pools that are deleted since, too."""
    names = [each.name for each in PoolConfig(deployment.table).pools() if only in (None, each.name)]
    found = cost_store.bills(deployment.table, names, since, now)
    return [bill for bill in found if only in (None, bill.pool)]


def _by_pool(bills: Iterable[Bill], since: datetime) -> dict[str, _Row]:
    rows: dict[str, _Row] = {}
    for bill in sorted(bills, key=lambda bill: bill.pool):
        _add(rows.setdefault(bill.pool, _Row()), spent_on(bill, since))
    return rows


def _by_tag(
    deployment: Deployment, tag: str, pools: Sequence[str], since: datetime, now: datetime
) -> dict[str | None, _Row]:
    ledger = Ledger(deployment.table, jobs_kept=deployment.settings.jobs_kept)
    rows: dict[str | None, _Row] = {}
    for spec, spent in cost_store.jobs(deployment.table, ledger, pools, since, now):
        _add(rows.setdefault(dict(spec.tags).get(tag), _Row()), spent)
    return dict(sorted(rows.items(), key=lambda row: (-row[1].spent.spent_usd, row[0] is None, row[0] or "")))


def _add(row: _Row, spent: Spent) -> None:
    row.spent += spent
    row.count += 1


def _total(rows: Iterable[_Row]) -> Spent:
    return sum((row.spent for row in rows), Spent())


# --- what is shown ----------------------------------------------------------------------------------------------------


def _document(
    pools: Mapping[str, _Row], tag: str | None, tags: Mapping[str | None, _Row] | None, since: datetime, now: datetime
) -> dict[str, Any]:
    by_value = [{"value": value, **_numbers(row, _OF_TAGS, "jobs")} for value, row in (tags or {}).items()]
    return {
        **{"since": since, "as_of": now},
        "pools": [{"pool": name, **_numbers(row, _MONEY, "instances")} for name, row in pools.items()],
        "total": _money(_total(pools.values()), _MONEY),
        **({} if tags is None else {"tag": tag, "tags": by_value}),
    }


def _numbers(row: _Row, money: Sequence[str], counted: str) -> dict[str, Any]:
    return {**_money(row.spent, money), counted: row.count}


def _money(spent: Spent, names: Sequence[str]) -> dict[str, Any]:
    return {**{name: getattr(spent, name) for name in names}, "estimated": spent.estimated}


def _print_csv(pools: Mapping[str, _Row], tag: str | None, tags: Mapping[str | None, _Row] | None) -> None:
    """Exact decimals, no total: a spreadsheet adds."""
    out = csv.writer(sys.stdout, lineterminator="\n")
    if tags is None:
        rows = [{"pool": name, **_numbers(row, _MONEY, "instances")} for name, row in pools.items()]
        out.writerow(["pool", *_MONEY, "estimated", "instances"])
    else:
        rows = [{str(tag): value or "", **_numbers(row, _OF_TAGS, "jobs")} for value, row in tags.items()]
        out.writerow([tag, *_OF_TAGS, "estimated", "jobs"])
    out.writerows(list(row.values()) for row in rows)


def _print_tables(
    pools: Mapping[str, _Row], tag: str | None, tags: Mapping[str | None, _Row] | None, since: datetime
) -> None:
    if not pools:
        console().print(f"No instance ran since {since:%Y-%m-%d %H:%M} UTC.")
        return
    console().print(Text(f"since {since:%Y-%m-%d %H:%M} UTC", style="dim"))
    console().print(_table("pool", [(name, row.spent) for name, row in pools.items()], _MONEY))
    if tags:
        console().print()
        console().print(_table(str(tag), [(_value(v), row.spent) for v, row in tags.items()], _OF_TAGS))
    elif tags is not None:
        console().print("\nNo job ran in that time.")
    if guessed := _total(pools.values()).estimated:
        console().print(f"\n{several(guessed, 'instance')} at the price limit, the most they can have cost.")


def _value(tag: str | None) -> str:
    """As people are shown it: a tag without text is another thing than none."""
    return UNTAGGED if tag is None else tag or EMPTY


def _table(first: str, rows: Sequence[tuple[str, Spent]], columns: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=len(rows) > 1)
    total = sum((spent for _, spent in rows), Spent())
    table.add_column(Text(first), "total", max_width=26, overflow="fold")
    for name in columns:
        table.add_column(_TITLES[name], _dollars(getattr(total, name)), justify="right", no_wrap=True)
    for name, spent in rows:
        table.add_row(Text(name), *(_dollars(getattr(spent, column)) for column in columns))
    return table


def _dollars(usd: Decimal) -> str:
    """To the cent; what is less than ten cents to the hundredth of one, so that short trials show what they cost."""
    return f"{usd:.2f}" if abs(usd) >= Decimal("0.1") or not usd else f"{usd:.4f}"
