"""Which instances a pool's jobs need: what fits into the room that exists, and the cheapest new bins for the rest.

Cost is near the least, not the least: bin packing with several sizes of bin is NP-hard. `lower_bound` says how near.
The work grows with the capacity that may be packed, not with the backlog: jobs beyond that capacity are never sorted.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction

from lambdas.domain.fit import slots_taken
from lambdas.domain.jobs import QueuedJob, Resources
from lambdas.domain.pools import TypeFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A job that needs room."""

    job_id: str
    slots: int
    resources: Resources | None = None
    replaces: bool = False
    """True: it runs on an instance that is about to end."""

    @classmethod
    def of(cls, job: QueuedJob) -> "Demand":
        return cls(job_id=job.job_id, slots=job.slots, resources=job.resources)

    @property
    def size(self) -> tuple[int, Resources | None]:
        """Jobs of one size are the same to packing."""
        return self.slots, self.resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Free room that exists or is on its way."""

    name: str
    """Instance id, or the intention's id and a number."""
    facts: TypeFacts
    free_slots: int
    free_aux: int
    tier: int = 0
    """Lower tiers are filled first: 0 running, 1 launching, 2 asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """A new instance of this type and the jobs that are planned for it."""

    facts: TypeFacts
    jobs: tuple[Demand, ...]
    """Empty: it is there for the pool's minimum alone."""

    @property
    def slots_used(self) -> int:
        return sum(slots_taken(job.slots, job.resources, self.facts) or 0 for job in self.jobs)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    used: dict[str, tuple[Demand, ...]]
    """Room name -> the jobs it takes; rooms that take none are left out."""
    bins: tuple[Bin, ...]
    left: tuple[Demand, ...]
    """What found no place within `most` bins, in rank order."""


_LEAST_PRICE = Decimal("0.000001")
"""A price of nothing counts as this, so that every job weighs something."""


@dataclass(slots=True)
class _Open:
    """A room or bin while it is being filled."""

    facts: TypeFacts
    free_slots: int
    free_aux: int
    jobs: list[Demand] = field(default_factory=list[Demand])

    def places_for(self, job: Demand) -> int:
        """How many jobs of this one's size still fit."""
        taken = slots_taken(job.slots, job.resources, self.facts)
        if taken is None:
            return 0
        return self.free_aux if taken == 0 else self.free_slots // taken

    def take(self, jobs: Sequence[Demand]) -> None:
        """Jobs of one size, which must fit."""
        taken = slots_taken(jobs[0].slots, jobs[0].resources, self.facts) or 0
        self.free_slots -= taken * len(jobs)
        self.free_aux -= len(jobs) if taken == 0 else 0
        self.jobs.extend(jobs)


def pack(
    jobs: Sequence[Demand], rooms: Sequence[Room], candidates: Sequence[Candidate], *, aux: int, most: int
) -> Packing:
    """Packs jobs, given in rank order, into the rooms and then into at most `most` new bins of the candidates.

    `aux`: how many auxiliary jobs one instance takes. Where `most` does not suffice, jobs of higher rank come first.
    Ties fall to the earlier candidate and the earlier room, so equal inputs give equal packings.
    """
    reachable = _reachable(jobs, rooms, candidates, aux, most)
    opened = {room.name: _Open(room.facts, room.free_slots, room.free_aux) for room in rooms}
    homeless = _fill_rooms(_by_size(reachable), rooms, opened)
    bins = _new_bins(homeless, candidates, aux, most)
    placed = {job.job_id for each in bins for job in each.jobs}
    placed |= {job.job_id for each in opened.values() for job in each.jobs}
    return Packing(
        used={name: tuple(each.jobs) for name, each in opened.items() if each.jobs},
        bins=tuple(bins),
        left=tuple(job for job in jobs if job.job_id not in placed),
    )


def _reachable(
    jobs: Sequence[Demand], rooms: Sequence[Room], candidates: Sequence[Candidate], aux: int, most: int
) -> list[Demand]:
    """The jobs of highest rank that all capacity together could hold, so that the rest need not be looked at."""
    kinds = [*(room.facts for room in rooms), *(candidate.facts for candidate in candidates)]
    slots = sum(room.free_slots for room in rooms) + most * max((c.facts.slots for c in candidates), default=0)
    places = sum(room.free_aux for room in rooms) + most * aux
    least: dict[tuple[int, Resources | None], int | None] = {}
    found: list[Demand] = []
    for job in jobs:
        if slots <= 0 and places <= 0:
            break
        if job.size not in least:
            fitting = [taken for facts in kinds if (taken := slots_taken(job.slots, job.resources, facts)) is not None]
            least[job.size] = min(fitting, default=None)
        needed = least[job.size]
        if needed is None or (needed > slots if needed else places <= 0):
            continue
        slots, places = slots - needed, places - (needed == 0)
        found.append(job)
    return found


def _by_size(jobs: Iterable[Demand]) -> list[list[Demand]]:
    """Jobs grouped by size, largest first; within one, in rank order with those that replace running ones first."""
    groups: dict[tuple[int, Resources | None], list[Demand]] = {}
    for job in jobs:
        groups.setdefault(job.size, []).append(job)
    for group in groups.values():
        group.sort(key=lambda job: not job.replaces)
    return sorted(groups.values(), key=lambda group: _bulk(group[0]), reverse=True)


