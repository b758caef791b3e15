"""`lowtide pools`: what capacity there may be, described in a file and applied to a deployment."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lambdas.adapters import keys
from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.table import Conflict, Table
from lambdas.domain.instants import to_text
from lambdas.domain.pools import Pool
from lowtide.cli.connection import Deployment, utc_now
from lowtide.cli.errors import Failure, Misuse
from lowtide.cli.options import DEFAULT_STACK, AsJson, Stack, Yes
from lowtide.cli.output import console, print_json, print_rows
from lowtide.poolfile.difference import changes, cost_line
from lowtide.poolfile.facts import gather
from lowtide.poolfile.load import PoolFile, Problem, read
from lowtide.poolfile.resolve import most_per_hour, resolve
from lowtide.poolfile.template import TEMPLATE

app = typer.Typer(help="Pools of instances: validate, apply, list, show.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="Pool file, YAML or JSON.", dir_okay=False)]


@app.command()
def init(file: Annotated[Path, typer.Argument(help="File to write.")] = Path("pools.yaml")) -> None:
    """Write a commented pool file with a CPU and a GPU pool, spot by default."""
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(TEMPLATE)
    except FileExistsError as error:
        raise Misuse(f"{file} exists already: name another file, or remove it first") from error
    console().print(f"Wrote {file}. Next: lowtide pools validate {file}")


@app.command()
def validate(file: File, as_json: AsJson = False) -> None:
    """Check a pool file without asking AWS: every problem with its path, value and remedy."""
    found = _read(file)
    if as_json:
        problems = [{"path": p.path, "message": p.message} for p in found.problems]
        print_json({"valid": not problems, "problems": problems, "notes": found.notes})
    else:
        _tell(found)
        if not found.problems:
            console().print(f"{file}: {_count(len(found.entries), 'pool')}, valid")
    if found.problems:
        raise typer.Exit(1)


@app.command()
def apply(file: File, stack: Stack = DEFAULT_STACK, yes: Yes = False) -> None:
    """Make the deployment's pools as the file says. Pools that the file does not name stay as they are."""
    found = _read(file)
    _tell(found)
    if found.problems:
        raise Failure(f"{file} has {_count(len(found.problems), 'problem')}; nothing was changed")
    deployment = Deployment(stack)
    deployment.announce()
    store = PoolConfig(deployment.table)
    changed = _show_changes(store, _resolved(deployment, found))
    if not changed:
        console().print("Nothing to change.")
        return
    if not yes and sys.stdin.isatty() and not typer.confirm("Apply?"):
        raise Failure("not applied; nothing was changed")
    for old, new in changed:
        _store(store, old, new)
        _wake(deployment.table, new.name)
        console().print(f"{new.name}: applied")


@app.command("list")
def list_pools(stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """The deployment's pools."""
    pools = PoolConfig(Deployment(stack).table).pools()
    if as_json:
        print_json([_document(pool) for pool in pools])
        return
    rows = [
        {
            "name": pool.name,
            "kind": pool.capacity_type().value,
            "types": [kind.name for kind in pool.types],
            "limit": _limit(pool),
            "min": pool.min_instances,
            "max": pool.max_instances,
            "paused": "yes" if pool.paused else "no",
        }
        for pool in pools
    ]
    print_rows(
        ("name", "kind", "types", "limit", "min", "max", "paused"), rows, empty="No pools yet: lowtide pools apply FILE"
    )


@app.command()
def show(name: str, stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """One pool with everything that was filled in for it."""
    store = PoolConfig(Deployment(stack).table)
    if (pool := store.pool(name)) is None:
        raise Failure(f"there is no pool {name}; pools are {', '.join(p.name for p in store.pools()) or 'none yet'}")
    if as_json:
        print_json(_document(pool))
        return
    console().print(f"[bold]{pool.name}[/bold] (version {pool.version}): {cost_line(pool)}")
    for line in changes(None, pool):
        console().print("  " + line.removeprefix("+ "), markup=False)


def _read(file: Path) -> PoolFile:
    try:
        return read(file)
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"{file} cannot be read: {error}") from error


def _tell(found: PoolFile) -> None:
    for note in found.notes:
        console().print(f"note: {note}", markup=False)
    for problem in found.problems:
        console().print(str(problem), markup=False)


def _resolved(deployment: Deployment, found: PoolFile) -> list[Pool]:
    facts = gather(deployment, found.entries)
    pools: list[Pool] = []
    problems: list[Problem] = []
    for number, entry in enumerate(found.entries):
        pool, wrong = resolve(entry, f"resource_pools[{number}]", facts, utc_now())
        pools, problems = pools + ([pool] if pool else []), problems + wrong
    if problems:
        _tell(PoolFile(problems=tuple(problems)))
        raise Failure(f"{_count(len(problems), 'problem')} in this account and Region; nothing was changed")
    return pools


def _show_changes(store: PoolConfig, pools: list[Pool]) -> list[tuple[Pool | None, Pool]]:
    """Prints the difference of each pool and what it can cost; the pairs (stored, wanted) that differ."""
    changed: list[tuple[Pool | None, Pool]] = []
    for new in pools:
        old = store.pool(new.name)
        if lines := changes(old, new):
            changed.append((old, new))
            console().print(f"[bold]{new.name}[/bold]: {cost_line(new)}")
            for line in lines:
                console().print(f"  {line}", markup=False)
    return changed


def _store(store: PoolConfig, old: Pool | None, new: Pool) -> None:
    try:
        store.put_pool(new, old.version if old else None, now=utc_now())
    except Conflict as error:
        raise Failure(
            f"somebody else changed pool {new.name} just now; it was not touched: "
            f"look with `lowtide pools show {new.name}` and apply again"
        ) from error


def _wake(table: Table, pool: str) -> None:
    """Makes the pool due, so that the next tick (within a minute) looks at it with its new configuration."""
    values = {":due": keys.DUE, ":now": to_text(utc_now()), ":pool": pool}
    expression = "SET gpk = :due, gsk = :now, #pool = :pool"
    table.update(keys.pool(pool), keys.STATE, expression, names={"#pool": "pool"}, values=values)


def _document(pool: Pool) -> dict[str, Any]:
    most = most_per_hour(pool)
    return {**pool.to_document(), "most_usd_per_hour": None if most is None else str(most)}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _limit(pool: Pool) -> str:
    """The price limit as its owner wrote it."""
    if not pool.spot:
        return "-"
    dollars = None if pool.spot_max_price is None else f"${pool.spot_max_price}"
    share = None if pool.spot_max_percent is None else f"{pool.spot_max_percent}%"
    return " and ".join(filter(None, (dollars, share))) or "on-demand"
