"""Which instances a pool's jobs need: what fits into the room that exists, and the cheapest new bins for the rest.

Cost is near the least, not the least: bin packing with several sizes of bin is NP-hard. docs/performance.md says how
near, in a comparison with the optimum on seeded mixes (lowtide/bench/packing.py).
The work grows with the capacity that may be packed, not with the backlog: jobs beyond that capacity are never sorted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction

from lambdas.domain.fit import slots_taken
from lambdas.domain.jobs import Resources
from lambdas.domain.pools import CapacityType, TypeFacts
from lambdas.domain.terms import Market, Terms

ANY_TERMS = Terms()
EITHER = frozenset(CapacityType)
SPOT = Market(capacity_type=CapacityType.SPOT, limit=None)

TO_STAY_WARM = 3
"""The tier of rooms that take a job only where no other does."""

Size = tuple[int, Resources | None, Terms, frozenset[CapacityType]]
"""Jobs of one size are the same to packing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A job that needs room."""

    job_id: str
    slots: int
    resources: Resources | None = None
    replaces: bool = False
    """True: it runs on an instance that is about to end."""

    terms: Terms = ANY_TERMS
    buys: frozenset[CapacityType] = EITHER
    """What a new instance for it may be. It runs on any that its terms accept."""

    @property
    def size(self) -> Size:
        return self.slots, self.resources, self.terms, self.buys


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Free room that exists or is on its way."""

    name: str
    """Instance id, or the intention's id and a number."""
    facts: TypeFacts
    free_slots: int
    free_aux: int
    tier: int = 0
    """Lower tiers are filled first: 0 running, 1 launching, 2 asked for, 3 (`TO_STAY_WARM`) to stay empty."""
    market: Market = SPOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """A new instance of this type and the jobs that are planned for it."""

    facts: TypeFacts
    jobs: tuple[Demand, ...]
    """Empty: it is there for the pool's minimum, or to be warm."""
    market: Market = SPOT

    @property
    def slots_used(self) -> int:
        return sum(slots_taken(job.slots, job.resources, self.facts) or 0 for job in self.jobs)

    @property
    def cap(self) -> Decimal | None:
        """USD per hour: the least of its jobs' own limits; None: none of them has one."""
        return min((c for job in self.jobs if (c := job.terms.spot_max_price) is not None), default=None)

    def may_be(self, market: Market) -> bool:
        return all(job.terms.accept(market) for job in self.jobs)

    def fits(self, facts: TypeFacts, aux: int) -> bool:
        """True where an instance of this type takes all of the bin's jobs at once; `aux`: its auxiliary places."""
        taken = [slots_taken(job.slots, job.resources, facts) for job in self.jobs]
        slots = sum(each for each in taken if each)
        return None not in taken and slots <= facts.slots and sum(each == 0 for each in taken) <= aux


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A type that new bins may be of."""

    facts: TypeFacts
    price: Decimal
    """USD per hour that an instance is expected to cost."""
    market: Market = SPOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    used: dict[str, tuple[Demand, ...]]
    """Room name -> the jobs it takes; rooms that take none are left out."""
    bins: tuple[Bin, ...]
    left: tuple[Demand, ...]
    """What found no place within `most` bins, in rank order."""


_LEAST_PRICE = Decimal("0.000001")
"""A price of nothing counts as this, so that every job weighs something."""


_ROUNDS = 3
"""Jobs of unequal sizes leave gaps; a second and third round give those to jobs of lower rank."""


@dataclass(slots=True)
class _Open:
    """A room or bin while it is being filled."""

    facts: TypeFacts
    free_slots: int
    free_aux: int
    market: Market
    new: bool = False
    jobs: list[Demand] = field(default_factory=list[Demand])

    def slots_for(self, job: Demand) -> int:
        """What the job takes here; more than there is where it may not run or never fits."""
        taken = slots_taken(job.slots, job.resources, self.facts) if self._suits(job) else None
        return self.free_slots + 1 if taken is None else taken

    def _suits(self, job: Demand) -> bool:
        return job.terms.accept(self.market) and (not self.new or self.market.capacity_type in job.buys)

    def places_for(self, job: Demand) -> int:
        """How many jobs of this one's size still fit."""
        taken = self.slots_for(job)
        return self.free_aux if taken == 0 else self.free_slots // taken

    def take(self, jobs: Sequence[Demand]) -> None:
        """Jobs of one size, which must fit."""
        taken = self.slots_for(jobs[0])
        self.free_slots -= taken * len(jobs)
        self.free_aux -= len(jobs) if taken == 0 else 0
        self.jobs.extend(jobs)


