"""`lowtide pools`: what capacity there may be. Here: reading and checking; changing is in files of its own."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lambdas.adapters.pool_config import PoolConfig
from lambdas.domain.pools.pools import Pool
from lambdas.domain.words import several
from lowtide.cli import pool_apply, pool_verbs
from lowtide.cli.connection import Deployment
from lowtide.cli.errors import Misuse
from lowtide.cli.options import DEFAULT_STACK, AsJson, Stack
from lowtide.cli.output import console, print_json, print_rows
from lowtide.cli.pool_apply import read_file, tell
from lowtide.cli.pool_store import pool_named
from lowtide.poolfile.difference import changes, cost_line, without_secrets
from lowtide.poolfile.resolve import most_per_hour
from lowtide.poolfile.template import TEMPLATE

app = typer.Typer(help="Pools of instances.", no_args_is_help=True)


@app.command()
def init(file: Annotated[Path, typer.Argument(help="File to write.")] = Path("pools.yaml")) -> None:
    """Write a commented pool file with a CPU and a GPU pool, spot by default."""
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(TEMPLATE)
    except FileExistsError as error:
        raise Misuse(f"{file} exists already: name another file, or remove it first") from error
    except OSError as error:
        raise Misuse(f"{file} cannot be written: {error.strerror}") from error
    console().print(f"Wrote {file}. Next: lowtide pools validate {file}", markup=False)


@app.command()
def validate(file: pool_apply.File, as_json: AsJson = False) -> None:
    """Check a pool file without asking AWS: every problem with its path, value and remedy."""
    found = read_file(file)
    if as_json:
        problems = [{"path": p.path, "message": p.message} for p in found.problems]
        print_json({"valid": not problems, "problems": problems, "notes": found.notes})
    else:
        tell(found)
        if not found.problems:
            console().print(f"{file}: {several(len(found.entries), 'pool')}, valid", markup=False)
    if found.problems:
        raise typer.Exit(1)


app.command("apply")(pool_apply.apply)


@app.command("list")
def list_pools(stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """The deployment's pools."""
    pools = PoolConfig(Deployment(stack).table).pools()
    if as_json:
        print_json([_document(pool) for pool in pools])
        return
    print_rows(
        ("name", "kind", "types", "limit", "min", "max", "state"),
        [_row(pool) for pool in pools],
        empty="No pools yet: lowtide pools apply FILE",
    )


@app.command()
def show(name: pool_verbs.Name, stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """One pool with everything that was filled in for it."""
    pool = pool_named(PoolConfig(Deployment(stack).table), name)
    if as_json:
        print_json(_document(pool))
        return
    state = "" if _state(pool) == "active" else f", {_state(pool)}"
    console().print(f"{pool.name} (version {pool.version}{state}): {cost_line(pool)}", markup=False)
    for line in changes(None, pool):
        console().print("  " + line.removeprefix("+ "), markup=False)


app.command("history")(pool_verbs.history)
app.command("rollback")(pool_verbs.rollback)
app.command("pause")(pool_verbs.pause)
app.command("resume")(pool_verbs.resume)
app.command("delete")(pool_verbs.delete)


def _row(pool: Pool) -> dict[str, Any]:
    return {
        **{"name": pool.name, "kind": pool.capacity_type().value, "types": [kind.name for kind in pool.types]},
        **{"limit": _limit(pool), "min": pool.min_instances, "max": pool.max_instances, "state": _state(pool)},
    }


def _state(pool: Pool) -> str:
    return "being deleted" if pool.deleted else "paused" if pool.paused else "active"


def _document(pool: Pool) -> dict[str, Any]:
    most = most_per_hour(pool)
    return {**without_secrets(pool.to_document()), "most_usd_per_hour": None if most is None else str(most)}


def _limit(pool: Pool) -> str:
    """The price limit as its owner wrote it."""
    if not pool.spot:
        return "-"
    dollars = None if pool.spot_max_price is None else f"${pool.spot_max_price}"
    share = None if pool.spot_max_percent is None else f"{pool.spot_max_percent}%"
    return " and ".join(filter(None, (dollars, share))) or "on-demand"
