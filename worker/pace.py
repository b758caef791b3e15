"""When the next call is due: what an answer asked for, or growing waits while there is none. No clock in here."""

from __future__ import annotations

import random
from typing import NamedTuple


class Reserve(NamedTuple):
    """What is kept back from a notice for the last save and for reporting, in seconds."""

    least: float
    most: float


FULL_NOTICE = 4
"""EC2 gives two minutes, four times the largest reserve; a job gets three of the four quarters whatever is saved."""


def seconds_until_kill(left: float, wanted: float, reserve: Reserve) -> float:
    """From SIGTERM to SIGKILL: what is `left` until the announced end, less the reserve that is `wanted`, within its
    bounds. With (10, 30): 120 left → 90 to 110; 115 left → 90 to 105, 90 being promised; 20 left → 10; 5 left → 0."""
    promised = reserve.most * (FULL_NOTICE - 1)
    kept = max(reserve.least, min(wanted, reserve.most, left - promised))
    if left < promised:
        kept = min(max(wanted, reserve.least), reserve.most, max(reserve.least, left / 2))
    return max(0.0, left - kept)


class Due:
    """The next instant (monotonic seconds) of one kind of call; due at once when new."""

    def __init__(self, chance: random.Random) -> None:
        self.at = 0.0
        self._chance = chance
        self._failures = 0

    def now(self) -> None:
        self.at = 0.0

    def after(self, now: float, seconds: float) -> None:
        """Answered: again in `seconds`, a tenth earlier at most, so that workers do not call in step."""
        self._failures = 0
        self.at = now + seconds * self._chance.uniform(0.9, 1.0)

    def failed(self, now: float, longest: float) -> None:
        """Not answered: again in longest/16, doubled with each failure up to `longest`; each wait halved at random."""
        wait = min(longest, longest / 16 * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self.at = now + wait * self._chance.uniform(0.5, 1.0)
