"""What a pool's instances cost an hour, and what `max_hourly_cost` leaves for more. USD; never ends anything."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal

from lambdas.domain.fleet.actions import Launch
from lambdas.domain.fleet.fleet import Instance, LaunchRequest
from lambdas.domain.fleet.fleet_view import FleetView, awaited
from lambdas.domain.fleet.snapshot import MarketPrice, Snapshot
from lambdas.domain.pools.pools import CapacityType, Pool, TypeFacts

GP3_GIB_MONTH = Decimal("0.08")
"""USD per GiB-month of a gp3 volume in us-east-1 and us-west-2, as commonly quoted; not read from the price list.
Other Regions ask more: there the bound errs by a cent or two an instance."""
HOURS_A_MONTH = 730
"""As AWS reckons months in its calculator."""
PUBLIC_IPV4_HOUR = Decimal("0.005")
"""USD per hour of a public IPv4 address since February 2024, as commonly quoted; not read from the price list."""


def beside(pool: Pool) -> Decimal:
    """What each instance costs an hour beside itself: its root volume and, unless the pool has none, its public
    address."""
    address = Decimal() if pool.machine.public_ip is False else PUBLIC_IPV4_HOUR
    return GP3_GIB_MONTH * pool.machine.root_volume_size / HOURS_A_MONTH + address


def hourly_cost(snapshot: Snapshot, fleet: FleetView) -> Decimal:
    """What is there, and what open intentions may still bring, at its limit."""
    coming = (_at_most(each.request, snapshot.pool) * awaited(each) for each in snapshot.intentions)
    return cost_of(fleet.present, snapshot) + sum(coming, Decimal())


def cost_of(instances: Iterable[Instance], snapshot: Snapshot) -> Decimal:
    """What these cost an hour now, with their volumes and addresses. A spot price that is not known counts as the
    instance's limit; what is ending costs until it is gone."""
    market = snapshot.market()
    return sum((_price(each, snapshot, market) + beside(snapshot.pool) for each in instances), Decimal())


def _price(instance: Instance, snapshot: Snapshot, market: Mapping[tuple[str, str], MarketPrice]) -> Decimal:
    facts = snapshot.pool.facts(instance.instance_type)
    spot = instance.capacity_type is CapacityType.SPOT
    known = market.get((instance.instance_type, instance.zone)) if spot else None
    prices = (known and known.price, instance.price_limit, facts and facts.on_demand_price)
    return next((each for each in prices if each is not None), Decimal())


def on_demand_cost_of(instances: Iterable[Instance], snapshot: Snapshot) -> Decimal:
    """What these would cost an hour on demand, with their volumes and addresses. A type whose on-demand price is not
    known counts at what it costs now, so that it saves nothing."""
    market = snapshot.market()
    return sum((_on_demand(each, snapshot, market) + beside(snapshot.pool) for each in instances), Decimal())


def _on_demand(instance: Instance, snapshot: Snapshot, market: Mapping[tuple[str, str], MarketPrice]) -> Decimal:
    facts = snapshot.pool.facts(instance.instance_type)
    known = facts and facts.on_demand_price
    return _price(instance, snapshot, market) if known is None else known


def price_of_limit(snapshot: Snapshot) -> Decimal | None:
    """The spot price of the pool's cheapest offering by its limit, as a share of that limit: above 1 nothing of the
    pool can be had. None for a pool of which no price or no limit is known."""
    pool = snapshot.pool
    known = ((each.price, pool.facts(each.instance_type)) for each in snapshot.prices if pool.spot)
    limited = ((price, pool.price_limit(facts)) for price, facts in known if facts is not None)
    return min((price / limit for price, limit in limited if limit), default=None)


def unit_cost(facts: TypeFacts, capacity_type: CapacityType, limit: Decimal | None, pool: Pool) -> Decimal | None:
    """The most that a new instance costs an hour; None: not known."""
    most = facts.on_demand_price if capacity_type is CapacityType.ON_DEMAND or limit is None else limit
    return None if most is None else most + beside(pool)


def _at_most(request: LaunchRequest, pool: Pool) -> Decimal:
    """The dearest instance that the request may bring; what is not known counts as nothing."""
    known = {facts.name: facts for facts in pool.types}
    costs = [
        unit_cost(known[o.instance_type], request.capacity_type, o.max_price, pool)
        for o in request.overrides
        if o.instance_type in known
    ]
    return max((cost for cost in costs if cost is not None), default=Decimal())


def affordable(launches: Iterable[Launch], left: Decimal, pool: Pool) -> list[Launch]:
    """The launches in their order as far as `left` goes: each with fewer instances, and without the dearest types,
    where it would take more."""
    bought: list[Launch] = []
    for launch in launches:
        if (cut := _cut(launch, left, pool)) is not None:
            bought.append(cut)
            left -= _at_most(cut.request, pool) * cut.request.count
    return bought


def _cut(launch: Launch, left: Decimal, pool: Pool) -> Launch | None:
    """The dearest overrides go until one instance is affordable; None: none is, or no price is known."""
    request, known = launch.request, {facts.name: facts for facts in pool.types}
    priced = [
        (cost, o)
        for o in request.overrides
        if (cost := unit_cost(known[o.instance_type], request.capacity_type, o.max_price, pool)) is not None
    ]
    within = [(cost, o) for cost, o in priced if cost <= left]
    if not within:
        return None
    count = min(request.count, int(left / max(cost for cost, _ in within)))
    return replace(launch, request=replace(request, overrides=tuple(o for _, o in within), count=count))