def pack(
    jobs: Sequence[Demand],
    rooms: Sequence[Room],
    candidates: Sequence[Candidate],
    *,
    aux: int,
    most: int,
    most_on_demand: int | None = None,
) -> Packing:
    """Packs jobs, given in rank order, into the rooms and then into at most `most` new bins of the candidates.

    `aux`: how many auxiliary jobs one instance takes; `most_on_demand`: of the new bins (None: all may be). Where there
    are too few, jobs of higher rank come first. Ties fall to the earlier candidate and the earlier room, so equal
    inputs give equal packings.
    """
    opened = {room.name: _Open(room.facts, room.free_slots, room.free_aux, room.market) for room in rooms}
    order = {room.name: room.tier for room in rooms}
    bins: list[Bin] = []
    rest = list(jobs)
    for _ in range(_ROUNDS):
        batch = _reachable(rest, list(opened.values()), candidates, aux, most - len(bins))
        homeless = _fill_rooms(_by_size(batch), order, opened)
        new = _new_bins(homeless, candidates, aux, _Left.after(bins, most, most_on_demand))
        if not new and len(homeless) == len(batch):
            break
        bins += new
        placed = {job.job_id for each in (*new, *opened.values()) for job in each.jobs}
        rest = [job for job in rest if job.job_id not in placed]
    return Packing(
        used={name: tuple(each.jobs) for name, each in opened.items() if each.jobs},
        bins=tuple(bins),
        left=tuple(rest),
    )


@dataclass(frozen=True, slots=True)
class _Left:
    """How many new bins there may still be."""

    bins: int
    on_demand: int

    @classmethod
    def after(cls, bins: Sequence[Bin], most: int, most_on_demand: int | None) -> "_Left":
        bought = sum(each.market.capacity_type is CapacityType.ON_DEMAND for each in bins)
        return cls(most - len(bins), (most if most_on_demand is None else most_on_demand) - bought)

    def of(self, candidate: Candidate) -> int:
        return self.bins if candidate.market.capacity_type is CapacityType.SPOT else min(self.bins, self.on_demand)

    def without(self, bins: Sequence[Bin]) -> "_Left":
        return _Left.after(bins, self.bins, self.on_demand)


def _empty(candidate: Candidate, aux: int) -> _Open:
    return _Open(candidate.facts, candidate.facts.slots, aux, candidate.market, new=True)


def _reachable(
    jobs: Sequence[Demand], rooms: Sequence[_Open], candidates: Sequence[Candidate], aux: int, most: int
) -> list[Demand]:
    """The jobs of highest rank that all free capacity together could hold, so that the rest need not be looked at."""
    empty = [_empty(candidate, aux) for candidate in candidates] if most > 0 else []
    kinds = [*rooms, *empty]
    slots = sum(each.free_slots for each in rooms) + most * max((each.free_slots for each in empty), default=0)
    places = sum(each.free_aux for each in rooms) + most * aux
    least: dict[Size, int | None] = {}
    found: list[Demand] = []
    for job in jobs:
        if slots <= 0 and places <= 0:
            break
        if job.size not in least:
            least[job.size] = min((each.slots_for(job) for each in kinds if each.places_for(job)), default=None)
        needed = least[job.size]
        if needed is None or (needed > slots if needed else places <= 0):
            continue
        slots, places = slots - needed, places - (needed == 0)
        found.append(job)
    return found


def _by_size(jobs: Iterable[Demand]) -> list[list[Demand]]:
    """Jobs grouped by size, largest first, and of these the more particular first; within one, in rank order with those
    that replace running ones first."""
    groups: dict[Size, list[Demand]] = {}
    for job in jobs:
        groups.setdefault(job.size, []).append(job)
    for group in groups.values():
        group.sort(key=lambda job: not job.replaces)
    return sorted(groups.values(), key=lambda group: (_bulk(group[0]), group[0].terms != ANY_TERMS), reverse=True)


def _bulk(job: Demand) -> tuple[int, int, Decimal, int]:
    asked = job.resources
    return (job.slots, 0, Decimal(), 0) if asked is None else (0, asked.gpus, asked.vcpus, asked.memory_mib)


def _fill_rooms(groups: list[list[Demand]], tiers: Mapping[str, int], opened: Mapping[str, _Open]) -> list[Demand]:
    """Best fit: of each tier, the room that is left with the least. Returns what found no place."""
    homeless: list[Demand] = []
    for group in groups:
        rest = group
        for name in sorted(opened, key=lambda name: (tiers[name], opened[name].free_slots)):
            if count := min(opened[name].places_for(group[0]), len(rest)):
                opened[name].take(rest[:count])
                rest = rest[count:]
            if not rest:
                break
        homeless.extend(rest)
    return homeless


