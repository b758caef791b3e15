"""Which instances a pool's jobs need: what fits into the room that exists, and the cheapest new bins for the rest.

Cost is near the least, not the least: bin packing with several sizes of bin is NP-hard. docs/performance.md says how
near, in a comparison with the optimum on seeded mixes (lowtide/bench/packing.py). How new bins are filled is in
filling.py.
The work grows with the capacity that may be packed, not with the backlog: jobs beyond that capacity are never sorted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import islice

from lambdas.domain.fleet.filling import Kind, Task, cheapest
from lambdas.domain.jobs.fit import MILLI, NOTHING, Load, load, sum_of, taken, whole
from lambdas.domain.jobs.jobs import Resources
from lambdas.domain.jobs.terms import Market, Terms
from lambdas.domain.pools.pools import CapacityType, TypeFacts

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
    timely: bool = False
    """True: a new on-demand instance for it is for the sake of its deadline."""
    returns: bool = False
    """True: it runs on an on-demand instance, and would go on on a spot instance for less."""

    terms: Terms = ANY_TERMS
    buys: frozenset[CapacityType] = EITHER
    """What a new instance for it may be. It runs on any that its terms accept."""

    @property
    def size(self) -> Size:
        return self.slots, self.resources, self.terms, self.buys

    @property
    def auxiliary(self) -> bool:
        return self.slots == 0 and self.resources is None

    def load(self, facts: TypeFacts) -> Load | None:
        """None: it never fits an instance of this type."""
        return load(self.slots, self.resources, facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Free room that exists or is on its way."""

    name: str
    """Instance id, or the intention's id and a number."""
    facts: TypeFacts
    free: Load
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
    def cap(self) -> Decimal | None:
        """USD per hour: the least of its jobs' own limits; None: none of them has one."""
        return min((c for job in self.jobs if (c := job.terms.spot_max_price) is not None), default=None)

    def may_be(self, market: Market) -> bool:
        return all(job.terms.accept(market) for job in self.jobs)

    def fits(self, facts: TypeFacts, aux: int) -> bool:
        """True where an instance of this type takes all of the bin's jobs at once; `aux`: its auxiliary places."""
        loads = [job.load(facts) for job in self.jobs]
        fitting = [each for each in loads if each is not None]
        enough = len(fitting) == len(loads) and sum_of(fitting).within(whole(facts))
        return enough and sum(job.auxiliary for job in self.jobs) <= aux


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


_MICRO = 10**6
"""A price in millionths of a dollar; one of nothing counts as one of these, so that every job weighs something."""
_STAYS_EMPTY = 10**6
"""Times the price that a room is filled at which is to stay empty where it can."""
_ROUNDS = 3
"""Jobs of unequal sizes leave gaps; a second and third round give those to jobs of lower rank."""


@dataclass(slots=True)
class _Open:
    """A room while it is being filled."""

    facts: TypeFacts
    free: Load
    free_aux: int
    market: Market
    jobs: list[Demand] = field(default_factory=list[Demand])

    def load(self, job: Demand) -> Load | None:
        """None: it may not run here or never fits."""
        return job.load(self.facts) if job.terms.accept(self.market) else None

    def places(self, load: Load) -> int:
        return self.free_aux if load == NOTHING else load.times_in(self.free)

    def take(self, jobs: Sequence[Demand], load: Load) -> None:
        """Jobs that each take so much, which must fit."""
        self.free = self.free.and_(load, -len(jobs))
        self.free_aux -= len(jobs) if load == NOTHING else 0
        self.jobs.extend(jobs)

    def largest_free(self) -> int:
        return self.free.largest_share(whole(self.facts))


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
    opened = {room.name: _Open(room.facts, room.free, room.free_aux, room.market) for room in rooms}
    kinds = list(dict.fromkeys(each.facts for each in (*rooms, *candidates)))
    order = {room.name: room.tier for room in rooms}
    bins: list[Bin] = []
    rest = list(jobs)
    for _ in range(_ROUNDS if rest else 0):
        batch = _reachable(rest, list(opened.values()), candidates, aux, most - len(bins))
        homeless = _fill(_by_size(batch, kinds), order, opened, candidates, aux)
        new = _new_bins(_by_size(homeless, kinds), candidates, aux, _Left.after(bins, most, most_on_demand))
        if not new and len(homeless) == len(batch):
            break
        bins += new
        placed = {job.job_id for each in (*new, *opened.values()) for job in each.jobs}
        rest = [job for job in rest if job.job_id not in placed]
        if not rest:
            break
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

    @property
    def lanes(self) -> dict[str, int]:
        return {CapacityType.SPOT: self.bins, CapacityType.ON_DEMAND: min(self.bins, self.on_demand)}


