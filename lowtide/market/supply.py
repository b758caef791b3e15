"""What the market can give at one instant, as a fleet request sees it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from lowtide.market import catalogue
from lowtide.market.instances import Instance
from lowtide.market.model import Conditions, Lifecycle, Offering
from lowtide.market.unkindness import Unkindness


class Supply:
    """Free capacity, prices and quotas, with what is held taken off."""

    def __init__(
        self,
        *,
        region: str,
        conditions: Conditions,
        unkindness: Unkindness,
        instances: Iterable[Instance],
        held: Mapping[tuple[Offering, Lifecycle], Mapping[str, Instance]],
        now: datetime,
    ) -> None:
        self._region = region
        self._conditions = conditions
        self._unkindness = unkindness
        self._instances = instances
        self._held = held
        self._now = now

    def spot_price(self, offering: Offering) -> Decimal:
        return self._conditions.price(offering, self._now)

    def free(self, offering: Offering, lifecycle: Lifecycle) -> int:
        return self._conditions.capacity(offering, lifecycle, self._now) - len(
            self._held.get((offering, lifecycle), ())
        )

    def quota(self, instance_type: str, lifecycle: Lifecycle) -> int:
        facts = catalogue.facts(instance_type)
        family = facts.quota_family if facts else "Standard"
        return self._unkindness.quota(family, spot=lifecycle is Lifecycle.SPOT)

    def quota_left(self, instance_type: str, lifecycle: Lifecycle) -> int:
        facts = catalogue.facts(instance_type)
        used = sum(
            theirs.vcpus
            for instance in self._instances
            if instance.lifecycle is lifecycle and self._counts(instance)
            if (theirs := catalogue.facts(instance.offering.instance_type)) and facts
            if theirs.quota_family == facts.quota_family
        )
        return self.quota(instance_type, lifecycle) - used

    def zones_of(self, instance_type: str) -> Sequence[str]:
        return catalogue.offered(self._region).get(instance_type, ())

    def _counts(self, instance: Instance) -> bool:
        """A spot request that has ended is still counted for a while."""
        lag = self._unkindness.quota_lag if instance.lifecycle is Lifecycle.SPOT else timedelta(0)
        return instance.alive or (instance.ended_at is not None and self._now < instance.ended_at + lag)
