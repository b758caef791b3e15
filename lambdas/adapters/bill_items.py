"""How what an instance costs is stored: its tariff and its counters, with its INSTANCE item.

Prices are decimal text, as money is everywhere; the counters are numbers, since attempts add to them as they end.

    {"prices": [[0, "0.0312"], [5, "0.0340"]], "on_demand_price": "0.0816", "beside_price": "0.0269",
     "price_estimated": False, "leased_slot_seconds": 5400, "leased_usd": 0.0437, "interrupted_usd": 0.0102}
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from lambdas.adapters.attributes import Item
from lambdas.domain.bills import Tariff
from lambdas.domain.instants import from_text

COUNTED = ("leased_slot_seconds", "leased_usd", "interrupted_usd")


def tariff_attributes(tariff: Tariff) -> Item:
    return {
        "prices": [[hour, str(price)] for hour, price in tariff.prices],
        "on_demand_price": None if tariff.on_demand is None else str(tariff.on_demand),
        **{"beside_price": str(tariff.beside), "price_estimated": tariff.estimated},
    }


def tariff_from(instance: Mapping[str, Any]) -> Tariff | None:
    """Of an INSTANCE item; None: none is stored (adopted a moment ago)."""
    if "prices" not in instance:
        return None
    on_demand = instance.get("on_demand_price")
    return Tariff(
        launched_at=from_text(instance["launched_at"]),
        prices=tuple((hour, Decimal(price)) for hour, price in instance["prices"]),
        on_demand=None if on_demand is None else Decimal(on_demand),
        beside=Decimal(instance["beside_price"]),
        estimated=instance["price_estimated"],
    )


def counted(cost_usd: Decimal | None, slot_seconds: Decimal, *, interrupted: bool) -> dict[str, Decimal]:
    """What the end of an attempt adds to its instance's counters."""
    usd = cost_usd or Decimal()
    return dict(zip(COUNTED, (slot_seconds, usd, usd if interrupted else Decimal()), strict=True))
