"""A market whose prices stand still, save where a simulation moves them all at once."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from lowtide.market import catalogue
from lowtide.market.model import Lifecycle, Offering


@dataclass
class Held:
    """A third of the on-demand price times `factor`, and a hundred instances of everything everywhere."""

    factor: Decimal = Decimal(1)

    def price(self, offering: Offering, at: datetime) -> Decimal:  # noqa: ARG002 - the protocol's signature
        usual = (catalogue.on_demand_price(offering.instance_type) or Decimal(1)) / 3
        return (usual * self.factor).quantize(Decimal("0.0001"))

    def capacity(self, offering: Offering, lifecycle: Lifecycle, at: datetime) -> int:  # noqa: ARG002 - as above
        return 100

    def next_change(self, offering: Offering, after: datetime) -> datetime | None:  # noqa: ARG002 - as above
        return None
