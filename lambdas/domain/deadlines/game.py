"""The game as a policy sees it: terms that stay, a situation a tick, and a choice.

Time is cut into ticks. In each, the job runs on on-demand, on spot in a zone that has it, or on nothing. A start, or a
change of kind or zone, costs `restart_s` before any progress; work done is kept. A tick in use is billed in full.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

IDLE = "-"
ON_DEMAND = "O"
Choice = str
"""IDLE, ON_DEMAND, or the name of a zone whose spot is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is agreed before the job starts. Whole seconds throughout."""

    gap_s: int
    """Length of a tick."""
    work_s: int
    """Progress that the job needs."""
    deadline_s: int
    """Counted from the job's start."""
    restart_s: int
    on_demand_price: float
    """USD per hour."""

    @property
    def ticks(self) -> int:
        """Ticks that begin before the deadline: the last may reach beyond it."""
        return -(-self.deadline_s // self.gap_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that is known at the start of a tick, after spot that is gone was lost."""

    tick: int
    """0 is the job's first."""
    held: Choice
    """What ran in the tick before and still stands: IDLE when its spot was just lost."""
    work_s: int
    """Progress still needed, above 0."""
    overhead_s: int
    """What is left of the restart of `held`; 0 when nothing is held."""
    spot_prices: Mapping[str, float]
    """USD per hour in each zone that has spot in this tick; zones without are not in it."""


class Player(Protocol):
    """One job's policy: asked once a tick, in order. What it remembers is what it has been shown."""

    def choose(self, now: Situation, /) -> Choice: ...


class Policy(Protocol):
    def __call__(self, terms: Terms, past: Mapping[str, str], /) -> Player:
        """A player for one job. `past`: per zone, one `0` or `1` for each tick before the job started, oldest first."""
        ...


def cheapest(now: Situation) -> Choice:
    """The zone with the lowest price, the held one among equals, else the first by name. Some zone must have spot."""
    return min(now.spot_prices, key=lambda zone: (now.spot_prices[zone], zone != now.held, zone))


def stay_or_cheapest(now: Situation) -> Choice:
    return now.held if now.held in now.spot_prices else cheapest(now)
