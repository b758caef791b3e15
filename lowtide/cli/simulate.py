"""`lowtide simulate`: what would happen, played without AWS."""

import json
import logging
import os
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import track

from lowtide.cli import simulate_pool
from lowtide.cli.errors import Failure, Misuse
from lowtide.cli.output import console

if TYPE_CHECKING:
    from lowtide.sim.storm.bulk import Tally

app = typer.Typer(help="Play what would happen: laws, deadlines, pool.", no_args_is_help=True)
app.command("pool")(simulate_pool.pool)


@app.callback()
def simulate() -> None:
    """Play what would happen, without AWS."""


@app.command()
def deadlines(
    policy: Annotated[str, typer.Option(help="on-demand, greedy, uniform-progress, lowtide or omniscient.")],
    runs: Annotated[Path, typer.Option(help="Runs to play, one JSON object a line.")],
    out: Annotated[Path, typer.Option(help="Where to write what happened, one JSON object a line.")],
) -> None:
    """Play jobs with deadlines over recorded spot availability, and write what each cost and when it finished."""
    from lowtide.deadlines.bulk import PLAYABLE, outcomes  # numpy's import is for this verb alone
    from lowtide.deadlines.runs import RunsError, line_of, runs_of

    if policy not in PLAYABLE:
        raise Misuse(f"--policy {policy} is not known: choose one of {', '.join(PLAYABLE)}")
    try:
        read = runs_of(runs)
    except RunsError as error:
        raise Misuse(str(error)) from error
    cost, missed, screen = 0.0, 0, console()
    try:
        with out.open("w", encoding="utf-8") as file:
            for run, found in zip(
                read, track(outcomes(read, policy), "Playing", len(read), console=screen, transient=True), strict=True
            ):
                line = line_of(run, policy, found.choices, found.cost_usd, found.finished_s)
                file.write(json.dumps(line) + "\n")
                cost, missed = cost + found.cost_usd, missed + (found.finished_s is None)
    except OSError as error:
        raise Failure(f"{out} cannot be written: {error.strerror}") from error
    except BrokenProcessPool as error:
        raise Failure(
            "a process of the simulation was ended from outside, perhaps for want of memory: try again"
        ) from error
    screen.print(f"{len(read)} runs of {policy}: ${cost:,.2f}, {missed} missed. Written to {out}.")


@app.command()
def laws(
    seeds: Annotated[int, typer.Option(min=1, help="How many stories to play.")] = 20,
    first: Annotated[int, typer.Option(min=0, help="The first one's seed.")] = 0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; default: one for each core.")] = None,
    branches: Annotated[bool, typer.Option(help="How many of the control plane's branches were reached.")] = False,
) -> None:
    """Play seeded storms over a whole simulated deployment, and hold them against the laws.

    Jobs arrive, the market moves, people change pools; AWS calls fail, functions are killed, messages come twice,
    workers die. Exit 1 if a law breaks, with the story made as short as it can be.
    """
    from lowtide.sim import reach  # the simulation's import is for this verb alone
    from lowtide.sim.storm import played, shortened, told
    from lowtide.sim.storm.bulk import Tally, outcomes

    if branches and not reach.available():
        raise Misuse("--branches needs Python 3.12 or newer: leave it out, or run Lowtide with that")
    logging.disable(logging.CRITICAL)  # the functions' own lines
    screen, tally, began_at = console(), Tally(), time.monotonic()
    wanted = range(first, first + seeds)
    with reach.measured(branches) as reached:
        # branches are counted in this process alone
        playing = outcomes(wanted, 1 if branches else min(seeds, jobs or os.cpu_count() or 1))
        for seed, outcome in track(playing, "Playing", seeds, console=screen, transient=True):
            tally.add(seed, outcome)
            if outcome.violations:
                screen.print(f"Seed {seed}: {'; '.join(outcome.violations)}", markup=False)
    _show(tally, time.monotonic() - began_at)
    if branches:
        screen.print(f"{reached.taken} of the control plane's {reached.known} branches were reached.")
    if tally.broken:
        seed = tally.broken[0]
        short = shortened(told(seed), lambda story: bool(played(story).violations))
        screen.print(f"Seed {seed} in short:\n{short}", markup=False)
        raise Failure(f"a law broke: play it again with `lowtide simulate laws --first {seed} --seeds 1`")


def _show(tally: "Tally", seconds: float) -> None:
    """What was played, and what struck it."""
    screen = console()
    per_minute = tally.seeds * 60 / max(seconds, 0.001)
    met = ", ".join(f"{kind} {count / tally.seeds:.2f}" for kind, count in tally.struck.most_common())
    screen.print(
        f"{tally.seeds} stories of {tally.jobs} jobs and {tally.calls} AWS calls, {per_minute:.0f} a minute: "
        f"{len(tally.broken)} broke a law."
    )
    screen.print(f"{tally.struck.total() / tally.seeds:.1f} faults a story: {met or 'none'}.", markup=False)
