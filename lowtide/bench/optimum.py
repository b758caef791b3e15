"""The least that new instances for a mix can cost: two linear bounds and the exact integer optimum, by HiGHS.

Jobs take what claims say that they take (lambdas/domain/jobs/fit.py): of vCPUs, memory and GPUs at once, auxiliary
jobs by their number. A *pattern* is a type with how many jobs of each size one instance of it takes. The integer
programme chooses how many instances of each pattern there are, at the least price, so that every job has its place.
There are far too many patterns to list, so the linear programme starts with few and is given those that would make it
cheaper, until there are none (Gilmore and Gomory 1961). Its dual prices then say which patterns a solution cheaper than
a known one can have at all; of these the integer optimum is made.

The pattern that is worth most on a type is found by branch and bound: what is left of each of the three resources
bounds what more can come in, by a knapsack of that resource alone, counted in so few levels that its table is small.
Where that takes too long the bound stands in for the worth, and the linear bound is made smaller in proportion (Farley
1990).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, linprog, milp

from lambdas.domain.fleet.packing import Candidate
from lambdas.domain.jobs.fit import Load, load, whole
from lowtide.bench.mixes import Mix

Vector = NDArray[np.float64]

MOST_SECONDS = 20
"""For one integer programme; then what is proved so far counts. Nearly all take less than one."""
MOST_PATTERNS = 30_000
MOST_STEPS = 20_000
"""Of one branch and bound."""
LEVELS = 240
"""Of what is left of a resource, in a table of bounds."""
SLACK = 1e-6
"""USD per hour within which sums of floats count as equal. Prices are multiples of $0.0001."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of instance."""

    price: Decimal
    whole: Load
    loads: tuple[Load | None, ...]
    """What a job of each size takes; None: it never fits."""

    def beats(self, other: "Kind") -> bool:
        """Whatever the other holds, this holds for no more money."""
        pairs = zip(self.loads, other.loads, strict=True)
        no_worse = all(
            theirs is None or (ours is not None and self._less(ours, other, theirs)) for ours, theirs in pairs
        )
        return no_worse and self.price <= other.price

    def _less(self, ours: Load, other: "Kind", theirs: Load) -> bool:
        """No larger part of any of the three."""
        parts = zip(ours, self.whole, theirs, other.whole, strict=True)
        return all(mine * their_all <= their * my_all for mine, my_all, their, their_all in parts if mine)

    def places(self, size: int) -> int:
        """How many jobs of the size an empty instance takes."""
        taken = self.loads[size]
        return 0 if taken is None else taken.times_in(self.whole)


@dataclass(frozen=True, slots=True)
class Problem:
    kinds: tuple[Kind, ...]
    """Without those that another beats."""
    counts: tuple[int, ...]
    """Jobs of each size; auxiliary jobs are no size."""
    aux_jobs: int
    aux: int
    """Auxiliary jobs that one instance takes."""

    @property
    def wanted(self) -> Vector:
        return np.array([*self.counts, self.aux_jobs], dtype=float)


@dataclass(frozen=True, slots=True)
class Pattern:
    kind: Kind
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Relaxed:
    """The optimum of the linear programme over patterns."""

    cost: float
    """USD per hour; no set of instances costs less."""
    worth: tuple[float, ...]
    """Dual price of a job of each size, USD per hour."""
    aux_worth: float


@dataclass(frozen=True, slots=True)
class Optimum:
    cost: Decimal
    """USD per hour: the least, or where that is not proved a bound below it."""
    proved: bool


def problem_of(mix: Mix) -> Problem:
    sizes = Counter((job.slots, job.resources) for job in mix.jobs)
    aux_jobs = sizes.pop((0, None), 0)
    kinds = [
        Kind(each.price, whole(each.facts), tuple(load(slots, asked, each.facts) for slots, asked in sizes))
        for each in _unique(mix.candidates)
    ]
    kinds = list(dict.fromkeys(kinds))
    useful: list[Kind] = []
    for kind in kinds:
        if not any(
            other.beats(kind) and (other in useful or not kind.beats(other)) for other in kinds if other != kind
        ):
            useful.append(kind)
    return Problem(tuple(useful), tuple(sizes.values()), aux_jobs, mix.aux)


