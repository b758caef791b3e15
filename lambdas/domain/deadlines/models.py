"""The model of spot availability, and where the tables made from it are kept.

A stretch with or without spot that has lasted for `a` hours ends at the rate `pace * (shape / (a + scale) + floor)`:
the longer it has lasted, the longer it will, but none lasts for ever. Shape, scale and floor are those of greatest
likelihood on the training traces (docs/deadlines.md); the pace is the pool's own, learned from what it has seen.
"""

from dataclasses import dataclass
from math import log


@dataclass(frozen=True, slots=True)
class Stretches:
    """How stretches of one kind end at a pace of 1. Hours throughout."""

    shape: float
    scale: float
    floor: float

    def exposure(self, age: float, until: float) -> float:
        """The expected number of ends between two ages."""
        return self.shape * log((until + self.scale) / (age + self.scale)) + self.floor * (until - age)


UP = Stretches(shape=0.640, scale=0.302, floor=0.033)
DOWN = Stretches(shape=0.758, scale=0.265, floor=0.120)

PACES = (0.5, 1.0, 4.0)
MODELS = ((0.5, 1.0), (1.0, 1.0), (4.0, 1.0), (1.0, 0.5), (1.0, 4.0))
"""Paces (up, down) of which there are tables. What the two do is added: of both at once there are none."""

SEVERAL = 2
"""Zones of which the tables for several know. Tables for three change nothing more (docs/deadlines.md)."""

AGES = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Where each class of ages begins, in hours."""

RESTARTS = (0.05, 0.14, 0.4)
"""Hours. Between them is interpolated on logarithms; the ends hold beyond."""

PRICE_RATIOS = (0.2, 0.5)
"""Spot to on-demand. Below the second, the first is as good or better, up to there (docs/deadlines.md)."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick beside a restart, in whole units; both matter to how many restarts a wait leaves room for."""

    tick: int
    restart: int

    @property
    def length(self) -> float:
        """In restarts."""
        return self.tick / self.restart

    @property
    def works(self) -> tuple[float, ...]:
        """Work left at which the tables are kept, in restarts: what is whole in units."""
        return tuple(work for work in _WORKS if (work * self.restart).is_integer())

    @property
    def slacks(self) -> tuple[float, ...]:
        """Slack at which the tables are kept, in restarts. What a choice is worth jumps where one restart less fits."""
        units = [number / self.restart for number in range(self.restart)]
        ends = sorted({0.0, units[min(1, self.restart - 1)], units[-1]})
        fine = [whole + part for whole in range(4) for part in units]
        return (*fine, *(whole + part for whole in (4, 5, 6, 8) for part in ends), *_LONG_SLACKS)


TICKS = (Tick(1, 4), Tick(1, 2), Tick(1, 1), Tick(2, 1))
_WORKS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0)
_LONG_SLACKS = (11.0, 15.0, 20.0, 28.0, 40.0, 60.0, 90.0, 150.0)
