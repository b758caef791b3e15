"""Price and free capacity of every offering over time: modelled from a seed, recorded, and overlaid with a script.

Pure: instants come in, nothing is drawn that the seed does not fix, and asking twice or in another order changes
nothing. Instants are the world's own; the model's periods are AWS's and are divided by the pace.

The seeded model, fitted to the traces named in `Parameters`:

- **Spot runs and outages** alternate in each offering, both log-normal. Against the exponential and the Weibull the
  log-normal has the least AIC, for runs (5,002; 5,107; 5,421) and for outages (4,369; 4,470; 4,518).
- **Price** is a share of the on-demand price: a floor times e^x, where x is a first-order autoregressive walk held at
  or above zero, moving at intervals of some hours. Only one type's prices were recorded, so the spread of floors
  between offerings is chosen, not fitted.
- **Depth**, how many instances of ours an offering can hold during a run, is chosen: the traces probe one node.
"""

import bisect
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, Protocol

from lowtide.market import catalogue

PLENTY = 10_000
"""On-demand capacity where nothing says otherwise: more than any quota allows."""
PRICE_STEP = Decimal("0.0001")
"""EC2 prints spot prices to six places and moves them in ten-thousandths."""
HISTORY = timedelta(days=2)
"""How far before the epoch a modelled path begins, in AWS time, so that price history has a past."""
ALL = "*"


class Lifecycle(StrEnum):
    SPOT = "spot"
    ON_DEMAND = "on-demand"


class Offering(NamedTuple):
    instance_type: str
    zone: str


class Conditions(Protocol):
    """What the market is like. Every answer is constant from one `next_change` to the next."""

    def price(self, offering: Offering, at: datetime) -> Decimal:
        """Spot price, USD per instance-hour."""
        ...

    def capacity(self, offering: Offering, lifecycle: Lifecycle, at: datetime) -> int:
        """Instances of ours that the offering can hold, those it holds included."""
        ...

    def next_change(self, offering: Offering, after: datetime) -> datetime | None:
        """The first instant later than `after` at which an answer may differ; None: never again."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Of the seeded model; AWS time."""

    run_median: timedelta = timedelta(minutes=70.8)
    run_sigma: float = 1.61
    """406 runs of one V100 in five zones, early 2023 (skynomad A2a), pooled; mean 259 min (recorded: 291)."""
    outage_median: timedelta = timedelta(minutes=41.2)
    outage_sigma: float = 1.22
    """409 outages of the same; mean 87 min (recorded: 92). Available 75 % of the time (recorded: 76 %)."""
    price_floor: float = 0.30
    """Share of the on-demand price: 0.918 / 3.06 in all five zones of the same weeks."""
    floor_sigma: float = 0.35
    """Chosen: an offering's floor is `price_floor * e^|N(0, floor_sigma)|`, half of them within 27 % of it."""
    move_every: timedelta = timedelta(hours=6.5)
    """Median time between two prices of p3.2xlarge in the zones where it moved."""
    move_memory: float = 0.974
    move_sigma: float = 0.0085
    """Autoregression and residual of x in us-east-2b, 29 prices."""
    depth_median: float = 12.0
    depth_sigma: float = 0.8
    """Chosen: half of the runs hold between 7 and 21 instances."""


@dataclass(slots=True)
class _Path:
    """One offering's future, made as far as it was asked for. Seconds of AWS time since the epoch, ascending."""

    moves: list[float]
    shares: list[float]
    turns: list[float]
    depths: list[int]
    prices_chance: random.Random
    turns_chance: random.Random
    floor: float
    excess: float = 0.0


