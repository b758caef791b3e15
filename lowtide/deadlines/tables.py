"""python -m lowtide.deadlines.tables: makes the tables of Lowtide's own policy anew (some seconds, 1 GB).

Backward induction over time left, for all models at once. A state is the age class of the running stretch, what is held
and the net work left. Time moves in steps of a quarter of a restart; hazards and the passage from one age class to the
next are taken by the step. On-demand is never lost, so its restart is charged as net work at once; a restart on spot is
gone through step by step, because it may be lost before it ends.
"""

import textwrap
from base64 import b85encode
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from zlib import compress

import numpy as np
from numpy.typing import NDArray

from lambdas.domain.deadlines import models
from lambdas.domain.deadlines.advice import Question, encoded

Array = NDArray[np.floating]
"""[model, age class, net work]"""

PLACE = Path(models.__file__).with_name("tables.py")
STEPS = 4
"""A restart."""
STEP = np.float32(1 / STEPS)
SPOT = np.float32(models.PRICE_RATIO / STEPS)
NEVER = np.float32(1e5)
"""The cost of what cannot be in time."""

HEAD = '"""The tables of Lowtide\'s own policy. Made by python -m lowtide.deadlines.tables; do not edit."""\n\n'


def differences() -> Array:
    """[question, age class, work, slack, model], in hours of on-demand per hour of restart."""
    shape = (len(Question), len(models.AGES), len(models.WORKS), len(models.SLACKS), _pairs()[0].size)
    found = np.zeros(shape, np.float32)
    wanted: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for i, work in enumerate(models.WORKS):
        for j, slack in enumerate(models.SLACKS):
            wanted[round(STEPS * (work + slack + 1))].append((i, j, round(STEPS * work)))
    costs = _Costs()
    for left in range(1, max(wanted) + 1):
        compared = costs.step(left)
        for i, j, work in wanted.get(left, ()):
            for question, difference in compared.items():
                found[question, :, i, j] = difference[:, :, work].T
    return found


def _pairs() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    up, down = np.meshgrid(models.UP_SCALES, models.DOWN_SCALES, indexing="ij")
    return up.ravel(), down.ravel()


def _hazards(shape: float, scales: NDArray[np.float64], middles: NDArray[np.float64]) -> Array:
    """The probability that a stretch ends within a step."""
    ends = np.empty((scales.size, middles.size, 1), np.float32)
    ends[:, :, 0] = 1 - np.exp(-shape / STEPS / (middles + scales[:, None]))
    return ends


class _Costs:
    """Cost to go at the start of a step, once it is known whether there is spot; moved one step back at a time."""

    def __init__(self) -> None:
        starts = np.array([*models.AGES, 2 * models.AGES[-1]], np.float64)
        widths, middles = np.diff(starts), (starts[1:] + starts[:-1]) / 2
        up, down = _pairs()
        self._ends_up = _hazards(models.UP_SHAPE, up, middles)
        self._ends_down = _hazards(models.DOWN_SHAPE, down, middles)
        ageing = np.minimum(1, 1 / STEPS / widths)
        ageing[-1] = 0
        self._ageing = ageing.astype(np.float32)[None, :, None]
        self._works = round(models.WORKS[-1] * STEPS) + 1
        self._up_idle, self._up_bought, self._down_idle, self._down_bought = (self._done() for _ in range(4))
        self._on_spot = [self._done() for _ in range(STEPS)]
        """By the steps of restart that are left."""

    def _done(self) -> Array:
        costs = np.full((len(self._ends_up), len(models.AGES), self._works), NEVER, np.float32)
        costs[:, :, 0] = 0
        return costs

    def step(self, left: int) -> Mapping[Question, Array]:
        """With `left` steps before the deadline; says what the choices cost beside each other."""
        works = min(self._works, left + STEPS + 1)
        held = (self._up_idle, self._up_bought, self._down_idle, self._down_bought, *self._on_spot)
        up_idle, up_bought, down_idle, down_bought, *on_spot = (costs[:, :, :works] for costs in held)
        idle = self._after(self._ends_up, up_idle, down_idle)
        keep = _worked(self._after(self._ends_up, up_bought, down_bought)) + STEP
        idle_down = self._after(self._ends_down, down_idle, up_idle)
        keep_down = _worked(self._after(self._ends_down, down_bought, up_bought)) + STEP
        spot = [self._after(self._ends_up, costs, down_idle) + SPOT for costs in on_spot]
        start, start_down = self._started(keep), self._started(keep_down)
        best = np.minimum(np.minimum(spot[-1], idle), start)
        compared = {
            Question.DOWN_IDLE_OR_START: idle_down - start_down,
            Question.DOWN_IDLE_OR_KEEP: idle_down - keep_down,
            Question.UP_SPOT_OR_KEEP: spot[-1] - keep,
            Question.UP_IDLE_OR_KEEP: idle - keep,
            Question.UP_SPOT_OR_IDLE: spot[-1] - idle,
            Question.UP_ON_DEMAND_OR_IDLE: start - idle,
        }
        running = _worked(spot[0] - SPOT) + SPOT
        new = (
            *(best, np.minimum(keep, best), np.minimum(idle_down, start_down), np.minimum(keep_down, idle_down)),
            *(np.minimum(costs, best) for costs in (running, *spot[:-1])),
        )
        for costs, cost in zip(held, new, strict=True):
            costs[:, :, :works] = np.minimum(cost, NEVER)
            costs[:, :, 0] = 0
        return compared

    def _after(self, ends: Array, stays: Array, other: Array) -> Array:
        """The mean over what the market does: the stretch ends and the other begins, or it lasts and grows older."""
        older = np.concatenate([stays[:, 1:], stays[:, -1:]], axis=1)
        lasts = stays + self._ageing * (older - stays)
        return lasts + ends * (other[:, :1] - lasts)

    def _started(self, keep: Array) -> Array:
        """On-demand with its restart before it. At the tables' edge the restart is charged in full, and no slack."""
        started = np.full_like(keep, NEVER)
        started[:, :, :-STEPS] = keep[:, :, STEPS:]
        if keep.shape[2] == self._works:
            started[:, :, -STEPS:] = keep[:, :, -1:] + 1
        return started


def _worked(costs: Array) -> Array:
    """A step of progress: the costs of one step less of work."""
    worked = np.zeros_like(costs)
    worked[:, :, 1:] = costs[:, :, :-1]
    return worked


def packed(found: Array) -> str:
    raw = bytes(map(encoded, found.ravel().tolist()))
    return "\n".join(textwrap.wrap(b85encode(compress(raw, 9)).decode("ascii"), 116, break_on_hyphens=False))


def main() -> None:
    PLACE.write_text(f'{HEAD}PACKED = """\\\n{packed(differences())}\n"""\n', encoding="utf-8")


if __name__ == "__main__":
    main()
