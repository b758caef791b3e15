"""What instances cost between two looks at them, spread over the period. USD; instances alone, as `how` says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import Any

from lambdas.domain.fleet.fleet import Instance
from lambdas.domain.pools.pools import CapacityType, Pool

BUCKETS = 96
"""Points of the cost chart: a quarter of an hour each over a day."""

HOW = (
    "Reckoned from the kept decisions: each instance's hours at the price that was known when the pool was looked at. "
    "Volumes, addresses, traffic and what has no known price are left out; the invoice is AWS's."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    points: Sequence[Mapping[str, Any]]
    """`{"at", "spent_usd", "on_demand_usd"}`, cumulated, oldest first: the last one's sums are the totals."""
    by_instance: Mapping[str, Decimal]
    how: str
    """Where the numbers come from, for people."""

    def document(self) -> dict[str, Any]:
        totals = {key: self.points[-1][key] for key in ("spent_usd", "on_demand_usd")}
        return {"points": [dict(point) for point in self.points], **totals, "how": self.how}


Prices = Mapping[tuple[str, str], Decimal]
"""(type, zone) -> spot price in USD per hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What one instance cost from `begin` to `end`."""

    begin: datetime
    end: datetime
    spent: Decimal
    on_demand: Decimal
    """The same time at the on-demand price; what was spent where that is not known."""


@dataclass(slots=True)
class Meter:
    """Adds up instances from look to look. What lies before `since` is not counted."""

    since: datetime
    stretches: list[Stretch] = field(default_factory=list[Stretch])
    spent: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    """By instance id; an instance whose price was never known is missing."""
    _counted: dict[str, datetime] = field(default_factory=dict[str, datetime])

    def count(self, instance: Instance, upto: datetime, pool: Pool, prices: Prices) -> None:
        """The time since it was last counted, at today's price; nothing where no price is known."""
        begin = self._counted.get(instance.instance_id, max(instance.launched_at, self.since))
        if upto <= begin:
            return
        self._counted[instance.instance_id] = upto
        facts = pool.facts(instance.instance_type)
        list_price = facts.on_demand_price if facts else None
        spot = instance.capacity_type is CapacityType.SPOT
        price = prices.get((instance.instance_type, instance.zone)) if spot else list_price
        if price is None:
            return
        hours = Decimal((upto - begin) / timedelta(hours=1))
        on_demand = price if list_price is None else list_price
        self.stretches.append(Stretch(begin=begin, end=upto, spent=hours * price, on_demand=hours * on_demand))
        self.spent[instance.instance_id] = self.spent.get(instance.instance_id, Decimal(0)) + hours * price


def reckoned(meters: Sequence[Meter], since: datetime, until: datetime) -> Bill | None:
    """What the meters add up to, at BUCKETS instants after the first. None: nothing was priced."""
    stretches = [stretch for meter in meters for stretch in meter.stretches]
    if not stretches:
        return None
    width = (until - since) / BUCKETS
    spent, on_demand = [Decimal(0)] * (BUCKETS + 1), [Decimal(0)] * (BUCKETS + 1)
    for stretch in stretches:
        for number, share in _shares(stretch, since, width):
            spent[number + 1] += share * stretch.spent
            on_demand[number + 1] += share * stretch.on_demand
    sums = zip(accumulate(spent), accumulate(on_demand), strict=True)
    return Bill(
        points=[{"at": since + n * width, "spent_usd": a, "on_demand_usd": b} for n, (a, b) in enumerate(sums)],
        by_instance={name: usd for meter in meters for name, usd in meter.spent.items()},
        how=HOW,
    )


def _shares(stretch: Stretch, since: datetime, width: timedelta) -> list[tuple[int, Decimal]]:
    """(bucket, part of the stretch that lies in it); the parts add up to 1."""
    whole = stretch.end - stretch.begin
    first = max(0, int((stretch.begin - since) / width))
    last = min(BUCKETS - 1, int((stretch.end - since) / width))
    parts: list[tuple[int, Decimal]] = []
    for number in range(min(first, BUCKETS - 1), last + 1):
        begin, end = max(stretch.begin, since + number * width), min(stretch.end, since + (number + 1) * width)
        parts.append((number, Decimal(max(0.0, (end - begin) / whole))))
    total = sum((share for _, share in parts), Decimal(0))
    return [(number, share / total) for number, share in parts] if total else [(last, Decimal(1))]
