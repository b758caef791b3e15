"""Many storms at once: seeds dealt to processes, and what they came to put together."""

import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from lowtide.sim.storm import Outcome, played, told

DEALT = 4
"""Seeds that a process is given at a time: some seconds of work."""


@dataclass(slots=True)
class Tally:
    """Of all the stories played so far."""

    seeds: int = 0
    calls: int = 0
    jobs: int = 0
    struck: Counter[str] = field(default_factory=Counter[str])
    broken: list[int] = field(default_factory=list[int])
    """Seeds whose stories broke a law."""

    def add(self, seed: int, outcome: Outcome) -> None:
        self.seeds += 1
        self.calls += outcome.calls
        self.jobs += outcome.jobs
        self.struck.update(outcome.struck)
        if outcome.violations:
            self.broken.append(seed)


def outcomes(seeds: Sequence[int], jobs: int) -> Iterator[tuple[int, Outcome]]:
    """Each seed with what its story came to, in the order of the seeds, from so many processes."""
    if jobs == 1:
        yield from map(_one, seeds)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_one, seeds, chunksize=DEALT)


def _one(seed: int) -> tuple[int, Outcome]:
    return seed, played(told(seed))
