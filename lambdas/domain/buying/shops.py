"""What a pool may buy now: of each capacity type that its owner allows, the offerings, the holds, and how many."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from lambdas.domain.buying.offerings import Offering, Offerings, offerings
from lambdas.domain.fleet.fleet import Instance
from lambdas.domain.fleet.fleet_view import FleetView, awaited
from lambdas.domain.fleet.packing import Candidate
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.jobs.terms import Market
from lambdas.domain.pools.pools import CapacityType, Pool
from lambdas.domain.reasons import Reason
from lambdas.domain.refusals.boots import boots_in_vain
from lambdas.domain.refusals.launch_errors import launch_error
from lambdas.domain.refusals.refusals import holds

MOST_CAPS = 8
"""Different price limits of jobs that one pass plans for, in rank order; jobs with others wait for a later one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """One capacity type."""

    capacity_type: CapacityType
    offerings: Offerings
    held: tuple[Reason, ...]
    """Refusals that mark nothing and still keep the pool from asking."""

    @property
    def market(self) -> Market:
        """The loosest terms on which it sells."""
        return Market(capacity_type=self.capacity_type, limit=None)

    @property
    def askable(self) -> tuple[Offering, ...]:
        return () if self.held else self.offerings.open

    @property
    def sells(self) -> bool:
        """True: what is asked for now may well come."""
        return bool(self.askable) and not self.offerings.probing

    def under(self, cap: Decimal | None) -> list[Offering]:
        """What may be asked for with this limit of a job's own; offerings that the market puts above it are left out,
        save where the pool's own limit is only being probed."""
        if cap is None or self.capacity_type is CapacityType.ON_DEMAND:
            return list(self.askable)
        capped = [_capped(each, cap) for each in self.askable]
        return [each for each in capped if self.offerings.probing or not each.hopeless()]

    def candidates(self, caps: Iterable[Decimal | None]) -> list[Candidate]:
        """Each type once per limit, at the price of its cheapest offering."""
        return [candidate for cap in caps for candidate in _cheapest(self.under(cap))]


def _capped(offering: Offering, cap: Decimal) -> Offering:
    return replace(offering, max_price=cap if offering.max_price is None else min(cap, offering.max_price))


def _cheapest(askable: Sequence[Offering]) -> list[Candidate]:
    found: dict[str, Candidate] = {}
    for each in askable:
        known = found.get(each.facts.name)
        if known is None or each.expected_price < known.price:
            found[each.facts.name] = Candidate(facts=each.facts, price=each.expected_price, market=market_of(each))
    return list(found.values())


def market_of(offering: Offering) -> Market:
    """The market of an instance that comes of this offering."""
    if offering.capacity_type is CapacityType.ON_DEMAND:
        return Market(capacity_type=CapacityType.ON_DEMAND, limit=None)
    limit = offering.facts.on_demand_price if offering.max_price is None else offering.max_price
    return Market(capacity_type=CapacityType.SPOT, limit=limit)


def shop(snapshot: Snapshot, capacity_type: CapacityType, now: datetime) -> Shop:
    held = tuple(r for r in snapshot.reasons if r.capacity_type in (None, capacity_type) and holds(r, now))
    if capacity_type is snapshot.pool.capacity_type() and (error := launch_error(snapshot, now)):
        held = (*held, error.reason())
    if vain := boots_in_vain(snapshot, now):
        held = (*held, vain)
    return Shop(capacity_type=capacity_type, offerings=offerings(snapshot, capacity_type, now), held=held)


def on_demand_instances(snapshot: Snapshot, fleet: FleetView) -> list[Instance]:
    """Of a spot pool, oldest first: those of the base, then those of its fallback. Without what EC2 is about to end."""
    bought = [
        each for each in fleet.present if each.capacity_type is CapacityType.ON_DEMAND and each not in fleet.draining
    ]
    return sorted(bought, key=lambda each: (each.launched_at, each.instance_id)) if snapshot.pool.spot else []


def base_missing(snapshot: Snapshot, fleet: FleetView) -> int:
    """How many of the next new instances are on-demand for the sake of `on_demand_base`."""
    return max(0, snapshot.pool.on_demand_base - _bought(snapshot, fleet)) if snapshot.pool.spot else 0


def on_demand_left(snapshot: Snapshot, fleet: FleetView) -> int:
    """How many on-demand instances a spot pool may still buy: base and fallback. Draining ones count against the
    fallback until they end; one of the base is replaced at once."""
    fallback = snapshot.pool.on_demand_fallback
    ending = [e for e in fleet.draining if e.capacity_type is CapacityType.ON_DEMAND and e.ends_at is None]
    beyond = max(0, _bought(snapshot, fleet) - snapshot.pool.on_demand_base) + len(ending)
    more = max(0, fallback.max_instances - beyond) if fallback else 0
    return base_missing(snapshot, fleet) + more


def _bought(snapshot: Snapshot, fleet: FleetView) -> int:
    coming = [each for each in snapshot.intentions if each.request.capacity_type is CapacityType.ON_DEMAND]
    return len(on_demand_instances(snapshot, fleet)) + sum(map(awaited, coming))


def every_type(pool: Pool) -> list[Candidate]:
    """Every type at one price per slot, on any terms: what cannot be asked for has no better price."""
    kinds = [Market(capacity_type=CapacityType.SPOT, limit=Decimal())] if pool.spot else []
    kinds += [Market(capacity_type=CapacityType.ON_DEMAND, limit=None)] if pool.allows_on_demand() else []
    return [
        Candidate(facts=facts, price=facts.on_demand_price or Decimal(max(facts.slots, 1)), market=market)
        for market in kinds
        for facts in pool.types
    ]