@dataclass(slots=True, kw_only=True)
class Seeded:
    """The modelled market. The paths of two offerings are independent; one seed gives the same paths for ever."""

    seed: int
    epoch: datetime
    pace: float = 1.0
    parameters: Parameters = field(default_factory=Parameters)
    _paths: dict[Offering, _Path] = field(default_factory=dict["Offering", "_Path"], init=False)

    def price(self, offering: Offering, at: datetime) -> Decimal:
        path, seconds = self._reach(offering, at)
        share = path.shares[max(bisect.bisect_right(path.moves, seconds) - 1, 0)]
        on_demand = catalogue.on_demand_price(offering.instance_type) or Decimal(1)
        return max((on_demand * Decimal(str(min(share, 1.0)))).quantize(PRICE_STEP), PRICE_STEP)

    def capacity(self, offering: Offering, lifecycle: Lifecycle, at: datetime) -> int:
        if lifecycle is Lifecycle.ON_DEMAND:
            return PLENTY
        path, seconds = self._reach(offering, at)
        return path.depths[max(bisect.bisect_right(path.turns, seconds) - 1, 0)]

    def next_change(self, offering: Offering, after: datetime) -> datetime:
        path, seconds = self._reach(offering, after)
        move = path.moves[bisect.bisect_right(path.moves, seconds)]
        turn = path.turns[bisect.bisect_right(path.turns, seconds)]
        at = self.epoch + timedelta(seconds=min(move, turn) / self.pace)
        # An instant has microseconds: rounding must not give back the instant that was asked about.
        return max(at, after + timedelta(microseconds=1))

    def _reach(self, offering: Offering, at: datetime) -> tuple[_Path, float]:
        path = self._paths.get(offering)
        if path is None:
            path = self._paths[offering] = self._begin(offering)
        # Half a microsecond: `next_change` was rounded to microseconds and must fall behind its own change.
        seconds = ((at - self.epoch).total_seconds() + 0.5e-6) * self.pace
        while path.moves[-1] <= seconds:
            self._move(path)
        while path.turns[-1] <= seconds:
            self._turn(path)
        return path, seconds

    def _begin(self, offering: Offering) -> _Path:
        chance = random.Random(f"{self.seed}/{offering.instance_type}/{offering.zone}")  # noqa: S311 (a model, no secret)
        p = self.parameters
        start = -HISTORY.total_seconds()
        floor = p.price_floor * math.exp(abs(chance.gauss(0, p.floor_sigma)))
        runs, outages = _mean(p.run_median, p.run_sigma), _mean(p.outage_median, p.outage_sigma)
        depth = self._depth(chance) if chance.random() < runs / (runs + outages) else 0
        return _Path(
            moves=[start],
            shares=[floor],
            turns=[start],
            depths=[depth],
            prices_chance=random.Random(chance.getrandbits(64)),  # noqa: S311
            turns_chance=random.Random(chance.getrandbits(64)),  # noqa: S311
            floor=floor,
        )

    def _move(self, path: _Path) -> None:
        p, chance = self.parameters, path.prices_chance
        path.excess = max(0.0, p.move_memory * path.excess + chance.gauss(0, p.move_sigma))
        path.moves.append(path.moves[-1] + p.move_every.total_seconds() * chance.uniform(0.7, 1.3))
        path.shares.append(path.floor * math.exp(path.excess))

    def _turn(self, path: _Path) -> None:
        """Append the end of the last run or outage and what follows it."""
        p, chance = self.parameters, path.turns_chance
        available = path.depths[-1] > 0
        median, sigma = (p.run_median, p.run_sigma) if available else (p.outage_median, p.outage_sigma)
        path.turns.append(path.turns[-1] + median.total_seconds() * math.exp(chance.gauss(0, sigma)))
        path.depths.append(0 if available else self._depth(chance))

    def _depth(self, chance: random.Random) -> int:
        p = self.parameters
        return max(1, round(p.depth_median * math.exp(chance.gauss(0, p.depth_sigma))))


