"""How many new bins of which kind, and what goes into each: in numbers alone, which packing.py gives their meaning.

One *way* to pack makes bins one after the other, each the best for what is left by some score. Several ways are tried
(which kinds, which score, in which order a bin is filled) and the cheapest is taken. Each way is tried again with what
jobs really cost in it as their worth, so that sizes that leave gaps pay for those.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import ge
from typing import NamedTuple

from lambdas.domain.jobs.fit import NOTHING, PARTS, Load

ROUNDS = 4
"""How often a way is tried anew with the worth that the time before showed."""
AUXILIARY = PARTS // 10_000
"""An auxiliary job counts as this share of an instance: next to nothing, so that it rides along where it can."""
FINE = 10**6
"""Worth is counted in so many parts of a millionth of a dollar."""

Counts = tuple[int, ...]
"""How many jobs of each size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a bin may be."""

    price: int
    """Millionths of a USD per hour, at least 1."""
    whole: Load
    loads: tuple[Load | None, ...]
    """What a job of each size takes, nothing for an auxiliary one; None: it never fits, or may not run there."""
    lane: str
    """How it is paid. Bins of one lane may turn into each other."""

    def share(self, size: int) -> int | None:
        """Of an instance that a job of this size takes, in PARTS."""
        load = self.loads[size]
        return None if load is None else load.largest_share(self.whole) or AUXILIARY


class Filled(NamedTuple):
    kind: int
    counts: Counts
    times: int
    """How many bins like that."""


Way = list[Filled]
Order = Callable[[Kind, Sequence[int]], list[int]]
"""(kind, what a job of each size is worth) -> the sizes that fit there, those that are taken first first."""
Score = Callable[[int, int], tuple[int, int]]
"""(worth packed, price) -> the smaller the better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is to be packed, and into how much."""

    kinds: Sequence[Kind]
    """The earlier one where two are as good."""
    counts: Counts
    aux: int
    """Auxiliary jobs that one instance takes."""
    bins: int
    """At most so many."""
    lanes: dict[str, int]
    """And of each lane."""


def cheapest(task: Task) -> Way:
    """The cheapest of the ways; where the number of bins is short, the one that places most work."""
    least = _least_worth(task)
    every = range(len(task.kinds))
    ways: list[Way] = []
    for order in (_largest_first, _densest_first, _as_given):
        for score in (_cost_per_worth, _most_worth):
            ways += _refined(task, every, least, order, score)
    best = min(ways, key=lambda way: _merit(way, task, least))
    for kind in every:
        if _hopeless(task, kind, _merit(best, task, least), least):
            continue
        ways = [_greedy(task, [kind], least, order, _most_worth) for order in (_largest_first, _densest_first)]
        best = min([best, *ways], key=lambda way: _merit(way, task, least))
    return best


def _merit(way: Way, task: Task, least: Sequence[int]) -> tuple[int, int]:
    """The smaller the better: more work placed, then less money."""
    return -sum(each.times * _worth(each.counts, least) for each in way), _price(way, task)


def _hopeless(task: Task, kind: int, best: tuple[int, int], least: Sequence[int]) -> bool:
    """True where bins of this kind alone are certainly no better than a way that places everything: some job never
    fits, or the jobs of one size alone take so many that they cost as much already."""
    placed, price = best
    if -placed < _worth(task.counts, least):
        return False
    loads = [(count, task.kinds[kind].loads[size]) for size, count in enumerate(task.counts) if count]
    if any(load is None for _, load in loads):
        return True
    whole = task.kinds[kind].whole
    bins = max((-(-count // load.times_in(whole)) for count, load in loads if load and any(load)), default=0)
    return bins * task.kinds[kind].price >= price


def _least_worth(task: Task) -> list[int]:
    """What a job of each size costs at least: its largest share of the type that suits it best."""
    return [
        max(
            1,
            min((FINE * kind.price * share // PARTS for kind in task.kinds if (share := kind.share(size))), default=0),
        )
        for size in range(len(task.counts))
    ]


def _worth(counts: Counts, worth: Sequence[int]) -> int:
    return sum(count * each for count, each in zip(counts, worth, strict=True) if count)


def _price(way: Way, task: Task) -> int:
    return sum(each.times * task.kinds[each.kind].price for each in way)


# --- orders and scores ------------------------------------------------------------------------------------------------


def _as_given(kind: Kind, worth: Sequence[int]) -> list[int]:  # noqa: ARG001 - an order's signature
    return [size for size, load in enumerate(kind.loads) if load is not None]


def _largest_first(kind: Kind, worth: Sequence[int]) -> list[int]:
    return sorted(_as_given(kind, worth), key=lambda size: -(kind.share(size) or 0))


def _densest_first(kind: Kind, worth: Sequence[int]) -> list[int]:
    """What is worth most beside what it takes."""
    return sorted(_as_given(kind, worth), key=lambda size: -worth[size] * PARTS // (kind.share(size) or 1))


def _cost_per_worth(worth: int, price: int) -> tuple[int, int]:
    return price * FINE * PARTS // worth, -worth


def _most_worth(worth: int, price: int) -> tuple[int, int]:
    return -worth, price


# --- one way ----------------------------------------------------------------------------------------------------------


def _refined(task: Task, kinds: Sequence[int], least: Sequence[int], order: Order, score: Score) -> list[Way]:
    """A way, and those that follow from what jobs cost in the one before, until it changes no more."""
    ways: list[Way] = []
    worth = least
    for _ in range(ROUNDS):
        way = _greedy(task, kinds, worth, order, score)
        if way in ways:
            break
        ways.append(way)
        worth = _shown_worth(task, way, worth)
    return ways


def _shown_worth(task: Task, way: Way, worth: Sequence[int]) -> list[int]:
    """What jobs of each size cost in this way: a bin's price falls to its jobs in proportion to their worth so far."""
    paid, placed = [0] * len(worth), [0] * len(worth)
    for kind, counts, times in way:
        price, total = FINE * task.kinds[kind].price, _worth(counts, worth)
        for size, count in enumerate(counts):
            if count:
                paid[size] += times * count * (price * worth[size] // total)
                placed[size] += times * count
    return [max(1, cost // count) if count else old for cost, count, old in zip(paid, placed, worth, strict=True)]


def _greedy(task: Task, kinds: Sequence[int], worth: Sequence[int], order: Order, score: Score) -> Way:
    """One filling after another, each the best by `score` for what is left, as often as it repeats; bins of one filling
    are of the cheapest kind that holds it."""
    orders = {kind: order(task.kinds[kind], worth) for kind in kinds}
    fillings: dict[int, Counts] = {}
    scores: dict[int, tuple[int, int]] = {}
    left, way, made = list(task.counts), list[Filled](), Counter[str]()
    while (free := task.bins - made.total()) > 0:
        open_ = [kind for kind in kinds if made[task.kinds[kind].lane] < task.lanes[task.kinds[kind].lane]]
        for kind in open_:
            if kind not in fillings or not _holds(left, fillings[kind]):
                fillings[kind] = _filling(task.kinds[kind], left, orders[kind], task.aux)
                scores.pop(kind, None)
                if any(fillings[kind]):
                    scores[kind] = score(_worth(fillings[kind], worth), task.kinds[kind].price)
        useful = [kind for kind in open_ if kind in scores]
        if not useful:
            break
        best = min(useful, key=scores.__getitem__)
        filling, lane = fillings[best], task.kinds[best].lane
        often = min(has // count for has, count in zip(left, filling, strict=True) if count)
        times = min(often, free, task.lanes[lane] - made[lane])
        left = [has - times * count for has, count in zip(left, filling, strict=True)]
        made[lane] += times
        way.append(Filled(_cheapest_holder(task, filling, best), filling, times))
    return way


def _holds(left: Sequence[int], filling: Sequence[int]) -> bool:
    return all(map(ge, left, filling))


def _filling(kind: Kind, left: Sequence[int], order: Sequence[int], aux: int) -> Counts:
    """How many jobs of each size an empty bin takes."""
    vcpus, memory, gpus = kind.whole
    counts = [0] * len(left)
    for size in order:
        if not left[size]:
            continue
        load = kind.loads[size]
        if load is None or load == NOTHING:
            counts[size] = min(left[size], aux)
            aux -= counts[size]
            continue
        takes_vcpus, takes_memory, takes_gpus = load
        fit = left[size]
        if takes_vcpus:
            fit = min(fit, vcpus // takes_vcpus)
        if takes_memory:
            fit = min(fit, memory // takes_memory)
        if takes_gpus:
            fit = min(fit, gpus // takes_gpus)
        if fit:
            counts[size] = fit
            vcpus, memory, gpus = vcpus - fit * takes_vcpus, memory - fit * takes_memory, gpus - fit * takes_gpus
    return tuple(counts)


def _cheapest_holder(task: Task, counts: Counts, kind: int) -> int:
    """The cheapest kind of the same lane that holds all of it."""
    chosen = task.kinds[kind]
    cheaper = [n for n, each in enumerate(task.kinds) if each.lane == chosen.lane and each.price <= chosen.price]
    holders = (n for n in sorted(cheaper, key=lambda n: task.kinds[n].price) if _takes(task.kinds[n], counts))
    return next(holders, kind)


def _takes(kind: Kind, counts: Counts) -> bool:
    """Its auxiliary jobs fit anywhere that they may run."""
    vcpus, memory, gpus = kind.whole
    for load, count in zip(kind.loads, counts, strict=True):
        if count:
            if load is None:
                return False
            vcpus, memory, gpus = vcpus - count * load[0], memory - count * load[1], gpus - count * load[2]
    return vcpus >= 0 and memory >= 0 and gpus >= 0
