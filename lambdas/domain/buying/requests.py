"""From planned instances to requests: one for each shape, the bins that fit on the same offerings under one limit; as
many as it takes where a shape is more than EC2 takes in one."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from math import ceil

from lambdas.domain.buying.offerings import Offering
from lambdas.domain.buying.shops import Shop
from lambdas.domain.fleet.actions import Launch
from lambdas.domain.fleet.fleet import LaunchRequest
from lambdas.domain.fleet.packing import Bin, Size
from lambdas.domain.pools.pools import CapacityType, Pool
from lambdas.domain.words import several

MOST_LAUNCHES = 8
"""Requests in one pass. EC2's bucket for CreateFleet holds 5 and refills 2 a second; a pass must end within seconds."""
MOST_OVERRIDES = 300
"""Overrides in one call. EC2 documents this bound for fleets of the other types; it keeps an intention under 100 KB."""
MOST_INSTANCES = 1_000
"""Instances in one call. EC2 takes 10,000 (target capacity of a fleet); what comes is recorded in transactions of a
hundred, and the pass that does so must end in time."""
_ON_DEMAND_STRATEGIES = ("lowest-price", "prioritized")
"""The only ones that EC2 takes for on-demand instances."""


def launches_of(bins: Sequence[Bin], shops: Sequence[Shop], pool: Pool) -> list[Launch]:
    """Those that replace come first, then the largest."""
    shapes: dict[tuple[CapacityType, Decimal | None, tuple[str, ...]], list[Bin]] = {}
    stocks = {each.capacity_type: each for each in shops}
    for alike in _alike(bins):
        stock, first = stocks[alike[0].market.capacity_type], alike[0]
        kinds = {offering.facts.name: offering.facts for offering in stock.under(first.cap)}
        fitting = tuple(name for name, facts in kinds.items() if first.fits(facts, pool.max_aux_containers_per_agent))
        shapes.setdefault((stock.capacity_type, first.cap, fitting), []).extend(alike)
    launches = [
        _launch(part, offerings, pool, kind)
        for (kind, cap, names), members in shapes.items()
        for part, offerings in _parts(members, [o for o in stocks[kind].under(cap) if o.facts.name in names])
    ]
    return sorted(launches, key=lambda launch: (not launch.replaces, -launch.request.count))


def _alike(bins: Sequence[Bin]) -> Iterable[list[Bin]]:
    """The bins by what is in them: those with as many jobs of each size fit the same offerings."""
    groups: dict[tuple[CapacityType, frozenset[tuple[Size, int]]], list[Bin]] = {}
    for each in bins:
        content = frozenset(Counter(job.size for job in each.jobs).items())
        groups.setdefault((each.market.capacity_type, content), []).append(each)
    return groups.values()


def _parts(bins: list[Bin], shape: list[Offering]) -> Iterator[tuple[list[Bin], list[Offering]]]:
    """The bins of a shape and the offerings that each request names, within what one request may have.

    More offerings than that are dealt out by their price in turn, so that every part has cheap ones; one instance is
    asked for from the cheapest alone."""
    ranked = sorted(range(len(shape)), key=lambda place: shape[place].expected_price)
    hands = max(1, min(ceil(len(ranked) / MOST_OVERRIDES), len(bins)))
    parts = hands * ceil(len(bins) / (hands * MOST_INSTANCES))
    for part in range(parts):
        dealt = sorted(ranked[: hands * MOST_OVERRIDES][part % hands :: hands])
        yield bins[part::parts], [shape[place] for place in dealt]


def _launch(bins: list[Bin], offerings: list[Offering], pool: Pool, capacity_type: CapacityType) -> Launch:
    return Launch(
        request=LaunchRequest(
            capacity_type=capacity_type,
            overrides=tuple(each.override() for each in offerings),
            count=len(bins),
            allocation_strategy=strategy(pool, capacity_type),
        ),
        why=_why(bins, beside=pool.spot and capacity_type is CapacityType.ON_DEMAND),
        replaces=any(job.replaces for each in bins for job in each.jobs),
        kept_for=tuple(job_id for each in bins if (job_id := _kept_for(each))),
    )


def _kept_for(each: Bin) -> str | None:
    return next((job.job_id for job in each.jobs if job.timely), None)


def strategy(pool: Pool, capacity_type: CapacityType) -> str:
    """The pool's allocation strategy where EC2 takes it for this capacity type."""
    if capacity_type is CapacityType.SPOT or pool.allocation_strategy in _ON_DEMAND_STRATEGIES:
        return pool.allocation_strategy
    return "lowest-price"


def _why(bins: list[Bin], *, beside: bool) -> str:
    jobs = [job for each in bins for job in each.jobs]
    moving, spare = sum(job.replaces for job in jobs), sum(not each.jobs for each in bins)
    returning = sum(job.returns for job in jobs)
    waiting = len(jobs) - moving - returning
    told = [
        (waiting, several(waiting, "queued job")),
        (returning, f"{several(returning, 'job')} to come back from on-demand"),
        (moving, f"{several(moving, 'job')} about to lose the instance"),
        (spare, f"the pool's minimum ({several(spare, 'instance')})"),
    ]
    text = "for " + " and ".join(text for count, text in told if count)
    if not beside:
        return text
    timely = sum(job.timely for job in jobs)
    return f"{text}, on-demand as the pool's owner allows" + (f" (for the deadline of {timely})" if timely else "")
