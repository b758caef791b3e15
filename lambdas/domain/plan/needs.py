"""What a pool needs beyond what it has: the jobs packed, the requests to make, and what cannot be asked for now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from lambdas.domain.buying.offerings import Offerings
from lambdas.domain.buying.requests import MOST_LAUNCHES, launches_of
from lambdas.domain.buying.shops import MOST_CAPS, Shop, base_missing, every_type, on_demand_left, shop
from lambdas.domain.buying.spending import affordable, hourly_cost
from lambdas.domain.fleet.actions import Launch
from lambdas.domain.fleet.fleet import Lease
from lambdas.domain.fleet.fleet_view import FleetView, awaited, counted, is_ending, rooms
from lambdas.domain.fleet.packing import Bin, Candidate, Demand, Packing, pack
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.jobs.fit import fits_some_type
from lambdas.domain.plan.in_time import first_in_time, kept_rooms, returning_jobs
from lambdas.domain.plan.rights import buys_of_lease, buys_of_queued
from lambdas.domain.plan.urgency import Verdicts, Way, moving
from lambdas.domain.pools.pools import CapacityType, Pool
from lambdas.domain.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    demand: tuple[Demand, ...]
    used: frozenset[str]
    """Instances, and places of open intentions, that waiting jobs are planned for."""
    holds_on_demand: frozenset[str]
    """Of these, the ones that a job is planned for which runs on on-demand instances alone."""
    launches: tuple[Launch, ...]
    missing: int
    """New instances wanted within the maximum: those of `launches`, and those that cannot be asked for now."""
    over_maximum: tuple[Demand, ...]
    """Jobs that wait only because the pool is at its maximum, or at that of its on-demand instances."""
    short: int
    """Instances wanted beyond the maximum, for `over_maximum` and the minimum; ending ones may yet give way to them."""
    room_to_make: int
    """How many instances that may be asked for now would take `over_maximum`."""
    at_maximum: bool
    """False: what is `over_maximum` waits for on-demand instances, of which the pool has as many as it may."""
    never_fits: tuple[Demand, ...]
    homeless: tuple[Demand, ...]
    """Jobs without room now, for which no instance is asked for either: of those of `over_budget` all that were
    packed."""
    blocked: int
    """How many of `missing` cannot be asked for now."""
    deferred: int
    """How many of `missing` the next pass asks for."""
    over_budget: int
    """How many of `missing` would cost more than `max_hourly_cost` allows."""
    cost_now: Decimal
    """USD per hour, of what there is and is on its way."""
    shops: tuple[Shop, ...]
    """The pool's own capacity type first; on-demand beside spot only while somebody wants it."""
    capped: tuple[Demand, ...]
    """Jobs whose own price limit the market is above."""
    places: Mapping[str, str]
    """Job with a deadline -> the instance, or place of an open intention, that is planned for it."""

    @property
    def offerings(self) -> Offerings:
        return self.shops[0].offerings

    @property
    def held(self) -> tuple[Reason, ...]:
        return tuple(reason for each in self.shops for reason in each.held)

    @property
    def next_open_at(self) -> datetime | None:
        return min((at for each in self.shops if (at := each.offerings.next_open_at)), default=None)


def needs(snapshot: Snapshot, fleet: FleetView, found: Verdicts, now: datetime) -> Needs:
    """For a pool that may grow: neither paused nor deleted, in a stack that stays."""
    returning = returning_jobs(snapshot, fleet, found, now)
    wanted = _needs(snapshot, fleet, found, returning, now)
    return _needs(snapshot, fleet, found, (), now) if returning and wanted.over_budget else wanted


