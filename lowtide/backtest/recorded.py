"""A recorded market as `lowtide.market.model.Conditions`: what is known of prices and capacity, step by step. Pure.

What a record does not say is filled in one way only, and told (docs/backtests.md): before its first step a price is
that step's, after its last one it stays; availability that is shorter than the jobs' period starts again.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Generic, TypeVar

from lowtide.market.model import ALL, PLENTY, Lifecycle, Offering

T = TypeVar("T")
NEVER_SOLD = Decimal(10_000)
"""USD per hour of an offering without recorded prices: above any limit, so that no pool ever asks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps(Generic[T]):
    """A value over time: each holds from its instant to the next."""

    begin: datetime
    offsets: tuple[float, ...]
    """Seconds from `begin`, rising."""
    values: tuple[T, ...]
    length: float | None = None
    """Seconds after which it starts again; None: the last value stays."""

    @classmethod
    def of(cls, points: Iterable[tuple[datetime, T]]) -> "Steps[T]":
        """Points in any order, at least one; where two are of one instant the later one counts."""
        ordered = sorted(dict(points).items(), key=lambda point: point[0])
        begin = ordered[0][0]
        kept = [ordered[0], *(b for a, b in pairwise(ordered) if a[1] != b[1])]
        offsets = tuple((at - begin).total_seconds() for at, _ in kept)
        return cls(begin=begin, offsets=offsets, values=tuple(value for _, value in kept))

    def at(self, instant: datetime) -> T:
        return self.values[max(bisect_right(self.offsets, self._fold(instant)[1]) - 1, 0)]

    def next_change(self, after: datetime) -> datetime | None:
        start, offset = self._fold(after)
        index = bisect_right(self.offsets, offset)
        if index < len(self.offsets):
            return self._rounded(start, self.offsets[index], after)
        return None if self.length is None else self._rounded(start, self.length, after)

    def moved(self, by: timedelta) -> "Steps[T]":
        return Steps(begin=self.begin + by, offsets=self.offsets, values=self.values, length=self.length)

    @property
    def end(self) -> datetime:
        """Its last step's instant, or the end of its first round."""
        return self.begin + timedelta(seconds=self.offsets[-1] if self.length is None else self.length)

    def _fold(self, instant: datetime) -> tuple[datetime, float]:
        """(begin of the round that the instant lies in, seconds since then). Half a microsecond more, so that an
        instant that `next_change` rounded falls behind its own change."""
        seconds = (instant - self.begin).total_seconds() + 0.5e-6
        if self.length is None:
            return self.begin, seconds
        rounds = math.floor(seconds / self.length)
        return self.begin + timedelta(seconds=rounds * self.length), seconds - rounds * self.length

    @staticmethod
    def _rounded(start: datetime, seconds: float, after: datetime) -> datetime:
        return max(start + timedelta(seconds=seconds), after + timedelta(microseconds=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """What one file says of one offering. `instance_type` may be `*`: any type that has no track of its own."""

    instance_type: str
    zone: str
    prices: Steps[Decimal] | None = None
    """USD per hour; None: it says nothing of prices."""
    capacity: Steps[int] | None = None
    """Instances that can be held; None: as many as are asked for."""
    on_demand_price: Decimal | None = None
    source: str = ""

    @property
    def begin(self) -> datetime:
        return min(each.begin for each in (self.prices, self.capacity) if each is not None)

    @property
    def end(self) -> datetime:
        return max(each.end for each in (self.prices, self.capacity) if each is not None)

    def moved(self, by: timedelta) -> "Track":
        return Track(
            instance_type=self.instance_type,
            zone=self.zone,
            prices=self.prices and self.prices.moved(by),
            capacity=self.capacity and self.capacity.moved(by),
            on_demand_price=self.on_demand_price,
            source=self.source,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedMarket:
    """`Conditions` made of tracks. Of several tracks of an offering, one with prices gives its prices and one with
    capacity its capacity; an offering without any is never to be had."""

    prices: Mapping[Offering, Steps[Decimal]]
    held: Mapping[Offering, Steps[int]]

    def price(self, offering: Offering, at: datetime) -> Decimal:
        steps = self._of(self.prices, offering)
        return NEVER_SOLD if steps is None else steps.at(at)

    def capacity(self, offering: Offering, lifecycle: Lifecycle, at: datetime) -> int:
        if lifecycle is Lifecycle.ON_DEMAND:
            return PLENTY
        steps = self._of(self.held, offering)
        if steps is not None:
            return steps.at(at)
        return 0 if self._of(self.prices, offering) is None else PLENTY

    def next_change(self, offering: Offering, after: datetime) -> datetime | None:
        found = [self._of(self.prices, offering), self._of(self.held, offering)]
        changes = [each.next_change(after) for each in found if each is not None]
        return min((at for at in changes if at is not None), default=None)

    def knows(self, offering: Offering) -> bool:
        return self._of(self.prices, offering) is not None or self._of(self.held, offering) is not None

    @staticmethod
    def _of(steps: "Mapping[Offering, Steps[T]]", offering: Offering) -> "Steps[T] | None":
        found = steps.get(offering)
        return steps.get(Offering(ALL, offering.zone)) if found is None else found


def market_of(tracks: Sequence[Track]) -> RecordedMarket:
    return RecordedMarket(
        prices={Offering(t.instance_type, t.zone): t.prices for t in tracks if t.prices is not None},
        held={Offering(t.instance_type, t.zone): t.capacity for t in tracks if t.capacity is not None},
    )
