"""`lowtide simulate`: what would happen, played without AWS."""

import json
import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from lowtide.cli import simulate_pool
from lowtide.cli.errors import Failure, Misuse
from lowtide.cli.output import console

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
        raise Failure(str(error)) from error
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
    screen.print(f"{len(read)} runs of {policy}: ${cost:,.2f}, {missed} missed. Written to {out}.")


@app.command()
def laws(
    seeds: Annotated[int, typer.Option(min=1, help="How many stories to play.")] = 20,
    first: Annotated[int, typer.Option(min=0, help="The first one's seed.")] = 0,
) -> None:
    """Play seeded storms over a whole simulated deployment, and hold them against the laws.

    Jobs arrive, the market is in trouble, pools are changed, AWS calls fail, functions are killed. Exit 1 if a law
    breaks, with the story made as short as it can be.
    """
    from lowtide.sim.storm import played, shortened, story  # the simulation's import is for this verb alone

    logging.disable(logging.CRITICAL)  # the functions' own lines
    screen, calls, struck = console(), 0, 0
    broken: list[int] = []
    for seed in track(range(first, first + seeds), "Playing", console=screen, transient=True):
        outcome = played(story(seed))
        calls, struck = calls + outcome.calls, struck + outcome.struck
        if outcome.violations:
            broken.append(seed)
            screen.print(f"Seed {seed}: {'; '.join(outcome.violations)}")
    screen.print(f"{seeds} stories, {calls} AWS calls, {struck} of them struck by a fault: {len(broken)} broke a law.")
    if broken:
        short = shortened(story(broken[0]), lambda told: bool(played(told).violations))
        screen.print(f"Seed {broken[0]} in short:\n{short}")
        raise Failure(f"a law broke: play it again with `lowtide simulate laws --first {broken[0]} --seeds 1`")
