"""How the demo's bill grew: the same bill, made out at many instants."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from lowtide.demo.bill import bill
from lowtide.market.instances import Happening
from lowtide.market.model import PricePoint
from lowtide.report.money import BUCKETS, Bill


def course(
    happenings: Sequence[Happening],
    prices: Mapping[tuple[str, str], Sequence[PricePoint]],
    *,
    pace: float,
    since: datetime,
    until: datetime,
) -> Bill:
    """From `since` to `until`; its totals are those of the bill made out at `until`."""
    rows: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    for number in range(BUCKETS + 1):
        at = since + number * (until - since) / BUCKETS
        rows = bill([line for line in happenings if line.at <= at], prices, pace=pace, now=at)
        sums = {key: sum((row[key] for row in rows), Decimal(0)) for key in ("cost_usd", "on_demand_cost_usd")}
        points.append({"at": at, "spent_usd": sums["cost_usd"], "on_demand_usd": sums["on_demand_cost_usd"]})
    return Bill(
        points=points,
        by_instance={row["instance_id"]: row["cost_usd"] for row in rows},
        how=f"The local market's own bill: each instance at the market's prices, where {pace:g} seconds pass in one.",
    )