def _needs(snapshot: Snapshot, fleet: FleetView, found: Verdicts, returning: Sequence[Demand], now: datetime) -> Needs:
    pool = snapshot.pool
    demand = _demand(snapshot, fleet, found, now)
    runs = {size: _may_ever_run(job, pool) for size, job in {job.size: job for job in demand}.items()}
    possible = [job for job in demand if runs[job.size]]
    shops = _shops(snapshot, fleet, possible, now)
    coming_back = returning if shops[0].sells else ()
    candidates = _candidates(shops, [*possible, *coming_back])
    most, bought = max(0, pool.max_instances - counted(fleet, snapshot.intentions)), on_demand_left(snapshot, fleet)
    kept, free = kept_rooms(possible, rooms(fleet, snapshot), snapshot)
    packed = pack(
        [*(job for job in possible if job.job_id not in kept), *coming_back],
        free,
        candidates,
        aux=_aux(pool),
        most=most,
        most_on_demand=_cap(pool, bought),
    )
    used = {**packed.used, **{name: (*packed.used.get(name, ()), job) for name, job in kept.values()}}
    left = tuple(job for job in packed.left if not job.returns)
    spent = sum(each.market.capacity_type is CapacityType.ON_DEMAND for each in packed.bins)
    wanted = _pack_anew(left, every_type(pool), pool, most - len(packed.bins), _cap(pool, bought - spent))
    spare, lacking = _spare(snapshot, fleet, packed, len(packed.bins) + len(wanted.bins), most)
    bins, blocked = _bought(packed.bins, spare, shops, base_missing(snapshot, fleet), pool)
    blocked += len(wanted.bins)
    planned = launches_of(bins, shops, pool)
    cost = hourly_cost(snapshot, fleet)
    within = planned if pool.max_hourly_cost is None else affordable(planned, pool.max_hourly_cost - cost, pool)
    asked = _one_probe(within, shops[0])
    over_budget = _count(planned) - _count(within)
    beyond = _pack_anew(wanted.left, every_type(pool), pool, pool.max_instances, None)
    return Needs(
        demand=tuple(demand),
        used=frozenset(used),
        holds_on_demand=frozenset(name for name, jobs in used.items() if any(map(_on_demand_only, jobs))),
        launches=tuple(asked),
        missing=len(bins) + blocked,
        over_maximum=wanted.left,
        short=lacking + len(beyond.bins),
        room_to_make=len(_pack_anew(wanted.left, candidates, pool, pool.max_instances, _cap(pool, bought)).bins),
        at_maximum=bool(lacking) or len(bins) + blocked >= most,
        never_fits=tuple(job for job in demand if not runs[job.size]),
        homeless=(*left, *(job for each in packed.bins if over_budget for job in each.jobs)),
        blocked=blocked,
        deferred=len(bins) - over_budget - _count(asked),
        over_budget=over_budget,
        cost_now=cost,
        shops=shops,
        capped=tuple(job for job in left if job.terms.spot_max_price is not None),
        places={job.job_id: name for name, jobs in used.items() for job in jobs if job.job_id in found},
    )


def _count(launches: Sequence[Launch]) -> int:
    return sum(launch.request.count for launch in launches)


def _may_ever_run(job: Demand, pool: Pool) -> bool:
    return bool(job.buys) and fits_some_type(job.slots, job.resources, pool)


def _on_demand_only(job: Demand) -> bool:
    return job.buys == frozenset({CapacityType.ON_DEMAND})


def _demand(snapshot: Snapshot, fleet: FleetView, found: Verdicts, now: datetime) -> list[Demand]:
    """Jobs about to lose their instance, which have run longest, then the queue in its order, save that within a
    priority those go first whose deadline bears no more waiting. An instance that was told to drain keeps its jobs to
    their end, so they need no other, unless they are told to stop."""
    queued = {job.job_id for job in snapshot.queue}
    may_buy = on_demand_left(snapshot, fleet) > 0
    moving = [
        Demand(
            job_id=lease.job_id,
            slots=lease.slots,
            resources=lease.resources,
            replaces=True,
            timely=_buys_in_time(lease.job_id, found),
            terms=lease.terms,
            buys=buys_of_lease(lease, snapshot, may_buy=may_buy, way=_way(lease.job_id, found)),
        )
        for lease in _ending(snapshot, fleet, now)
        if lease.job_id not in queued
    ]
    waiting = [
        Demand(
            job_id=job.job_id,
            slots=job.slots,
            resources=job.resources,
            timely=_buys_in_time(job.job_id, found),
            terms=job.terms,
            buys=buys_of_queued(job, snapshot, now, may_buy=may_buy, way=_way(job.job_id, found)),
        )
        for job in first_in_time(snapshot.queue, found)
    ]
    return [*moving, *waiting]


def _ending(snapshot: Snapshot, fleet: FleetView, now: datetime) -> list[Lease]:
    losing = [each for each in fleet.draining if is_ending(each) or each.termination_requested_at]
    found = [lease for each in (*fleet.gone, *losing) for lease in fleet.leases.get(each.instance_id, ())]
    there = {lease.job_id for lease in found}
    return [*found, *(e for e in snapshot.leases if moving(e, snapshot, now) and e.job_id not in there)]