def cut_bound(problem: Problem) -> float:
    """USD per hour, were jobs and instances such that both could be cut: the linear programme that a pattern's
    arithmetic is left out of. Far below what can be reached where jobs leave gaps on every type."""
    places = [(size, kind) for kind in problem.kinds for size, taken in enumerate(kind.loads) if taken is not None]
    kinds = {kind: number for number, kind in enumerate(problem.kinds)}
    width = len(kinds) + len(places)
    room, housed = np.zeros((3 * len(kinds) + 1, width)), np.zeros((len(problem.counts), width))
    for number in kinds.values():
        room[3 * number : 3 * number + 3, number], room[-1, number] = -1, -problem.aux
    for column, (size, kind) in enumerate(places, start=len(kinds)):
        room[3 * kinds[kind] : 3 * kinds[kind] + 3, column] = _parts(kind, size)
        housed[size, column] = 1
    costs = np.array([*(float(kind.price) for kind in kinds), *(0.0 for _ in places)])
    limits = np.array([*(0.0 for _ in range(3 * len(kinds))), -problem.aux_jobs])
    found: Any = linprog(costs, A_ub=room, b_ub=limits, A_eq=housed, b_eq=np.array(problem.counts, dtype=float))
    return float(found.fun)


def _parts(kind: Kind, size: int) -> list[float]:
    """Of an instance that a job of the size, which fits, takes."""
    taken = kind.loads[size] or (0, 0, 0)
    return [each / max(1, room) for each, room in zip(taken, kind.whole, strict=True)]


def relaxed(problem: Problem) -> Relaxed:
    """The linear programme over all patterns, those that matter found one after the other."""
    patterns = dict.fromkeys(_alone(problem))
    while True:
        found: Any = linprog(_prices(patterns), A_ub=-_matrix(patterns, problem), b_ub=-problem.wanted)
        *worth, aux_worth = (-float(each) for each in found.ineqlin.marginals)
        best = [(kind, _worthiest(kind, problem, worth, aux_worth)) for kind in problem.kinds]
        cheaper = [
            Pattern(kind, each.counts)
            for kind, each in best
            if each.worth + aux_worth * problem.aux > float(kind.price) + SLACK
        ]
        if all(each in patterns for each in cheaper):
            over = max((each.most + aux_worth * problem.aux - SLACK) / float(kind.price) for kind, each in best)
            scale = 1 / max(1.0, over)
            return Relaxed(float(found.fun) * scale, tuple(each * scale for each in worth), aux_worth * scale)
        patterns.update(dict.fromkeys(cheaper))


def optimum(problem: Problem, known: Decimal) -> Optimum:
    """`known`: the cost of a solution in hand. A pattern whose reduced cost is more than that solution is above the
    linear bound is in no cheaper one."""
    bound = relaxed(problem)
    spare = float(known) - bound.cost + SLACK
    patterns = list(islice(_patterns(problem, bound, spare), MOST_PATTERNS))
    if len(patterns) == MOST_PATTERNS:
        return Optimum(Decimal(bound.cost), proved=False)
    lb: Any = problem.wanted  # its hints say float where it takes arrays
    found: Any = milp(
        _prices(patterns),
        integrality=np.ones(len(patterns)),
        constraints=LinearConstraint(_matrix(patterns, problem), lb=lb, ub=np.inf),
        options={"time_limit": MOST_SECONDS, "mip_rel_gap": 0},
    )
    if found.status == 0:
        return Optimum(_cost(patterns, found.x), proved=True)
    return Optimum(Decimal(max(bound.cost, found.mip_dual_bound or 0.0)), proved=False)


def _unique(candidates: Sequence[Candidate]) -> list[Candidate]:
    return list({candidate.facts.name: candidate for candidate in candidates}.values())


def _prices(patterns: Sequence[Pattern] | dict[Pattern, None]) -> Vector:
    return np.array([float(each.kind.price) for each in patterns])


def _matrix(patterns: Sequence[Pattern] | dict[Pattern, None], problem: Problem) -> Vector:
    """A column for each pattern, a row for each size, and a last one for auxiliary jobs."""
    return np.array([(*each.counts, problem.aux) for each in patterns], dtype=float).T


def _cost(patterns: Sequence[Pattern], chosen: Vector) -> Decimal:
    return sum((each.kind.price * round(count) for each, count in zip(patterns, chosen, strict=True)), Decimal())


def _alone(problem: Problem) -> Iterator[Pattern]:
    """Patterns enough to house every job: each type with one size alone, and with auxiliary jobs alone."""
    for kind in problem.kinds:
        yield Pattern(kind, (0,) * len(problem.counts))
        for size, count in enumerate(problem.counts):
            if most := min(count, kind.places(size)):
                yield Pattern(kind, tuple(most if each == size else 0 for each in range(len(problem.counts))))


# --- patterns of one type ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Filling:
    counts: tuple[int, ...]
    worth: float
    most: float
    """No filling is worth more."""


