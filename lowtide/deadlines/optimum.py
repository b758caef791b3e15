"""The omniscient optimum: the least cost of a run for who knows the market to come. Exact, and of no use in a product.

Backward induction over (tick, what is held, net work left). Net work counts a launch's restart at once, so that no
state needs the overhead that still runs; a launch lost before its restart is over is then charged too much, but the
optimum never makes one, since idling instead is cheaper. Net work moves on the grid of gcd(gap, restart).

The way back keeps the values of every so many ticks alone; the way forward makes those between again, for the few
states that can be reached from where it stands. Keeping the best choice of every state is no more exact, and slower.
"""

from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from lambdas.domain.deadlines.game import IDLE, ON_DEMAND, Choice
from lowtide.deadlines.play import Outcome, Run, replay

Costs = NDArray[np.float64]
Window = tuple[int, int]
"""Net work left, first and last."""

_STRIDE = 16
"""Ticks between values that are kept."""


@dataclass(frozen=True, slots=True)
class _Grid:
    """Everything in units of gcd(gap, restart)."""

    work: int
    launch: int
    tick: int
    last: int
    """What a tick that the deadline cuts short is worth."""
    ticks: int

    def window(self, tick: int) -> Window:
        """Net work left that can be reached and can still be done."""
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
    search = _Search(run)
    kept = search.back()
    if not np.isfinite(kept[0][0][search.grid.work]) or search.grid.window(0)[1] < search.grid.work:
        return replay(run, [ON_DEMAND] * search.grid.ticks)
    return replay(run, search.forward(kept))


class _Search:
    """Values are a row a kind of what is held: the cost to go, by net work left, at the start of a tick."""

    def __init__(self, run: Run) -> None:
        self.grid = _grid(run)
        self._kinds: list[Choice] = [IDLE, ON_DEMAND, *sorted({zone for prices in run.spot for zone in prices})]
        self._run = run
        size = self.grid.work + self.grid.launch + 1
        self._costs = [np.empty(size) for _ in self._kinds]
        """Room for what a tick of each kind comes to."""

    def back(self) -> list[list[Costs]]:
        """The values at ticks 0, _STRIDE, 2 * _STRIDE, …, and at the deadline."""
        values = [np.full(self.grid.work + self.grid.launch + 1, np.inf) for _ in self._kinds]
        for value in values:
            value[0] = 0.0
        kept = [[value.copy() for value in values]]
        for tick in range(self.grid.ticks - 1, -1, -1):
            self._one_tick(values, tick, self.grid.window(tick))
            if tick % _STRIDE == 0:
                kept.append([value.copy() for value in values] if tick else values)
        kept.reverse()
        return kept

    def forward(self, kept: list[list[Costs]]) -> list[Choice]:
        choices: list[Choice] = []
        code, left = 0, self.grid.work
        for number, values in enumerate(kept[1:]):
            first = number * _STRIDE
            end = min(first + _STRIDE, self.grid.ticks)
            for tick, after in enumerate(self._between(values, left, first, end), start=first):
                if left <= 0:
                    return choices + [IDLE] * (self.grid.ticks - len(choices))
                code, left = self._best(after, tick, code, left)
                choices.append(self._kinds[code])
        return choices + [IDLE] * (self.grid.ticks - len(choices))

    def _between(self, values: list[Costs], left: int, first: int, end: int) -> list[tuple[int, list[Costs]]]:
        """For each tick from the first to the end, the lowest net work and the values after it that can be reached."""
        found: list[tuple[int, list[Costs]]] = []
        values = [value.copy() for value in values]
        for tick in range(end - 1, first - 1, -1):
            ticks, (low, high) = tick - first, self.grid.window(tick)
            reached = (
                max(low, left - ticks * self.grid.tick),
                min(high, left + self.grid.launch + ticks * max(0, self.grid.launch - self.grid.tick)),
            )
            below = max(0, reached[0] - max(self.grid.tick, self.grid.last))
            found.append((below, [value[below : reached[1] + 1].copy() for value in values]))
            self._one_tick(values, tick, reached)
        found.reverse()
        return found

    def _best(self, after: tuple[int, list[Costs]], tick: int, code: int, left: int) -> tuple[int, int]:
        """What to hold next, and the net work that it leaves. Of equal costs, what is held, else nothing."""
        low, values = after
        prices = {ON_DEMAND: self._run.terms.on_demand_price, **self._run.spot[tick]}
        worth = self._worth(tick)
        best, chosen, stays = np.inf, 0, left
        for kind in sorted(range(len(self._kinds)), key=lambda kind: (kind != code, kind)):
            if kind and self._kinds[kind] not in prices:
                continue
            rest = left + (self.grid.launch if kind not in (0, code) else 0)
            rest -= worth if kind else 0
            cost = 0.0 if rest <= 0 else values[kind][rest - low] if rest - low < len(values[kind]) else np.inf
            cost += prices[self._kinds[kind]] * self._run.terms.gap_s / 3600 if kind else 0.0
            if cost < best:
                best, chosen, stays = cost, kind, rest
        return chosen, stays

    def _worth(self, tick: int) -> int:
        return self.grid.last if tick == self.grid.ticks - 1 else self.grid.tick

    def _one_tick(self, values: list[Costs], tick: int, window: Window) -> None:
        """Moves the values of a window back by a tick."""
        low, high = window
        if high < low:
            return
        came_to = self._came_to(values, tick, window)
        idle = values[0][low : high + 1]
        for cost in came_to.values():
            launched = cost[self.grid.launch :]
            np.minimum(idle[: len(launched)], launched, out=idle[: len(launched)])
        for code in range(1, len(self._kinds)):
            if code in came_to:
                np.minimum(came_to[code], idle, out=values[code][low : high + 1])
            else:
                values[code][low : high + 1] = idle

    def _came_to(self, values: list[Costs], tick: int, window: Window) -> dict[int, Costs]:
        """The cost to go of running through a tick on each kind that there is, without a launch before it."""
        low, high = window
        prices = {ON_DEMAND: self._run.terms.on_demand_price, **self._run.spot[tick]}
        worth = self._worth(tick)
        done = max(0, min(high, worth) - low + 1)
        found: dict[int, Costs] = {}
        for code, kind in enumerate(self._kinds):
            if kind in prices:
                price = prices[kind] * self._run.terms.gap_s / 3600
                cost = found[code] = self._costs[code][: high - low + 1]
                cost[:done] = price
                np.add(values[code][low + done - worth : high + 1 - worth], price, out=cost[done:])
        return found