def _way(job_id: str, found: Verdicts) -> Way | None:
    return found[job_id].way if job_id in found else None


def _buys_in_time(job_id: str, found: Verdicts) -> bool:
    return _way(job_id, found) is Way.ON_DEMAND


def _shops(snapshot: Snapshot, fleet: FleetView, jobs: Sequence[Demand], now: datetime) -> tuple[Shop, ...]:
    own = shop(snapshot, snapshot.pool.capacity_type(), now)
    beside = snapshot.pool.spot and (
        base_missing(snapshot, fleet) or (on_demand_left(snapshot, fleet) and any(map(_on_demand_only, jobs)))
    )
    return (own, shop(snapshot, CapacityType.ON_DEMAND, now)) if beside else (own,)


def _candidates(shops: Sequence[Shop], jobs: Sequence[Demand]) -> list[Candidate]:
    caps = list(dict.fromkeys(job.terms.spot_max_price for job in jobs if job.terms.spot_max_price is not None))
    hopeful = [cap for cap in caps if shops[0].under(cap)][:MOST_CAPS]
    return [*shops[0].candidates([None, *hopeful]), *(c for each in shops[1:] for c in each.candidates([None]))]


def _aux(pool: Pool) -> int:
    return pool.max_aux_containers_per_agent


def _cap(pool: Pool, left: int) -> int | None:
    return max(0, left) if pool.spot else None


def _pack_anew(
    jobs: Sequence[Demand], candidates: Sequence[Candidate], pool: Pool, most: int, most_on_demand: int | None
) -> Packing:
    """Into new bins alone."""
    return pack(jobs, (), candidates, aux=_aux(pool), most=most, most_on_demand=most_on_demand)


def _spare(snapshot: Snapshot, fleet: FleetView, packed: Packing, new: int, most: int) -> tuple[int, int]:
    """(empty instances to launch until the pool's minimum is met and enough are warm, those that `most` has no place
    for)."""
    coming = len(fleet.launching) + sum(map(awaited, snapshot.intentions))
    below = snapshot.pool.min_instances - len(fleet.running) - coming - new
    busy = sum(fleet.busy(each) for each in fleet.running)
    planned = sum(not fleet.leases.get(name) for name in packed.used)
    cold = snapshot.pool.warm_instances - (len(fleet.running) - busy + coming - planned)
    wanted = max(0, below, cold)
    placed = max(0, min(wanted, most - new))
    return placed, max(0, min(wanted, max(below, 0)) - placed)


def _bought(
    packed: Sequence[Bin], spare: int, shops: Sequence[Shop], base: int, pool: Pool
) -> tuple[tuple[Bin, ...], int]:
    """(the bins with `spare` empty ones on top, how many cannot be asked for): as many on-demand as the base lacks."""
    base -= sum(each.market.capacity_type is CapacityType.ON_DEMAND for each in packed)
    empty = Bin(facts=pool.types[0], jobs=())
    bins: list[Bin] = []
    blocked = 0
    for each in [*packed, *[empty] * spare]:
        wanted: Bin | None = each
        if base > 0 and each.market.capacity_type is CapacityType.SPOT and each.may_be(shops[-1].market):
            wanted, base = _cheapest(each, shops[-1], pool), base - 1
        elif not each.jobs:
            wanted = _cheapest(each, shops[0], pool)
        bins += [wanted] if wanted else []
        blocked += wanted is None
    return tuple(bins), blocked


def _cheapest(each: Bin, where: Shop, pool: Pool) -> Bin | None:
    holders = [c for c in where.candidates([each.cap]) if each.may_be(c.market) and each.fits(c.facts, _aux(pool))]
    if not holders:
        return None
    cheapest = min(holders, key=lambda candidate: candidate.price)
    return replace(each, facts=cheapest.facts, market=cheapest.market)


def _one_probe(launches: Sequence[Launch], own: Shop) -> list[Launch]:
    """As many requests as one pass makes; of a capacity type that is only being probed, one."""
    probes = [each for each in launches if own.offerings.probing and each.request.capacity_type is own.capacity_type]
    return [each for each in launches if each not in probes[1:]][:MOST_LAUNCHES]