class _Search:
    """Of one type's fillings, by what jobs are worth: the sizes in the order in which they are decided about."""

    def __init__(self, kind: Kind, counts: Sequence[int], worth: Sequence[float]) -> None:
        sizes = [size for size, count in enumerate(counts) if count and kind.places(size)]
        self.sizes = sorted(sizes, key=lambda size: -worth[size] / max(1e-12, max(_parts(kind, size))))
        self.kind = kind
        self.worth = [worth[size] for size in self.sizes]
        self.most = [min(counts[size], kind.places(size)) for size in self.sizes]
        self.loads = [kind.loads[size] or Load(0, 0, 0) for size in self.sizes]
        self._tables = [self._table(part) for part in range(3) if kind.whole[part]]
        self._parts = [part for part in range(3) if kind.whole[part]]

    def _table(self, part: int) -> list[list[float]]:
        """[first size, free levels] -> no filling with sizes from this one on is worth more, by this resource alone.
        What a job takes is rounded down to levels, and so is what is free."""
        room = self.kind.whole[part]
        tables: list[Vector] = [np.zeros(LEVELS + 1)]
        for worth, most, taken in zip(self.worth[::-1], self.most[::-1], self.loads[::-1], strict=True):
            level, best, left, batch = taken[part] * LEVELS // room, tables[-1].copy(), most, 1
            while left:
                several = min(batch, left)
                left, batch = left - several, 2 * batch
                if (used := several * level) <= LEVELS:
                    shifted = best[: LEVELS + 1 - used] + several * worth
                    best[used:] = np.maximum(best[used:], shifted)
            tables.append(best)
        return [table.tolist() for table in tables[::-1]]

    def bound(self, first: int, free: Load) -> float:
        return min(
            table[first][free[part] * LEVELS // self.kind.whole[part]]
            for part, table in zip(self._parts, self._tables, strict=True)
        )

    def counts(self, chosen: Sequence[int], width: int) -> tuple[int, ...]:
        found = [0] * width
        for size, count in zip(self.sizes, chosen, strict=True):
            found[size] = count
        return tuple(found)


def _worthiest(kind: Kind, problem: Problem, worth: Sequence[float], aux_worth: float) -> _Filling:
    """The filling that is worth most: a bounded knapsack of three resources. Of a type that the bound alone shows to be
    too dear it is not looked for."""
    search, width = _Search(kind, problem.counts, worth), len(problem.counts)
    bound = search.bound(0, kind.whole)
    if bound + aux_worth * problem.aux <= float(kind.price) + SLACK:
        return _Filling((0,) * width, 0.0, bound)
    best, best_worth, steps = [0] * len(search.sizes), 0.0, 0
    stack: list[tuple[tuple[int, ...], Load, float]] = [((), kind.whole, 0.0)]
    while stack and steps < MOST_STEPS:
        chosen, free, value = stack.pop()
        steps, first = steps + 1, len(chosen)
        if value + search.bound(first, free) <= best_worth + SLACK / 10:
            continue
        if first == len(search.sizes):
            best, best_worth = list(chosen), value
            continue
        taken = search.loads[first]
        for count in range(min(search.most[first], taken.times_in(free)) + 1):  # the most is looked at first
            stack.append(((*chosen, count), free.and_(taken, -count), value + count * search.worth[first]))
    left = max((value + search.bound(len(chosen), free) for chosen, free, value in stack), default=best_worth)
    return _Filling(search.counts(best, width), best_worth, max(best_worth + SLACK / 10, left))


def _patterns(problem: Problem, bound: Relaxed, spare: float) -> Iterator[Pattern]:
    """All whose reduced cost is at most `spare`, save those that have room for one more job."""
    for kind in problem.kinds:
        search = _Search(kind, problem.counts, bound.worth)
        least = float(kind.price) - bound.aux_worth * problem.aux - spare
        for chosen in _fillings(search, least, kind.whole, ()):
            yield Pattern(kind, search.counts(chosen, len(problem.counts)))


def _fillings(search: _Search, least: float, free: Load, begun: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """`least`: what the sizes that are still to come must be worth."""
    first = len(begun)
    if search.bound(first, free) < least:
        return
    if first == len(search.sizes):
        more = zip(begun, search.most, search.loads, strict=True)
        if not any(count < most and taken.within(free) for count, most, taken in more):
            yield begun
        return
    taken, worth = search.loads[first], search.worth[first]
    for count in range(min(search.most[first], taken.times_in(free)) + 1):
        yield from _fillings(search, least - count * worth, free.and_(taken, -count), (*begun, count))
