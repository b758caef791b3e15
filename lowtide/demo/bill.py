"""What the demo's instances cost at the local market's prices, in the market's own (scaled) time."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from lowtide.market import catalogue
from lowtide.market.instances import Happening
from lowtide.market.model import PricePoint

CENT = Decimal("0.0001")


def bill(
    happenings: Iterable[Happening],
    prices: Mapping[tuple[str, str], Sequence[PricePoint]],
    *,
    pace: float,
    now: datetime,
) -> list[dict[str, Any]]:
    """One row an instance. Spot is charged by the second at the price in force, on-demand at its list price; seconds
    are the market's: `pace` of them pass in one real second."""
    begun: dict[str, Happening] = {}
    rows: list[dict[str, Any]] = []
    for line in happenings:
        if line.what == "launched":
            begun[line.instance_id] = line
        elif line.what == "ended" and line.instance_id in begun:
            rows.append(_row(begun.pop(line.instance_id), line.at, prices, pace))
    return rows + [_row(line, now, prices, pace) for line in begun.values()]


def _row(
    launch: Happening, end: datetime, prices: Mapping[tuple[str, str], Sequence[PricePoint]], pace: float
) -> dict[str, Any]:
    hours = Decimal((end - launch.at).total_seconds() * pace / 3600)
    on_demand = catalogue.on_demand_price(launch.instance_type) or Decimal(0)
    rate = on_demand
    if launch.lifecycle == "spot":
        rate = mean_price(prices[launch.instance_type, launch.zone], launch.at, end)
    return {
        **{"instance_id": launch.instance_id, "instance_type": launch.instance_type, "zone": launch.zone},
        **{"lifecycle": launch.lifecycle, "hours": hours.quantize(CENT)},
        **{"cost_usd": (hours * rate).quantize(CENT), "on_demand_cost_usd": (hours * on_demand).quantize(CENT)},
    }


def mean_price(points: Sequence[PricePoint], begin: datetime, end: datetime) -> Decimal:
    """The price in force, averaged over [begin, end); `points` are oldest first, the first in force at `begin`."""
    inside = [point for point in points if point.at < end]
    steps = [(max(point.at, begin), point.price) for point in inside]
    ends = [*(at for at, _ in steps[1:]), end]
    weights = [max(0.0, (until - at).total_seconds()) for (at, _), until in zip(steps, ends, strict=True)]
    if not sum(weights):
        return inside[-1].price if inside else points[0].price
    total = sum(price * Decimal(weight) for (_, price), weight in zip(steps, weights, strict=True))
    return Decimal(total) / Decimal(sum(weights))