def _new_bins(jobs: list[Demand], candidates: Sequence[Candidate], aux: int, left: _Left) -> list[Bin]:
    """The cheapest of several ways to pack; where the number of bins is short, the one that places most work."""
    if not jobs or left.bins <= 0 or not candidates:
        return []
    ways = [_greedy(jobs, candidates, aux, left, score) for score in (_cost_per_weight, _most_weight)]
    ways += [_greedy(jobs, [candidate], aux, left, _most_weight) for candidate in candidates]
    weights = _weights(jobs, candidates)
    prices = {(candidate.facts.name, candidate.market): candidate.price for candidate in candidates}

    def merit(bins: list[Bin]) -> tuple[Fraction, Decimal]:
        work = sum((weights[job.size] for each in bins for job in each.jobs), Fraction())
        return -work, sum((prices[each.facts.name, each.market] for each in bins), Decimal())

    return min(ways, key=merit)


def _weights(jobs: Iterable[Demand], candidates: Sequence[Candidate]) -> dict[Size, Fraction]:
    """What each size costs at least: its share of the best-suited type's price; auxiliary jobs next to nothing."""
    weights: dict[Size, Fraction] = {}
    for job in jobs:
        if job.size not in weights:
            shares = [
                Fraction(max(candidate.price, _LEAST_PRICE))
                * Fraction(taken or Fraction(1, 10_000), max(candidate.facts.slots, 1))
                for candidate in candidates
                if (taken := _taken_of(candidate, job)) is not None
            ]
            weights[job.size] = min(shares, default=Fraction())
    return weights


def _taken_of(candidate: Candidate, job: Demand) -> int | None:
    """Slots of an empty instance; None where it may not run there or never fits."""
    empty = _empty(candidate, aux=1)
    return empty.slots_for(job) if empty.places_for(job) else None


Score = Callable[[Fraction, Decimal], tuple[Fraction, Fraction]]
"""(weight packed, price) -> the smaller the better."""


def _cost_per_weight(weight: Fraction, price: Decimal) -> tuple[Fraction, Fraction]:
    return Fraction(price) / weight, -weight


def _most_weight(weight: Fraction, price: Decimal) -> tuple[Fraction, Fraction]:
    return -weight, Fraction(price)


def _greedy(jobs: list[Demand], candidates: Sequence[Candidate], aux: int, left: _Left, score: Score) -> list[Bin]:
    """One kind of bin after another, each the best by `score` for what is left, as often as its filling repeats; bins
    of one filling are of the cheapest type that holds it."""
    groups, weights = _by_size(jobs), _weights(jobs, candidates)
    bins: list[Bin] = []
    while len(bins) < left.bins:
        still = left.without(bins)
        fillings = [(each, _filling(groups, each, aux)) for each in candidates if still.of(each) > 0]
        useful = [(candidate, filling) for candidate, filling in fillings if any(filling)]
        if not useful:
            break
        chosen, filling = min(
            useful,
            key=lambda pair: score(
                sum((weights[g[0].size] * n for g, n in zip(groups, pair[1], strict=True)), Fraction()), pair[0].price
            ),
        )
        times = min(len(group) // count for group, count in zip(groups, filling, strict=True) if count)
        repeated: list[Bin] = []
        for _ in range(min(times, still.of(chosen))):
            taken = [job for group, count in zip(groups, filling, strict=True) for job in group[:count]]
            groups = [group[count:] for group, count in zip(groups, filling, strict=True)]
            repeated.append(Bin(facts=chosen.facts, jobs=tuple(taken), market=chosen.market))
        cheapest = _cheapest_holder(repeated[0], candidates, aux)
        bins += [replace(each, facts=cheapest.facts, market=cheapest.market) for each in repeated]
        groups = [group for group in groups if group]
    return bins


def _filling(groups: list[list[Demand]], candidate: Candidate, aux: int) -> list[int]:
    """How many jobs of each group an empty instance of this kind takes, largest first."""
    empty = _empty(candidate, aux)
    counts: list[int] = []
    for group in groups:
        count = min(empty.places_for(group[0]), len(group))
        if count:
            empty.take(group[:count])
        counts.append(count)
    return counts


def _cheapest_holder(each: Bin, candidates: Sequence[Candidate], aux: int) -> Candidate:
    """The cheapest type that holds all of the bin's jobs."""
    alike = [candidate for candidate in candidates if candidate.market.capacity_type is each.market.capacity_type]
    holders = [candidate for candidate in alike if each.may_be(candidate.market) and each.fits(candidate.facts, aux)]
    return min(holders, key=lambda candidate: candidate.price)
