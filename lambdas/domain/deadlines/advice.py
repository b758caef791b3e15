"""The tables, asked: how much more one choice costs than another, in expectation over what the market may do.

A state has a byte for each question and model, in levels that grow with the cube: 0 is -LIMIT, 2 * LEVELS is LIMIT,
LEVELS is nothing. So few levels cost nothing in play: what matters is which choice is cheaper.
"""

from base64 import b64decode
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import cache
from math import log
from operator import mul
from zlib import decompress

from lambdas.domain.deadlines.models import AGES, MODELS, PACES, PRICE_RATIOS, RESTARTS, TICKS, Tick

LIMIT = 2.0
"""Differences are cut here, in hours of on-demand per hour of restart."""
LEVELS = 4


class Question(IntEnum):
    """What is compared: the first choice's cost less the second's."""

    DOWN_IDLE_OR_START = 0
    """No spot, nothing held: idle, or start on-demand."""
    DOWN_IDLE_OR_KEEP = 1
    """No spot, on-demand held: idle, or keep it."""
    UP_SPOT_OR_KEEP = 2
    """Spot, on-demand held: change to spot, or keep it. To idle is never the best of the three."""
    UP_SPOT_OR_IDLE = 3
    UP_ON_DEMAND_OR_IDLE = 4
    """Spot, nothing held: start spot, or on-demand, or idle."""


_VALUES = tuple(((byte - LEVELS) / LEVELS) ** 3 * LIMIT for byte in range(2 * LEVELS + 1))
_STATE = len(Question) * len(MODELS)
_LOG_PACES = tuple(map(log, PACES))
_LOG_RESTARTS = tuple(map(log, RESTARTS))
_LOG_WORKS: Mapping[Tick, Sequence[float]] = {tick: tuple(map(log, tick.works)) for tick in TICKS}


def encoded(value: float) -> int:
    """The byte of a difference; `_VALUES` is its inverse."""
    cut = max(-1.0, min(1.0, value / LIMIT))
    root = abs(cut) ** (1 / 3)
    return LEVELS + round(LEVELS * (root if cut > 0 else -root))


def states(tick: Tick) -> int:
    """How many states a restart and a tick have in the tables."""
    return len(AGES) * len(tick.works) * len(tick.slacks)


class Advice:
    """The tables at one state. Work, slack and tick in restarts, all above 0; paces as in belief.py. With several zones
    the age is that of the zone to be taken, or of the latest to lose its spot."""

    def __init__(
        self,
        *,
        pace_up: float,
        pace_down: float,
        age_hours: float,
        work: float,
        slack: float,
        tick: float,
        restart_hours: float,
        price_ratio: float,
        several: bool = False,
    ) -> None:
        self._table = _table(PRICE_RATIOS[max(0, bisect_right(PRICE_RATIOS, price_ratio) - 1)], several)
        self._weights = _of_models(pace_up, pace_down)
        kind = min(TICKS, key=lambda each: abs(log(each.length / tick)))
        beyond = max(work / kind.works[-1], 1.0)
        self._corners = _corners(
            kind,
            bisect_right(AGES, age_hours) - 1,
            _between(_LOG_WORKS[kind], log(work / beyond)),
            _between(kind.slacks, _in_step(slack / beyond, tick, kind)),
            _between(_LOG_RESTARTS, log(restart_hours)),
        )

    def difference(self, question: Question) -> float:
        """In hours of on-demand per hour of restart; below 0, the first choice is cheaper."""
        at, size = question * len(MODELS), len(MODELS)
        return sum(
            weight
            * sum(map(mul, self._weights, map(_VALUES.__getitem__, self._table[corner + at : corner + at + size])))
            for corner, weight in self._corners
        )


def _of_models(pace_up: float, pace_down: float) -> Sequence[float]:
    """The weight of each of MODELS: what each pace changes at the other's 1, added."""
    up, up_part = _between(_LOG_PACES, log(pace_up))
    down, down_part = _between(_LOG_PACES, log(pace_down))
    weights = dict.fromkeys(MODELS, 0.0)
    weights[1.0, 1.0] = -1.0
    for place, weight in ((up, 1 - up_part), (up + 1, up_part)):
        weights[PACES[place], 1.0] += weight
    for place, weight in ((down, 1 - down_part), (down + 1, down_part)):
        weights[1.0, PACES[place]] += weight
    return tuple(weights.values())


def _in_step(slack: float, tick: float, kind: Tick) -> float:
    """The slack at which the tables stand where this one does: as many whole restarts, and as near to losing one.

    Whether the next tick of waiting costs a restart's room decides more than the slack does. With ticks of 0.3
    restarts, 2.2 is within a tick of losing one, as 2.0 is in tables for ticks of 0.25.
    """
    whole = float(int(slack + 1e-9))
    if kind.length >= 1 or tick >= 1:
        return whole
    part = max(0.0, slack - whole)
    if part < tick - 1e-9:
        return whole
    return whole + min(kind.length + (part - tick) / (1 - tick) * (1 - kind.length), 1 - kind.length)


def _corners(
    kind: Tick, age: int, work: tuple[int, float], slack: tuple[int, float], restart: tuple[int, float]
) -> Sequence[tuple[int, float]]:
    """The states around this one, as (place in the table, weight)."""
    width, height = len(kind.slacks), len(kind.works)
    return [
        (
            (_first(restart[0] + far, kind) + (age * height + work[0] + more) * width + slack[0] + longer) * _STATE,
            (restart[1] if far else 1 - restart[1])
            * (work[1] if more else 1 - work[1])
            * (slack[1] if longer else 1 - slack[1]),
        )
        for far in (0, 1)
        for more in (0, 1)
        for longer in (0, 1)
    ]


@cache
def _first(restart: int, kind: Tick) -> int:
    """Where the states of a restart and a tick begin."""
    return restart * sum(map(states, TICKS)) + sum(map(states, TICKS[: TICKS.index(kind)]))


def _between(grid: Sequence[float], value: float) -> tuple[int, float]:
    """The place of a value in a grid: the point below and the part of the way to the next; the ends hold beyond."""
    below = min(max(bisect_right(grid, value) - 1, 0), len(grid) - 2)
    return below, min(max((value - grid[below]) / (grid[below + 1] - grid[below]), 0.0), 1.0)


@cache
def _table(price_ratio: float, several: bool) -> bytes:
    # Loaded here: 0.25 MB each, that only a job with a deadline needs.
    if several:
        from lambdas.domain.deadlines.zone_tables import PACKED
    else:
        from lambdas.domain.deadlines.tables import PACKED
    return decompress(b64decode(PACKED[price_ratio]))