def _mean(median: timedelta, sigma: float) -> float:
    """Seconds: of a log-normal, `median * e^(sigma^2 / 2)`. 70.8 min at sigma 1.61: 259 min."""
    return median.total_seconds() * math.exp(sigma**2 / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A recorded availability of one offering, as `{"gap_seconds": 600, "spot_price": 0.97, "on_demand_price": 3.06,
    "avail": "1101"}`: one character a tick, `1` where spot could be held during it."""

    gap: timedelta
    available: str
    price_share: float
    """Spot price as a share of the on-demand price."""

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> "Trace":
        """Raises ValueError for a document that is no trace, naming what is wrong."""
        gap, spot = document.get("gap_seconds"), document.get("spot_price")
        on_demand, available = document.get("on_demand_price"), document.get("avail")
        if not isinstance(available, str) or not available or set(available) - {"0", "1"}:
            raise ValueError("avail must be a text of 0 and 1, one a tick")
        if not isinstance(gap, int | float) or gap <= 0:
            raise ValueError("gap_seconds must be a number above 0")
        if not isinstance(spot, int | float) or not isinstance(on_demand, int | float) or on_demand <= 0:
            raise ValueError("spot_price and on_demand_price must be numbers")
        return cls(gap=timedelta(seconds=gap), available=available, price_share=spot / on_demand)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Recorded traces for some offerings, `otherwise` for the rest. A trace begins at the epoch and starts again at its
    end; while it is available it holds `depth` instances."""

    traces: Mapping[Offering, Trace]
    otherwise: Conditions
    epoch: datetime
    pace: float = 1.0
    depth: int = 4

    def price(self, offering: Offering, at: datetime) -> Decimal:
        trace = self.traces.get(offering)
        if trace is None:
            return self.otherwise.price(offering, at)
        on_demand = catalogue.on_demand_price(offering.instance_type) or Decimal(1)
        return max((on_demand * Decimal(str(trace.price_share))).quantize(PRICE_STEP), PRICE_STEP)

    def capacity(self, offering: Offering, lifecycle: Lifecycle, at: datetime) -> int:
        trace = self.traces.get(offering)
        if trace is None or lifecycle is Lifecycle.ON_DEMAND:
            return self.otherwise.capacity(offering, lifecycle, at)
        return self.depth if trace.available[self._tick(trace, at) % len(trace.available)] == "1" else 0

    def next_change(self, offering: Offering, after: datetime) -> datetime | None:
        trace = self.traces.get(offering)
        if trace is None:
            return self.otherwise.next_change(offering, after)
        return self.epoch + (self._tick(trace, after) + 1) * trace.gap / self.pace

    def _tick(self, trace: Trace, at: datetime) -> int:
        return (at - self.epoch) // (trace.gap / self.pace)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Trouble on top: a price or a capacity held at a value for a while."""

    instance_type: str = ALL
    zone: str = ALL
    start: datetime
    end: datetime | None = None
    """None: until further notice."""
    price: Decimal | None = None
    """USD per hour; None: this holds no price."""
    capacity: int | None = None
    """None: this holds no capacity."""
    lifecycle: Lifecycle | None = Lifecycle.SPOT
    """Whose capacity; None: both."""

    def covers(self, offering: Offering) -> bool:
        return self.instance_type in (ALL, offering.instance_type) and self.zone in (ALL, offering.zone)

    def in_force(self, at: datetime) -> bool:
        return self.start <= at and (self.end is None or at < self.end)


@dataclass(slots=True)
class Scripted:
    """Conditions with trouble laid on top. Of several that hold the same, the one added last is in force."""

    base: Conditions
    held: list[Held] = field(default_factory=list[Held])

    def add(self, trouble: Sequence[Held]) -> None:
        self.held.extend(trouble)

    def price(self, offering: Offering, at: datetime) -> Decimal:
        prices = [h.price for h in self._in_force(offering, at) if h.price is not None]
        return prices[-1] if prices else self.base.price(offering, at)

    def capacity(self, offering: Offering, lifecycle: Lifecycle, at: datetime) -> int:
        in_force = self._in_force(offering, at)
        counts = [h.capacity for h in in_force if h.capacity is not None and h.lifecycle in (None, lifecycle)]
        return counts[-1] if counts else self.base.capacity(offering, lifecycle, at)

    def next_change(self, offering: Offering, after: datetime) -> datetime | None:
        edges = [e for h in self.held if h.covers(offering) for e in (h.start, h.end) if e is not None and e > after]
        base = self.base.next_change(offering, after)
        return min([*edges, base] if base is not None else edges, default=None)

    def _in_force(self, offering: Offering, at: datetime) -> list[Held]:
        return [h for h in self.held if h.covers(offering) and h.in_force(at)]


class PricePoint(NamedTuple):
    at: datetime
    price: Decimal


def price_history(conditions: Conditions, offering: Offering, start: datetime, end: datetime) -> list[PricePoint]:
    """The price in force at `start` and every change up to `end`, oldest first."""
    points = [PricePoint(start, conditions.price(offering, start))]
    at = conditions.next_change(offering, start)
    while at is not None and at <= end:
        price = conditions.price(offering, at)
        if price != points[-1].price:
            points.append(PricePoint(at, price))
        at = conditions.next_change(offering, at)
    return points
