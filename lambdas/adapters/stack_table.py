"""What all pools of a stack share in the table: the control switch, the market's prices as last read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from lambdas.adapters import keys
from lambdas.adapters.pulse import outage_end
from lambdas.adapters.table import Item, Table
from lambdas.domain.fleet.snapshot import MarketPrice
from lambdas.domain.instants import from_text, to_text
from lambdas.domain.settings import Settings

_KEYS_A_CALL = 100
"""Keys a BatchGetItem (DynamoDB's limit)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    closing: bool
    """The stack is being deleted: nothing is launched."""
    outage_ended_at: datetime | None
    prices: tuple[MarketPrice, ...]
    read_at: datetime | None
    """When the oldest of the offerings asked for was last looked up; None: one of them never was."""


class StackTable:
    def __init__(self, table: Table, settings: Settings) -> None:
        self._table = table
        self._settings = settings

    def shared(self, offerings: Sequence[tuple[str, str]], now: datetime) -> Shared:
        """The control switch, the worker API's pulse and the last read prices of these (instance type, zone); one call
        per 98 offerings."""
        wanted = [(keys.STACK, keys.CONTROL), (keys.STACK, keys.API)]
        wanted += [(keys.MARKET, keys.market(*offering)) for offering in offerings]
        found: list[Item] = []
        for start in range(0, len(wanted), _KEYS_A_CALL):
            found.extend(self._table.get_many(wanted[start : start + _KEYS_A_CALL]))
        stack = {item["sk"]: item for item in found if item["pk"] == keys.STACK}
        market = [item for item in found if item["pk"] == keys.MARKET]
        return Shared(
            closing="closing" in stack.get(keys.CONTROL, {}),
            outage_ended_at=outage_end(stack.get(keys.API), now, self._settings),
            prices=tuple(_price(item) for item in market if "price" in item),
            read_at=min((from_text(item["read_at"]) for item in market), default=None)
            if len(market) == len(set(offerings))
            else None,
        )

    def put_prices(self, offerings: Iterable[tuple[str, str]], prices: Iterable[MarketPrice], now: datetime) -> None:
        """Remember what was read for these offerings; one that has no price is remembered as looked up."""
        known = {(price.instance_type, price.zone): price for price in prices}
        wanted = list(dict.fromkeys(offerings))
        for start in range(0, len(wanted), _KEYS_A_CALL):
            chunk = wanted[start : start + _KEYS_A_CALL]
            self._table.transact([self._table.put_op(_market_item(o, known.get(o), now)) for o in chunk])


def _price(item: Item) -> MarketPrice:
    instance_type, zone = item["sk"].split("#")
    return MarketPrice(
        instance_type=instance_type, zone=zone, price=Decimal(item["price"]), seen_at=from_text(item["seen_at"])
    )


def _market_item(offering: tuple[str, str], price: MarketPrice | None, now: datetime) -> Item:
    return {
        **{"pk": keys.MARKET, "sk": keys.market(*offering), "read_at": to_text(now)},
        **({} if price is None else {"price": str(price.price), "seen_at": to_text(price.seen_at)}),
    }
