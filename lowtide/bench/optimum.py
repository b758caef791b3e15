"""The least that new instances for a mix can cost: two linear bounds and the exact integer optimum, by HiGHS.

Jobs are counted as claims count them (lambdas/domain/fit.py): in whole slots of the instance's type, auxiliary jobs by
their number. A *pattern* is a type with how many jobs of each size one instance of it takes. The integer programme
chooses how many instances of each pattern there are, at the least price, so that every job has its place. There are far
too many patterns to list, so the linear programme starts with few and is given those that would make it cheaper, until
there are none (Gilmore and Gomory 1961). Its dual prices then say which patterns a solution cheaper than a known one
can have at all; of these the integer optimum is made.
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

from lambdas.domain.fit import slots_taken
from lambdas.domain.packing import Candidate
from lowtide.bench.mixes import Mix

Vector = NDArray[np.float64]

MOST_SECONDS = 20
"""For one integer programme; then what is proved so far counts. Nearly all take less than one."""
MOST_PATTERNS = 200_000
SLACK = 1e-6
"""USD per hour within which sums of floats count as equal. Prices are multiples of $0.0001."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of instance."""

    price: Decimal
    slots: int
    taken: tuple[int | None, ...]
    """Slots that a job of each size takes; None: it never fits."""

    def beats(self, other: "Kind") -> bool:
        """Whatever the other holds, this holds for no more money."""
        pairs = zip(self.taken, other.taken, strict=True)
        no_worse = all(theirs is None or (ours is not None and ours <= theirs) for ours, theirs in pairs)
        return no_worse and self.price <= other.price and self.slots >= other.slots


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
        Kind(each.price, each.facts.slots, tuple(slots_taken(slots, asked, each.facts) for slots, asked in sizes))
        for each in _unique(mix.candidates)
    ]
    kinds = list(dict.fromkeys(kinds))
    useful = tuple(kind for kind in kinds if not any(other.beats(kind) for other in kinds if other != kind))
    return Problem(useful, tuple(sizes.values()), aux_jobs, mix.aux)


def cut_bound(problem: Problem) -> float:
    """USD per hour, were jobs and instances such that both could be cut: the linear programme that a pattern's
    arithmetic is left out of. Far below what can be reached where jobs leave gaps on every type."""
    places = [(size, kind) for kind in problem.kinds for size, taken in enumerate(kind.taken) if taken is not None]
    kinds = {kind: number for number, kind in enumerate(problem.kinds)}
    width = len(kinds) + len(places)
    room, housed = np.zeros((len(kinds) + 1, width)), np.zeros((len(problem.counts), width))
    for kind, number in kinds.items():
        room[number, number], room[-1, number] = -kind.slots, -problem.aux
    for column, (size, kind) in enumerate(places, start=len(kinds)):
        room[kinds[kind], column], housed[size, column] = kind.taken[size] or 0, 1
    costs = np.array([*(float(kind.price) for kind in kinds), *(0.0 for _ in places)])
    limits = np.array([*(0.0 for _ in kinds), -problem.aux_jobs])
    found: Any = linprog(costs, A_ub=room, b_ub=limits, A_eq=housed, b_eq=np.array(problem.counts, dtype=float))
    return float(found.fun)


def relaxed(problem: Problem) -> Relaxed:
    """The linear programme over all patterns, those that matter found one after the other."""
    patterns = dict.fromkeys(_alone(problem))
    while True:
        found: Any = linprog(_prices(patterns), A_ub=-_matrix(patterns, problem), b_ub=-problem.wanted)
        *worth, aux_worth = (-float(each) for each in found.ineqlin.marginals)
        best = [(kind, _worthiest(kind, problem.counts, worth)) for kind in problem.kinds]
        cheaper = [
            Pattern(kind, counts)
            for kind, (counts, value) in best
            if value + aux_worth * problem.aux > float(kind.price) + SLACK
        ]
        if all(each in patterns for each in cheaper):
            return Relaxed(float(found.fun), tuple(worth), aux_worth)
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
        for size, most in enumerate(_most(kind, problem.counts)):
            if most:
                yield Pattern(kind, tuple(most if each == size else 0 for each in range(len(problem.counts))))


def _most(kind: Kind, counts: Sequence[int]) -> list[int]:
    """Of each size, how many an empty instance takes."""
    return [
        0 if taken is None else min(count, kind.slots // taken) for taken, count in zip(kind.taken, counts, strict=True)
    ]


def _worthiest(kind: Kind, counts: Sequence[int], worth: Sequence[float]) -> tuple[tuple[int, ...], float]:
    """The filling that is worth most, and its worth: a bounded knapsack."""
    tables = _tables(kind, counts, worth)
    filling, free = [0] * len(counts), kind.slots
    for size, most in enumerate(_most(kind, counts)):
        taken = kind.taken[size] or 0
        rest = [
            tables[size + 1][free - n * taken] + n * worth[size] for n in range(min(most, free // max(taken, 1)) + 1)
        ]
        filling[size] = int(np.argmax(rest))
        free -= filling[size] * taken
    return tuple(filling), float(tables[0][kind.slots])


def _tables(kind: Kind, counts: Sequence[int], worth: Sequence[float]) -> list[Vector]:
    """[first size, free slots] -> the most that sizes from this one on are worth in so many slots."""
    tables: list[Vector] = [np.zeros(kind.slots + 1)]
    for size in reversed(range(len(counts))):
        best = tables[-1].copy()
        for number in range(1, _most(kind, counts)[size] + 1):
            used = number * (kind.taken[size] or 0)
            np.maximum(best[used:], tables[-1][: kind.slots + 1 - used] + number * worth[size], out=best[used:])
        tables.append(best)
    return tables[::-1]


def _patterns(problem: Problem, bound: Relaxed, spare: float) -> Iterator[Pattern]:
    """All whose reduced cost is at most `spare`, save those that have room for one more job."""
    for kind in problem.kinds:
        tables, most = _tables(kind, problem.counts, bound.worth), _most(kind, problem.counts)
        least = float(kind.price) - bound.aux_worth * problem.aux - spare
        for counts in _fillings(kind, most, bound.worth, tables, least, kind.slots, ()):
            yield Pattern(kind, counts)


def _fillings(
    kind: Kind,
    most: Sequence[int],
    worth: Sequence[float],
    tables: Sequence[Vector],
    least: float,
    free: int,
    begun: tuple[int, ...],
) -> Iterator[tuple[int, ...]]:
    """`least`: what the sizes that are still to come must be worth."""
    size = len(begun)
    if tables[size][free] < least:
        return
    if size == len(most):
        if not any(n < m and (taken or 0) <= free for n, m, taken in zip(begun, most, kind.taken, strict=True)):
            yield begun
        return
    taken = kind.taken[size] or 0
    for number in range(min(most[size], free // max(taken, 1)) + 1):
        yield from _fillings(
            kind, most, worth, tables, least - number * worth[size], free - number * taken, (*begun, number)
        )
