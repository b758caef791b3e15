"""Builders for market tests: a calm market with plenty of everything, in which a test spells out only its trouble."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from lowtide.market import catalogue
from lowtide.market.fleet import Override, Request
from lowtide.market.market import Answer, Market
from lowtide.market.model import Lifecycle, Offering
from lowtide.market.unkindness import Unkindness

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
REGION = "us-east-1"
A, B, C = (REGION + letter for letter in "abc")
TYPE = "m7g.large"


def seconds(n: float) -> timedelta:
    return timedelta(seconds=n)


@dataclass
class Steady:
    """Conditions that stay as they are: a third of the on-demand price, a hundred instances everywhere."""

    prices: dict[Offering, Decimal] = field(default_factory=dict)
    capacities: dict[Offering, int] = field(default_factory=dict)

    def price(self, offering: Offering, at: datetime) -> Decimal:
        usual = (catalogue.on_demand_price(offering.instance_type) or Decimal(1)) / 3
        return self.prices.get(offering, usual.quantize(Decimal("0.0001")))

    def capacity(self, offering: Offering, lifecycle: Lifecycle, at: datetime) -> int:
        return self.capacities.get(offering, 100)

    def next_change(self, offering: Offering, after: datetime) -> datetime | None:
        return None


def market(*, conditions=None, unkindness: Unkindness | None = None, seed: int = 1, busy=lambda _: True) -> Market:
    return Market(
        seed=seed,
        region=REGION,
        conditions=conditions or Steady(),
        unkindness=unkindness or Unkindness.none(),
        now=START,
        busy=busy,
    )


def offer(zone: str = A, instance_type: str = TYPE, **more) -> Override:
    return Override(offering=Offering(instance_type, zone), subnet_id=f"subnet-{zone[-1]}", **more)


def spot(*overrides: Override, target: int = 1, **more) -> Request:
    return Request(lifecycle=Lifecycle.SPOT, target=target, overrides=overrides or (offer(),), **more)


def on_demand(*overrides: Override, target: int = 1, **more) -> Request:
    return Request(lifecycle=Lifecycle.ON_DEMAND, target=target, overrides=overrides or (offer(),), **more)


def launched(answer: Answer) -> list:
    return [instance for _, instances in answer.granted for instance in instances]


def refusals(answer: Answer) -> dict[tuple[str, str], tuple[str, str]]:
    return {tuple(r.override.offering): (r.code, r.message) for r in answer.refusals}


def codes(answer: Answer) -> list[str]:
    return [r.code for r in answer.refusals]
