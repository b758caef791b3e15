"""When the market takes instances back: who has to go, and how each end is announced, or not. Pure."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, TypeVar

from lowtide.market.unkindness import Unkindness

NEVER = timedelta(days=36_500)
"""Longer than any world lives; a longer draw cannot be added to an instant."""


class Cause(StrEnum):
    PRICE = "price"
    CAPACITY = "capacity"
    ASKED = "asked"
    """Somebody asked for this interruption: a script, a drill, a test."""


SPOT_STATUS = {
    Cause.PRICE: "instance-terminated-by-price",
    Cause.CAPACITY: "instance-terminated-no-capacity",
    Cause.ASKED: "instance-terminated-by-service",
}
"""The spot request's status code afterwards (EC2 user guide, spot request status)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """The end of one spot instance, decided once; nothing takes it back."""

    cause: Cause
    decided_at: datetime
    ends_at: datetime
    warned_at: datetime | None
    """When the notice appears in the metadata service and as an event; None: it never does."""
    repeated_at: datetime | None
    """When the event comes a second time; None: it does not."""
    rebalance_at: datetime | None
    """When a rebalance recommendation comes, at or before the notice; None: it does not."""


class Holding(Protocol):
    """A running spot instance, as far as its end is concerned."""

    @property
    def instance_id(self) -> str: ...

    @property
    def price_limit(self) -> Decimal | None: ...


H = TypeVar("H", bound=Holding)


def victims(holdings: Iterable[H], price: Decimal, capacity: int) -> list[tuple[H, Cause]]:
    """Which instances of one offering have to go now. First all whose limit the price has passed, then as many as
    there are too many; the lowest limits first, then the newest ids, so that equal worlds choose equally."""
    every = list(holdings)
    dear = [h for h in every if h.price_limit is not None and price > h.price_limit]
    if not dear and len(every) <= capacity:
        return []
    held = [h for h in every if h not in dear]
    held.sort(key=lambda h: (h.price_limit if h.price_limit is not None else Decimal("Infinity"), h.instance_id))
    surplus = held[: max(0, len(held) - max(capacity, 0))]
    return [(h, Cause.PRICE) for h in dear] + [(h, Cause.CAPACITY) for h in surplus]


def interruption(
    at: datetime,
    cause: Cause,
    unkindness: Unkindness,
    chance: random.Random,
    *,
    notice: bool | None = None,
    lead: timedelta | None = None,
) -> Interruption:
    """How an instance that has to go ends. `notice` and `lead` overrule chance: a notice asked for comes at once and
    leaves the whole lead; with `notice=False` the instance ends after `lead`, by default at once, and nothing says so.
    """
    full = unkindness.warning_lead if lead is None else lead
    if notice is False or (notice is None and chance.random() < unkindness.unwarned):
        return Interruption(
            cause=cause,
            decided_at=at,
            ends_at=at + (lead or timedelta(0)),
            warned_at=None,
            repeated_at=None,
            rebalance_at=None,
        )
    late = notice is None and chance.random() < unkindness.late
    left = full * chance.uniform(0.2, 0.6) if late else full
    advised = notice is None and chance.random() < unkindness.rebalance
    ahead = unkindness.rebalance_lead * chance.random() if advised else timedelta(0)
    warned_at = at + ahead + (full - left)
    repeated = chance.random() < unkindness.doubled
    return Interruption(
        cause=cause,
        decided_at=at,
        ends_at=at + ahead + full,
        warned_at=warned_at,
        repeated_at=warned_at + full * chance.uniform(0.0, 0.2) if repeated else None,
        rebalance_at=at if advised else None,
    )


def wait(mean: timedelta, chance: random.Random) -> timedelta | None:
    """An exponentially distributed time with this mean; None: longer than any world lives."""
    if mean > NEVER:
        return None
    drawn = timedelta(seconds=chance.expovariate(1 / mean.total_seconds()))
    return drawn if drawn < NEVER else None
