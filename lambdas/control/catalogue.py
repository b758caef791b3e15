"""Once a day: what EC2 and the price list say now of the instance types that pools use, written into the pools.

`pools apply` stores a pool with the facts of that day. Prices change, and a limit in percent with them; without this a
pool would be judged by the prices of the day it was applied. Whatever fails leaves yesterday's facts.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Protocol

from lambdas.adapters.catalogue import TypeListing
from lambdas.domain.pools.pools import Pool

_log = logging.getLogger(__name__)

RESERVE = timedelta(seconds=60)
"""Kept for writing the pools: some 10 s for 1,000 of them."""


class Pools(Protocol):
    """Where pools are kept (adapters/pool_config.py)."""

    def readable(self) -> tuple[list[Pool], frozenset[str]]: ...

    def put_types(self, pool: Pool) -> bool: ...


class Listings(Protocol):
    """What is asked of EC2 and the price list (adapters/catalogue.py)."""

    def listings(self, names: Sequence[str]) -> dict[str, TypeListing]: ...

    def on_demand_price(self, instance_type: str) -> Decimal | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresher:
    pools: Pools
    catalogue: Listings


def refresh(of: Refresher, time_left: Callable[[], timedelta]) -> tuple[str, ...]:
    """Renew every pool's facts; the names of the pools that changed. One listing of all types, one price for each.

    Raises ClientError when EC2 does not answer, Unavailable when the table does not: EventBridge has it tried again.
    """
    readable, _ = of.pools.readable()
    pools = [pool for pool in readable if not pool.deleted]
    names = sorted({facts.name for pool in pools for facts in pool.types})
    if not names:
        return ()
    listings = of.catalogue.listings(names)
    prices = _prices(of.catalogue, sorted(listings), time_left)
    fresh = [(pool, _renewed(pool, listings, prices)) for pool in pools]
    changed = tuple(new.name for old, new in fresh if new != old and of.pools.put_types(new))
    unpriced = [name for name in names if prices.get(name) is None]
    _log.info("catalogue read", extra={"types": len(names), "changed": list(changed), "unpriced": unpriced})
    return changed


def _prices(
    catalogue: Listings, names: Sequence[str], time_left: Callable[[], timedelta]
) -> Mapping[str, Decimal | None]:
    """As many as there is time for; the price list may be slow, and yesterday's price is a good one."""
    return {name: catalogue.on_demand_price(name) for name in names if time_left() > RESERVE}


def _renewed(pool: Pool, listings: Mapping[str, TypeListing], prices: Mapping[str, Decimal | None]) -> Pool:
    types = tuple(
        listing.renew(facts, prices.get(facts.name)) if (listing := listings.get(facts.name)) else facts
        for facts in pool.types
    )
    return replace(pool, types=types)
