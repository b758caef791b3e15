"""The tables, asked: how much more one choice costs than another, in expectation over a belief.

A cell has a byte for each model, in units that grow with the cube: 0 is -LIMIT, 254 is LIMIT, 127 is nothing.
"""

from base64 import b85decode
from bisect import bisect_right
from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from math import log
from operator import mul
from zlib import decompress

from lambdas.domain.deadlines.models import AGES, DOWN_SCALES, SLACKS, UP_SCALES, WORKS

LIMIT = 8.0
"""Differences are cut here, in hours of on-demand per hour of restart."""

_MODELS = len(UP_SCALES) * len(DOWN_SCALES)
_VALUES = tuple(((byte - 127) / 127) ** 3 * LIMIT for byte in range(255))
_LOG_WORKS = tuple(map(log, WORKS))
_LOG_SLACKS = tuple(map(log, SLACKS))


class Question(IntEnum):
    """What is compared: the first choice's cost less the second's."""

    DOWN_IDLE_OR_START = 0
    """No spot, nothing held: idle, or start on-demand."""
    DOWN_IDLE_OR_KEEP = 1
    """No spot, on-demand held: idle, or keep it."""
    UP_SPOT_OR_KEEP = 2
    UP_IDLE_OR_KEEP = 3
    """Spot, on-demand held: change to spot, or idle, or keep it."""
    UP_SPOT_OR_IDLE = 4
    UP_ON_DEMAND_OR_IDLE = 5
    """Spot, nothing held: start spot, or on-demand, or idle."""


def encoded(value: float) -> int:
    """The byte of a difference; `_VALUES` is its inverse."""
    cut = max(-1.0, min(1.0, value / LIMIT))
    root = abs(cut) ** (1 / 3)
    return 127 + round(127 * (root if cut > 0 else -root))


class Advice:
    """The tables at one state: age of the stretch, work left and slack, in restarts. All above 0."""

    def __init__(self, weights: Sequence[float], *, age: float, work: float, slack: float) -> None:
        beyond = max(work / WORKS[-1], slack / SLACKS[-1], 1.0)
        self._weights = weights
        self._age = bisect_right(AGES, age) - 1
        self._work, self._work_part = _between(_LOG_WORKS, log(work / beyond))
        self._slack, self._slack_part = _between(_LOG_SLACKS, log(slack / beyond))

    def difference(self, question: Question) -> float:
        """In hours of on-demand per hour of restart; below 0, the first choice is cheaper."""
        near, far = self._along_slack(question, self._work), self._along_slack(question, self._work + 1)
        return near + self._work_part * (far - near)

    def _along_slack(self, question: Question, work: int) -> float:
        near, far = self._cell(question, work, self._slack), self._cell(question, work, self._slack + 1)
        return near + self._slack_part * (far - near)

    def _cell(self, question: Question, work: int, slack: int) -> float:
        cell = ((question * len(AGES) + self._age) * len(WORKS) + work) * len(SLACKS) + slack
        models = _table()[cell * _MODELS : (cell + 1) * _MODELS]
        return sum(map(mul, self._weights, map(_VALUES.__getitem__, models)))


def _between(grid: Sequence[float], value: float) -> tuple[int, float]:
    """The place of a value in a grid: the point below and the part of the way to the next; the ends hold beyond."""
    below = min(max(bisect_right(grid, value) - 1, 0), len(grid) - 2)
    return below, min(max((value - grid[below]) / (grid[below + 1] - grid[below]), 0.0), 1.0)


@cache
def _table() -> bytes:
    from lambdas.domain.deadlines.tables import PACKED  # 0.2 MB that only a job with a deadline needs

    return decompress(b85decode(PACKED.replace("\n", "")))
