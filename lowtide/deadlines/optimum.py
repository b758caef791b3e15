"""The omniscient optimum: the least cost of a run for who knows the market to come. Exact, and of no use in a product.

Backward induction over (tick, what is held, net work left). Net work counts a launch's restart at once, so that no
state needs the overhead that still runs; a launch lost before its restart is over is then charged too much, but the
optimum never makes one, since idling instead is cheaper. Net work moves on the grid of gcd(gap, restart).
"""

from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from lambdas.domain.deadlines.game import IDLE, ON_DEMAND, Choice
from lowtide.deadlines.play import Outcome, Run, replay

Costs = NDArray[np.float64]
Codes = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class _Grid:
    """Everything in units of gcd(gap, restart)."""

    work: int
    launch: int
    tick: int
    last: int
    """What a tick that the deadline cuts short is worth."""
    ticks: int

    def window(self, tick: int) -> tuple[int, int]:
        """Net work left that can be reached and can still be done, first and last."""
        low = max(1, self.work - tick * self.tick)
        high = (self.ticks - 1 - tick) * self.tick + self.last
        return low, min(self.work + self.launch, high)


def _grid(run: Run) -> _Grid:
    terms = run.terms
    unit = gcd(terms.gap_s, terms.restart_s)
    work = -(-terms.work_s // unit)
    usable = terms.deadline_s - (terms.ticks - 1) * terms.gap_s
    last = work + (usable - terms.work_s) // unit
    return _Grid(work, terms.restart_s // unit, terms.gap_s // unit, last, terms.ticks)


def omniscient(run: Run) -> Outcome:
    """The choices of least cost. Where none are in time: on-demand throughout."""
    grid = _grid(run)
    kinds = [IDLE, ON_DEMAND, *sorted({zone for prices in run.spot for zone in prices})]
    tables, cost = _induction(run, grid, kinds)
    if not np.isfinite(cost):
        return replay(run, [ON_DEMAND] * grid.ticks)
    return replay(run, _followed(run, grid, kinds, tables))


def _induction(run: Run, grid: _Grid, kinds: list[Choice]) -> tuple[list[tuple[int, list[Codes]]], float]:
    """For each tick the lowest net work of its window and, per kind held, the best choice from there on."""
    size = grid.work + grid.launch + 1
    values = [np.full(size, np.inf) for _ in kinds]
    for value in values:
        value[0] = 0.0
    tables: list[tuple[int, list[Codes]]] = []
    for tick in range(grid.ticks - 1, -1, -1):
        low, high = grid.window(tick)
        best, codes = _one_tick(run, grid, kinds, values, tick)
        tables.append((low, codes))
        for value, new in zip(values, best, strict=True):
            value[low : high + 1] = new
    tables.reverse()
    return tables, float(values[0][grid.work]) if tables and grid.window(0)[1] >= grid.work else float("inf")


def _one_tick(
    run: Run, grid: _Grid, kinds: list[Choice], values: list[Costs], tick: int
) -> tuple[list[Costs], list[Codes]]:
    """Cost to go and best choice for each kind held, over the window of the tick."""
    low, high = grid.window(tick)
    if high < low:
        return [np.empty(0) for _ in kinds], [np.empty(0, np.int8) for _ in kinds]
    prices = {ON_DEMAND: run.terms.on_demand_price, **run.spot[tick]}
    worth = grid.last if tick == grid.ticks - 1 else grid.tick
    kept = {
        code: _run_on(values[code], low, high, worth, prices[kind] * run.terms.gap_s / 3600)
        for code, kind in enumerate(kinds)
        if kind in prices
    }
    value, choice = values[0][low : high + 1].copy(), np.zeros(high - low + 1, np.int8)
    for code, cost in kept.items():
        launched = cost[grid.launch :]
        inside = value[: len(launched)]
        better = launched < inside
        np.copyto(inside, launched, where=better)
        np.copyto(choice[: len(launched)], np.int8(code), where=better)
    best, codes = [value] * len(kinds), [choice] * len(kinds)
    for code, cost in kept.items():
        codes[code] = choice.copy()
        np.copyto(codes[code], np.int8(code), where=cost <= value)
        best[code] = np.minimum(cost, value, out=cost)
    return best, codes


def _run_on(value: Costs, low: int, high: int, worth: int, price: float) -> Costs:
    """The cost to go after a tick of running, for net work from low to high."""
    done = max(0, min(high, worth) - low + 1)
    costs = np.empty(high - low + 1)
    costs[:done] = price
    np.add(value[low + done - worth : high + 1 - worth], price, out=costs[done:])
    return costs


def _followed(run: Run, grid: _Grid, kinds: list[Choice], tables: list[tuple[int, list[Codes]]]) -> list[Choice]:
    choices: list[Choice] = []
    code, left = 0, grid.work
    for tick, (low, codes) in enumerate(tables):
        if left <= 0:
            break
        if kinds[code] not in (IDLE, ON_DEMAND, *run.spot[tick]):
            code = 0
        chosen = int(codes[code][left - low])
        if chosen:
            left += (grid.launch if chosen != code else 0) - grid.tick
        code = chosen
        choices.append(kinds[chosen])
    return choices + [IDLE] * (grid.ticks - len(choices))
