"""What a pool needs beyond what it has: the jobs packed, the requests to make, and what cannot be asked for now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from lambdas.domain.actions import Launch
from lambdas.domain.fit import fits_some_type
from lambdas.domain.fleet import LaunchRequest
from lambdas.domain.fleet_view import FleetView, awaited, counted, rooms
from lambdas.domain.offerings import Offering, Offerings, offerings
from lambdas.domain.packing import Bin, Candidate, Demand, Packing, pack
from lambdas.domain.pools import CapacityType, Pool, TypeFacts
from lambdas.domain.reasons import Reason
from lambdas.domain.refusals import holds
from lambdas.domain.snapshot import Snapshot

MOST_LAUNCHES = 8
"""Requests in one pass. EC2's bucket for CreateFleet holds 5 and refills 2 a second; a pass must end within seconds."""
MOST_OVERRIDES = 300
"""Overrides in one CreateFleet call."""
_ON_DEMAND_STRATEGIES = ("lowest-price", "prioritized")
"""The only ones that EC2 takes for on-demand instances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    demand: tuple[Demand, ...]
    used: frozenset[str]
    """Instances, and places of open intentions, that waiting jobs are planned for."""
    launches: tuple[Launch, ...]
    missing: int
    """New instances wanted within the maximum: those of `launches`, and those that cannot be asked for now."""
    over_maximum: tuple[Demand, ...]
    """Jobs that wait only because the pool is at its maximum."""
    would_fit: int
    """How many of `over_maximum` an instance that may be asked for now would take."""
    never_fits: tuple[Demand, ...]
    blocked: int
    """How many of `missing` cannot be asked for now."""
    deferred: int
    """How many of `missing` the next pass asks for."""
    offerings: Offerings
    held: tuple[Reason, ...]
    """Refusals that mark nothing and still keep the pool from asking."""


def needs(snapshot: Snapshot, fleet: FleetView, now: datetime) -> Needs:
    """For a pool that may grow: neither paused nor deleted, in a stack that stays."""
    pool = snapshot.pool
    capacity_type = pool.capacity_type()
    found = offerings(snapshot, capacity_type, now)
    held = tuple(reason for reason in snapshot.reasons if _holds(reason, capacity_type, now))
    askable = () if held else found.open
    demand = _demand(snapshot, fleet)
    possible = [job for job in demand if fits_some_type(job.slots, job.resources, pool)]
    most = max(0, pool.max_instances - counted(fleet, snapshot.intentions))
    packed = _pack(possible, snapshot, fleet, _candidates(askable), most)
    wanted = pack(packed.left, (), _all_types(pool), aux=_aux(pool), most=most - len(packed.bins))
    bins, blocked = _with_minimum(packed.bins, len(wanted.bins), snapshot, fleet, askable, most)
    launches = _launches(bins, askable, snapshot, capacity_type)
    asked = launches[:1] if found.probing else launches[:MOST_LAUNCHES]
    return Needs(
        demand=tuple(demand),
        used=frozenset(packed.used),
        launches=asked,
        missing=len(bins) + blocked,
        over_maximum=wanted.left,
        would_fit=sum(any(_fits(job, each.facts, pool) for each in askable) for job in wanted.left),
        never_fits=tuple(job for job in demand if not fits_some_type(job.slots, job.resources, pool)),
        blocked=blocked,
        deferred=len(bins) - sum(launch.request.count for launch in asked),
        offerings=found,
        held=held,
    )


def _holds(reason: Reason, capacity_type: CapacityType, now: datetime) -> bool:
    return reason.capacity_type in (None, capacity_type) and holds(reason, now)


def _demand(snapshot: Snapshot, fleet: FleetView) -> list[Demand]:
    """Jobs about to lose their instance, which have run longest, then the queue in its order."""
    ending = [lease for each in (*fleet.gone, *fleet.draining) for lease in fleet.leases.get(each.instance_id, ())]
    queued = {job.job_id for job in snapshot.queue}
    moving = [
        Demand(job_id=lease.job_id, slots=lease.slots, replaces=True) for lease in ending if lease.job_id not in queued
    ]
    return [*moving, *(Demand.of(job) for job in snapshot.queue)]


def _aux(pool: Pool) -> int:
    return pool.max_aux_containers_per_agent


def _pack(
    jobs: Sequence[Demand], snapshot: Snapshot, fleet: FleetView, candidates: Sequence[Candidate], most: int
) -> Packing:
    return pack(jobs, rooms(fleet, snapshot), candidates, aux=_aux(snapshot.pool), most=most)


def _candidates(askable: Sequence[Offering]) -> list[Candidate]:
    """Each type once, at the price of its cheapest offering."""
    cheapest: dict[str, Candidate] = {}
    for each in askable:
        known = cheapest.get(each.facts.name)
        if known is None or each.expected_price < known.price:
            cheapest[each.facts.name] = Candidate(facts=each.facts, price=each.expected_price)
    return list(cheapest.values())


def _all_types(pool: Pool) -> list[Candidate]:
    """Every type at one price per slot: what cannot be asked for has no better price."""
    return [Candidate(facts=facts, price=facts.on_demand_price or Decimal(max(facts.slots, 1))) for facts in pool.types]


def _with_minimum(
    bins: tuple[Bin, ...],
    blocked: int,
    snapshot: Snapshot,
    fleet: FleetView,
    askable: Sequence[Offering],
    most: int,
) -> tuple[tuple[Bin, ...], int]:
    """Empty bins on top, until the pool's minimum is met."""
    usable = len(fleet.running) + len(fleet.launching) + sum(map(awaited, snapshot.intentions)) + len(bins) + blocked
    short = max(0, min(snapshot.pool.min_instances - usable, most - len(bins) - blocked))
    candidates = _candidates(askable)
    if not candidates:
        return bins, blocked + short
    cheapest = min(candidates, key=lambda each: each.price)
    return (*bins, *(Bin(facts=cheapest.facts, jobs=()) for _ in range(short))), blocked


