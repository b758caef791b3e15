"""On what lifecycle and under what price limit a job may run. The plan and the claims both ask here (law 6)."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from lambdas.domain.pools.pools import CapacityType, TypeFacts


class OnDemand(StrEnum):
    """A job's own word on on-demand instances; what the pool's owner allows bounds it."""

    AUTO = "auto"
    """The pool's rule: it runs on whatever instance has room, and gets a new one as the pool says."""
    NEVER = "never"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """How an instance is, or is to be, paid for."""

    capacity_type: CapacityType
    limit: Decimal | None
    """USD per hour that EC2 was, or is to be, told as its limit; None: not known, or on-demand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    on_demand: OnDemand = OnDemand.AUTO
    spot_max_price: Decimal | None = None
    """USD per hour; a spot instance whose limit is higher, or not known, is not taken. On-demand ones are not bound."""

    def accept(self, market: Market) -> bool:
        if market.capacity_type is CapacityType.ON_DEMAND:
            return self.on_demand is not OnDemand.NEVER
        if self.on_demand is OnDemand.ALWAYS:
            return False
        return self.spot_max_price is None or (market.limit is not None and market.limit <= self.spot_max_price)


def market_of(capacity_type: CapacityType, price_limit: Decimal | None, facts: TypeFacts) -> Market:
    """An instance's market. A spot instance that was asked for without a limit has EC2's own: the on-demand price."""
    if capacity_type is CapacityType.ON_DEMAND:
        return Market(capacity_type=capacity_type, limit=None)
    return Market(capacity_type=capacity_type, limit=facts.on_demand_price if price_limit is None else price_limit)
