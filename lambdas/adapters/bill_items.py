"""How what an instance costs is stored: its tariff and its counters, with its INSTANCE item; its bill when it is gone.

Prices are decimal text, as money is everywhere; the counters are numbers, since attempts add to them as they end.

    {"prices": [[0, "0.0312"], [5, "0.0340"]], "on_demand_price": "0.0816", "beside_price": "0.0269",
     "price_estimated": False, "leased_slot_seconds": 5400, "leased_usd": 0.0437, "interrupted_usd": 0.0102}
"""

from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from decimal import Decimal
from typing import Any

from lambdas.adapters import keys
from lambdas.adapters.attributes import Item
from lambdas.adapters.flat import read, written
from lambdas.domain.buying.bills import Bill, Counted, Tariff
from lambdas.domain.instants import from_text

COUNTED = tuple(each.name for each in fields(Counted))


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


def counted_from(instance: Mapping[str, Any]) -> Counted:
    """Of an INSTANCE item; zeros before its first attempt has ended."""
    return Counted(**{name: Decimal(instance.get(name, 0)) for name in COUNTED})


def bill_item(bill: Bill, kept: timedelta) -> Item:
    """Goes by itself (TTL) so long after the instance's end."""
    return {
        **written(bill),
        **{"pk": keys.BILLS, "sk": keys.bill(bill.ended_at, bill.instance_id)},
        "expires_at": int((bill.ended_at + kept).timestamp()),
    }


def bill_from(item: Mapping[str, Any]) -> Bill:
    return Bill(**read(Bill, item))


def counted(cost_usd: Decimal | None, slot_seconds: Decimal, *, interrupted: bool) -> dict[str, Decimal]:
    """What the end of an attempt adds to its instance's counters."""
    usd = cost_usd or Decimal()
    return dict(zip(COUNTED, (slot_seconds, usd, usd if interrupted else Decimal()), strict=True))