def _fits(job: Demand, facts: TypeFacts, pool: Pool) -> bool:
    return Bin(facts=facts, jobs=(job,)).fits(facts, _aux(pool))


def _launches(
    bins: Sequence[Bin], askable: Sequence[Offering], snapshot: Snapshot, capacity_type: CapacityType
) -> tuple[Launch, ...]:
    """One request for each shape: the bins that fit on the same offerings. Those that replace come first."""
    kinds = [candidate.facts for candidate in _candidates(askable)]
    shapes: dict[tuple[str, ...], list[Bin]] = {}
    for each in bins:
        shape = tuple(facts.name for facts in kinds if each.fits(facts, _aux(snapshot.pool)))
        shapes.setdefault(shape, []).append(each)
    launches = [
        _launch(members, [o for o in askable if o.facts.name in shape], snapshot.pool, capacity_type)
        for shape, members in shapes.items()
    ]
    return tuple(sorted(launches, key=lambda launch: (not launch.replaces, -launch.request.count)))


def _launch(bins: list[Bin], shape: list[Offering], pool: Pool, capacity_type: CapacityType) -> Launch:
    cheapest = sorted(shape, key=lambda each: each.expected_price)[:MOST_OVERRIDES]
    return Launch(
        request=LaunchRequest(
            capacity_type=capacity_type,
            overrides=tuple(each.override() for each in shape if each in cheapest),
            count=len(bins),
            allocation_strategy=_strategy(pool, capacity_type),
        ),
        why=_why(bins),
        replaces=any(job.replaces for each in bins for job in each.jobs),
    )


def _strategy(pool: Pool, capacity_type: CapacityType) -> str:
    if capacity_type is CapacityType.SPOT or pool.allocation_strategy in _ON_DEMAND_STRATEGIES:
        return pool.allocation_strategy
    return "lowest-price"


def _why(bins: list[Bin]) -> str:
    jobs = [job for each in bins for job in each.jobs]
    moving = sum(job.replaces for job in jobs)
    parts = [
        f"{len(jobs) - moving} queued jobs" if len(jobs) > moving else "",
        f"{moving} jobs whose instances are ending" if moving else "",
        f"the minimum of the pool ({sum(not each.jobs for each in bins)})"
        if any(not each.jobs for each in bins)
        else "",
    ]
    return "for " + " and ".join(part for part in parts if part)
