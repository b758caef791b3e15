"""EC2 in a backtest: requests answered and instances taken back by the spot market's own rules (lowtide/market).

`fleet.allocate` decides who gives what and in which words EC2 refuses; `reclaim` decides who has to go and how an end
is announced. Only what a control plane of its own would add is left out: listing lags, quotas and request rates.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from lambdas.domain.fleet.fleet import LaunchRequest
from lambdas.domain.pools.pools import CapacityType
from lambdas.domain.refusals.refusals import Refusal
from lowtide.market import fleet, reclaim
from lowtide.market.fleet import seeded_chance
from lowtide.market.model import Conditions, Lifecycle, Offering
from lowtide.market.unkindness import Unkindness

_ENOUGH = 10**9
"""vCPUs: quotas are not played."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A spot instance, as far as its end is concerned."""

    instance_id: str
    price_limit: Decimal | None
    """USD per hour above which it is taken back; None: never for its price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A spot instance that the market takes back."""

    instance_id: str
    end: reclaim.Interruption


class Exchange:
    def __init__(
        self, conditions: Conditions, on_demand: Mapping[str, Decimal], unkindness: Unkindness, seed: int
    ) -> None:
        """`on_demand`: USD per hour by type, which on-demand requests are served by, the cheapest first."""
        self.conditions = conditions
        self._on_demand = on_demand
        self._unkindness = unkindness
        self._seed = seed
        self._held: dict[Offering, dict[str, Held]] = {}
        self._places: dict[str, Offering] = {}
        self._requests = 0
        self._zones: tuple[str, ...] = ()
        self._now: datetime | None = None

    # --- requests -----------------------------------------------------------------------------------------------------

    def ask(self, request: LaunchRequest, now: datetime) -> tuple[list[Offering], list[Refusal]]:
        """Where the instances come, one entry each, and what EC2 refuses."""
        self._now, self._requests = now, self._requests + 1
        self._zones = tuple({each.zone for each in request.overrides})
        spot = request.capacity_type is CapacityType.SPOT
        asked = fleet.Request(
            lifecycle=Lifecycle.SPOT if spot else Lifecycle.ON_DEMAND,
            target=request.count,
            overrides=tuple(
                fleet.Override(
                    offering=Offering(each.instance_type, each.zone),
                    max_price=each.max_price,
                    priority=0.0 if spot else float(self._on_demand.get(each.instance_type, 0)),
                )
                for each in request.overrides
            ),
            strategy=request.allocation_strategy if spot else "prioritized",
        )
        chance = seeded_chance(self._seed, f"request-{self._requests}")
        answer = fleet.allocate(asked, self, chance, self._unkindness.unfulfillable)
        refusals = [
            Refusal(
                code=each.code,
                message=each.message,
                capacity_type=request.capacity_type,
                instance_type=each.override.offering.instance_type,
                zone=each.override.offering.zone,
            )
            for each in answer.refusals
        ]
        return [override.offering for override, count in answer.granted for _ in range(count)], refusals

    def hold(self, instance_id: str, offering: Offering, price_limit: Decimal | None) -> None:
        """A spot instance is there from now on."""
        held = Held(instance_id=instance_id, price_limit=price_limit)
        self._held.setdefault(offering, {})[instance_id] = held
        self._places[instance_id] = offering

    def let_go(self, instance_id: str) -> None:
        """It has begun to end; nothing happens for one that is not held."""
        if (offering := self._places.pop(instance_id, None)) is not None:
            del self._held[offering][instance_id]
            if not self._held[offering]:
                del self._held[offering]

    # --- the market's course ------------------------------------------------------------------------------------------

    def taken(self, now: datetime, announced: Iterable[str]) -> list[Taken]:
        """Who has to go now, but for those whose end is announced already."""
        self._now = now
        leaving = set(announced)
        found: list[Taken] = []
        for offering, held in self._held.items():
            staying = [each for each in held.values() if each.instance_id not in leaving]
            price = self.conditions.price(offering, now)
            capacity = self.conditions.capacity(offering, Lifecycle.SPOT, now)
            for each, cause in reclaim.victims(staying, price, capacity):
                chance = seeded_chance(self._seed, each.instance_id, "end")
                end = reclaim.interruption(now, cause, self._unkindness, chance)
                found.append(Taken(instance_id=each.instance_id, end=end))
        return found

    def next_change(self, now: datetime) -> datetime | None:
        """The first instant at which somebody held may have to go."""
        changes = (self.conditions.next_change(offering, now) for offering in self._held)
        return min((at for at in changes if at is not None), default=None)

    # --- fleet.Supply -------------------------------------------------------------------------------------------------

    def spot_price(self, offering: Offering) -> Decimal:
        assert self._now is not None
        return self.conditions.price(offering, self._now)

    def free(self, offering: Offering, lifecycle: Lifecycle) -> int:
        assert self._now is not None
        used = len(self._held.get(offering, ())) if lifecycle is Lifecycle.SPOT else 0
        return self.conditions.capacity(offering, lifecycle, self._now) - used

    def quota_left(self, instance_type: str, lifecycle: Lifecycle) -> int:  # noqa: ARG002 - the protocol's signature
        return _ENOUGH

    def quota(self, instance_type: str, lifecycle: Lifecycle) -> int:  # noqa: ARG002 - the protocol's signature
        return _ENOUGH

    def zones_of(self, instance_type: str) -> Sequence[str]:  # noqa: ARG002 - every type is offered where it is asked for
        return self._zones