def _may_be_new(job: Demand, candidate: Candidate) -> bool:
    return job.terms.accept(candidate.market) and candidate.market.capacity_type in job.buys


# --- what is looked at at all -----------------------------------------------------------------------------------------

_Measure = tuple[int, ...]
"""Slots, then thousandths of what `Load` counts on a type of one slot: the same for every type, and so comparable."""


def _reachable(
    jobs: Sequence[Demand], rooms: Sequence[_Open], candidates: Sequence[Candidate], aux: int, most: int
) -> list[Demand]:
    """The jobs of highest rank that all free capacity together could hold, so that the rest need not be looked at."""
    empty = candidates if most > 0 else ()
    largest = _columns(max, [_above(whole(each.facts), each.facts) for each in empty])
    free = _columns(sum, [_above(each.free, each.facts) for each in rooms])
    free = tuple(there + most * more for there, more in zip(free, largest, strict=True))
    places = sum(each.free_aux for each in rooms) + most * aux
    least: dict[Size, _Measure | None] = {}
    found: list[Demand] = []
    for job in jobs:
        if places <= 0 and not (free[1] and free[2]):
            break
        if job.size not in least:
            least[job.size] = _least(job, rooms, empty, aux)
        needed = least[job.size]
        if needed is None or (job.auxiliary and places <= 0):
            continue
        if any(n > has for n, has in zip(needed, free, strict=True)):
            continue
        free = tuple(has - n for n, has in zip(needed, free, strict=True))
        places -= job.auxiliary
        found.append(job)
    return found


