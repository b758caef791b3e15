"""Many runs at once, on every core."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from lambdas.domain.deadlines import published
from lambdas.domain.deadlines.game import Policy
from lambdas.domain.deadlines.own import lowtide
from lowtide.deadlines.optimum import omniscient
from lowtide.deadlines.play import Outcome, Run, play

POLICIES: Mapping[str, Policy] = {
    "on-demand": published.on_demand,
    "greedy": published.greedy,
    "uniform-progress": published.uniform_progress,
    "lowtide": lowtide,
}
OMNISCIENT = "omniscient"
PLAYABLE = (*POLICIES, OMNISCIENT)
"""What `lowtide simulate deadlines --policy` takes."""

_FEW = 16
"""Below this many runs, starting processes takes longer than it saves."""


def outcome(run: Run, name: str) -> Outcome:
    return omniscient(run) if name == OMNISCIENT else play(run, POLICIES[name])


def outcomes(runs: Sequence[Run], name: str, *, processes: int | None = None) -> Iterator[Outcome]:
    """One for each run, in their order, as they are ready."""
    return spread(partial(_outcome_of, name), runs, processes=processes)


def _outcome_of(name: str, run: Run) -> Outcome:
    return outcome(run, name)


def spread(task: Callable[[Run], Outcome], runs: Sequence[Run], *, processes: int | None = None) -> Iterator[Outcome]:
    workers = processes or os.cpu_count() or 1
    if workers == 1 or len(runs) < _FEW:
        yield from map(task, runs)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(task, runs, chunksize=max(1, min(16, len(runs) // (4 * workers))))
