"""`lowtide pools apply`: from a pool file to the deployment's pools, with the difference shown before it is made."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lambdas.adapters.pool_config import PoolConfig
from lambdas.domain.pools.pools import Pool
from lambdas.domain.words import several
from lowtide.cli.asking import confirm
from lowtide.cli.connection import Deployment
from lowtide.cli.errors import Failure, Misuse
from lowtide.cli.options import DEFAULT_STACK, Stack, Yes
from lowtide.cli.output import console
from lowtide.cli.pool_store import put
from lowtide.poolfile.difference import changes, cost_line
from lowtide.poolfile.facts import gather
from lowtide.poolfile.load import PoolFile, Problem, read
from lowtide.poolfile.resolve import resolve

File = Annotated[Path, typer.Argument(help="Pool file, YAML or JSON.", dir_okay=False)]


def apply(file: File, stack: Stack = DEFAULT_STACK, yes: Yes = False) -> None:
    """Make the deployment's pools as the file says. Pools that the file does not name stay as they are."""
    found = read_file(file)
    tell(found)
    if found.problems:
        raise Failure(f"{file} has {several(len(found.problems), 'problem')}; nothing was changed")
    deployment = Deployment(stack)
    deployment.announce()
    store = PoolConfig(deployment.table)
    changed = _show_changes(store, resolved(deployment, found))
    if not changed:
        console().print("Nothing to change.")
        return
    confirm("Apply?", yes=yes)
    for old, new in changed:
        stored = put(store, old, new, deployment.now())
        console().print(f"{stored.name}: version {stored.version} applied", markup=False)


def read_file(file: Path) -> PoolFile:
    """Raises Misuse where the file cannot be read; what is wrong in it is among its problems."""
    try:
        return read(file)
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"{file} cannot be read: {error}") from error


def tell(found: PoolFile) -> None:
    """Prints what the reader of the file should know; on stderr, what is wrong with it."""
    for note in found.notes:
        console().print(f"note: {note}", markup=False)
    for problem in found.problems:
        Console(stderr=True, highlight=False, soft_wrap=True).print(str(problem), markup=False)


def resolved(deployment: Deployment, found: PoolFile) -> list[Pool]:
    """The file's pools with the facts of this account and Region. Raises Failure, after every problem is printed."""
    facts = gather(deployment, found.entries)
    pools: list[Pool] = []
    problems: list[Problem] = []
    for number, entry in enumerate(found.entries):
        pool, wrong = resolve(entry, f"resource_pools[{number}]", facts, deployment.now())
        pools, problems = pools + ([pool] if pool else []), problems + wrong
    if problems:
        tell(PoolFile(problems=tuple(problems)))
        raise Failure(f"{several(len(problems), 'problem')} in this account and Region; nothing was changed")
    return pools


def _show_changes(store: PoolConfig, pools: list[Pool]) -> list[tuple[Pool | None, Pool]]:
    """Prints the difference of each pool and what it can cost; the pairs (stored, wanted) that differ."""
    changed: list[tuple[Pool | None, Pool]] = []
    for new in pools:
        old = store.pool(new.name)
        if lines := changes(old, new):
            changed.append((old, new))
            show_change(new, lines)
    return changed


def show_change(new: Pool, lines: list[str]) -> None:
    console().print(f"{new.name}: {cost_line(new)}", markup=False)
    for line in lines:
        console().print(f"  {line}", markup=False)