def _bulk(job: Demand) -> tuple[int, int, Decimal, int]:
    asked = job.resources
    return (job.slots, 0, Decimal(), 0) if asked is None else (0, asked.gpus, asked.vcpus, asked.memory_mib)


def _fill_rooms(groups: list[list[Demand]], rooms: Sequence[Room], opened: dict[str, _Open]) -> list[Demand]:
    """Best fit: of each tier, the room that is left with the least. Returns what found no place."""
    homeless: list[Demand] = []
    for group in groups:
        rest = group
        order = sorted(rooms, key=lambda room: (room.tier, opened[room.name].free_slots))
        for room in order:
            if count := min(opened[room.name].places_for(group[0]), len(rest)):
                opened[room.name].take(rest[:count])
                rest = rest[count:]
            if not rest:
                break
        homeless.extend(rest)
    return homeless


def _new_bins(jobs: list[Demand], candidates: Sequence[Candidate], aux: int, most: int) -> list[Bin]:
    """The cheapest of several ways to pack; where the number of bins is short, the one that places most work."""
    if not jobs or most <= 0 or not candidates:
        return []
    ways = [_greedy(jobs, candidates, aux, most, score) for score in (_cost_per_weight, _most_weight)]
    ways += [_greedy(jobs, [candidate], aux, most, _most_weight) for candidate in candidates]
    weights = _weights(jobs, candidates)
    shrunk = [[_cheapest_holder(each, candidates, aux) for each in way] for way in ways]
    prices = {candidate.facts.name: candidate.price for candidate in candidates}

    def merit(bins: list[Bin]) -> tuple[Fraction, Decimal]:
        work = sum((weights[job.size] for each in bins for job in each.jobs), Fraction())
        return -work, sum((prices[each.facts.name] for each in bins), Decimal())

    return min(shrunk, key=merit)


def _weights(jobs: Iterable[Demand], candidates: Sequence[Candidate]) -> dict[tuple[int, Resources | None], Fraction]:
    """What each size costs at least: its share of the best-suited type's price; auxiliary jobs next to nothing."""
    weights: dict[tuple[int, Resources | None], Fraction] = {}
    for job in jobs:
        if job.size not in weights:
            shares = [
                Fraction(max(candidate.price, _LEAST_PRICE))
                * Fraction(taken or Fraction(1, 10_000), max(candidate.facts.slots, 1))
                for candidate in candidates
                if (taken := slots_taken(job.slots, job.resources, candidate.facts)) is not None
            ]
            weights[job.size] = min(shares, default=Fraction())
    return weights


def lower_bound(jobs: Sequence[Demand], candidates: Sequence[Candidate]) -> Decimal:
    """USD per hour below which no set of new bins holds these jobs."""
    weights = _weights(jobs, candidates)
    total = sum((weights[job.size] for job in jobs if job.slots or job.resources), Fraction())
    return Decimal(total.numerator) / Decimal(total.denominator)


Score = Callable[[Fraction, Decimal], tuple[Fraction, Fraction]]
"""(weight packed, price) -> the smaller the better."""


def _cost_per_weight(weight: Fraction, price: Decimal) -> tuple[Fraction, Fraction]:
    return Fraction(price) / weight, -weight


def _most_weight(weight: Fraction, price: Decimal) -> tuple[Fraction, Fraction]:
    return -weight, Fraction(price)


def _greedy(jobs: list[Demand], candidates: Sequence[Candidate], aux: int, most: int, score: Score) -> list[Bin]:
    """One kind of bin after another, each the best by `score` for what is left, as often as its filling repeats."""
    groups, weights = _by_size(jobs), _weights(jobs, candidates)
    bins: list[Bin] = []
    while len(bins) < most:
        fillings = [(each, _filling(groups, each.facts, aux)) for each in candidates]
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
        for _ in range(min(times, most - len(bins))):
            taken = [job for group, count in zip(groups, filling, strict=True) for job in group[:count]]
            groups = [group[count:] for group, count in zip(groups, filling, strict=True)]
            bins.append(Bin(facts=chosen.facts, jobs=tuple(taken)))
        groups = [group for group in groups if group]
    return bins


def _filling(groups: list[list[Demand]], facts: TypeFacts, aux: int) -> list[int]:
    """How many jobs of each group an empty instance of this type takes, largest first."""
    empty = _Open(facts, facts.slots, aux)
    counts: list[int] = []
    for group in groups:
        count = min(empty.places_for(group[0]), len(group))
        if count:
            empty.take(group[:count])
        counts.append(count)
    return counts


def _cheapest_holder(each: Bin, candidates: Sequence[Candidate], aux: int) -> Bin:
    """The same jobs on the cheapest type that holds them all."""
    holders = [candidate for candidate in candidates if each.fits(candidate.facts, aux)]
    return replace(each, facts=min(holders, key=lambda candidate: candidate.price).facts)