def _least(job: Demand, rooms: Sequence[_Open], empty: Sequence[Candidate], aux: int) -> _Measure | None:
    """The least that it takes anywhere that it fits now; None: it fits nowhere."""
    found = [(load, each.facts) for each in rooms if (load := each.load(job)) is not None and each.places(load)]
    if aux or not job.auxiliary:
        kinds = [each.facts for each in empty if _may_be_new(job, each)]
        found += [(load, facts) for facts in kinds if (load := job.load(facts)) is not None]
    slots = job.slots if job.resources is None else 0
    measures = [(slots, *(MILLI * each // max(1, facts.slots) for each in load)) for load, facts in found]
    return _columns(min, measures) if measures else None


def _above(free: Load, facts: TypeFacts) -> _Measure:
    slot = taken(1, None, facts)
    return slot.times_in(free), *(-(-MILLI * each // max(1, facts.slots)) for each in free)


def _columns(of: Callable[[Iterable[int]], int], rows: Sequence[_Measure]) -> _Measure:
    return tuple(of(column) for column in zip(*rows, strict=True)) if rows else (0, 0, 0, 0)


# --- rooms ------------------------------------------------------------------------------------------------------------


def _by_size(jobs: Iterable[Demand], kinds: Sequence[TypeFacts]) -> list[list[Demand]]:
    """Jobs grouped by size, those that need the largest share of an instance first, and of these the more particular
    first; within one, in rank order with those that replace running ones first."""
    groups: dict[Size, list[Demand]] = {}
    for job in jobs:
        groups.setdefault(job.size, []).append(job)
    for group in groups.values():
        group.sort(key=lambda job: not job.replaces)
    return sorted(groups.values(), key=lambda group: _bulk(group[0], kinds), reverse=True)


def _bulk(job: Demand, kinds: Sequence[TypeFacts]) -> tuple[int, bool, int, Decimal, int]:
    loads = [(load, facts) for facts in kinds if (load := job.load(facts)) is not None]
    share = min((load.largest_share(whole(facts)) for load, facts in loads), default=0)
    asked = job.resources
    vcpus, memory = (Decimal(), 0) if asked is None else (asked.vcpus, asked.memory_mib)
    return share, job.terms != ANY_TERMS, job.slots, vcpus, memory


def _fill_rooms(groups: list[list[Demand]], tiers: Mapping[str, int], opened: Mapping[str, _Open]) -> list[Demand]:
    """Best fit: of each tier, the room whose largest free share is the least. Returns what found no place."""
    homeless: list[Demand] = []
    for group in groups:
        rest = group
        for name in sorted(opened, key=lambda name: (tiers[name], opened[name].largest_free())):
            load = opened[name].load(group[0])
            if load is not None and (count := min(opened[name].places(load), len(rest))):
                opened[name].take(rest[:count], load)
                rest = rest[count:]
            if not rest:
                break
        homeless.extend(rest)
    return homeless


def _fill(
    groups: list[list[Demand]],
    tiers: Mapping[str, int],
    opened: dict[str, _Open],
    candidates: Sequence[Candidate],
    aux: int,
) -> list[Demand]:
    """Best fit, or, where that leaves more without a place, the empty rooms filled as new bins of their types would be.

    What a pass launched holds what it was launched for in the way that it was planned, which best fit does not always
    find again; the next pass would launch more."""
    empty = [name for name, room in opened.items() if not room.jobs and room.free == whole(room.facts)]
    before = {name: replace(room, jobs=list(room.jobs)) for name, room in opened.items()} if empty else {}
    homeless = _fill_rooms(groups, tiers, opened)
    if not homeless or not empty:
        return homeless
    kinds = [room.facts for room in opened.values()]
    rest = _fill_rooms(groups, tiers, {name: room for name, room in before.items() if name not in empty})
    rest = _fill_empty(_by_size(rest, kinds), {name: (tiers[name], before[name]) for name in empty}, candidates, aux)
    rest = _fill_rooms(_by_size(rest, kinds), tiers, before)
    if _work(rest, kinds) >= _work(homeless, kinds):
        return homeless
    opened.update(before)
    return rest


def _work(jobs: Iterable[Demand], kinds: Sequence[TypeFacts]) -> int:
    return sum(_bulk(group[0], kinds)[0] * len(group) + len(group) for group in _by_size(jobs, kinds))


def _fill_empty(
    groups: list[list[Demand]], empty: Mapping[str, tuple[int, _Open]], candidates: Sequence[Candidate], aux: int
) -> list[Demand]:
    """As the cheapest way to pack would with no other bins than these; of two as good the one of the lower tier."""
    alike: dict[tuple[TypeFacts, Market, int], list[_Open]] = {}
    for tier, room in empty.values():
        alike.setdefault((room.facts, room.market, tier), []).append(room)
    prices = {each.facts: each.price for each in candidates}
    task = Task(
        kinds=[_room_kind(number, *sort, prices, groups) for number, sort in enumerate(alike)],
        counts=tuple(map(len, groups)),
        aux=aux,
        bins=len(empty),
        lanes={str(number): len(rooms) for number, rooms in enumerate(alike.values())},
    )
    waiting = [iter(group) for group in groups]
    places = [iter(rooms) for rooms in alike.values()]
    for kind, counts, times in cheapest(task):
        for room in islice(places[kind], times):
            for group, count in zip(waiting, counts, strict=True):
                jobs = list(islice(group, count))
                if jobs and (taking := room.load(jobs[0])) is not None:
                    room.take(jobs, taking)
    return [job for group in waiting for job in group]


def _room_kind(
    number: int,
    facts: TypeFacts,
    market: Market,
    tier: int,
    prices: Mapping[TypeFacts, Decimal],
    groups: Sequence[Sequence[Demand]],
) -> Kind:
    price = prices.get(facts) or facts.on_demand_price or Decimal(max(1, facts.slots))
    dear = _STAYS_EMPTY if tier == TO_STAY_WARM else 1
    return Kind(
        price=max(1, int(price * _MICRO)) * dear + tier,
        whole=whole(facts),
        loads=tuple(group[0].load(facts) if group[0].terms.accept(market) else None for group in groups),
        lane=str(number),
    )


# --- new bins ---------------------------------------------------------------------------------------------------------


def _new_bins(groups: list[list[Demand]], candidates: Sequence[Candidate], aux: int, left: _Left) -> list[Bin]:
    if not groups or left.bins <= 0 or not candidates:
        return []
    task = Task(
        kinds=[_kind(each, groups) for each in candidates],
        counts=tuple(map(len, groups)),
        aux=aux,
        bins=left.bins,
        lanes=left.lanes,
    )
    waiting = [iter(group) for group in groups]
    bins: list[Bin] = []
    for kind, counts, times in cheapest(task):
        chosen = candidates[kind]
        for _ in range(times):
            jobs = [job for group, count in zip(waiting, counts, strict=True) for job in islice(group, count)]
            bins.append(Bin(facts=chosen.facts, jobs=tuple(jobs), market=chosen.market))
    return bins


def _kind(candidate: Candidate, groups: Sequence[Sequence[Demand]]) -> Kind:
    firsts = [group[0] for group in groups]
    return Kind(
        price=max(1, int(candidate.price * _MICRO)),
        whole=whole(candidate.facts),
        loads=tuple(job.load(candidate.facts) if _may_be_new(job, candidate) else None for job in firsts),
        lane=candidate.market.capacity_type,
    )
