"""When the next call is due: what an answer asked for, or growing waits while there is none. No clock in here."""

from __future__ import annotations

import random
from datetime import datetime

RESERVE_SECONDS = 20.0
"""Kept back from a notice for the last save and for reporting. With EC2's full two minutes and a look every 5 s a job
has 95 s after SIGTERM; the contract promises 90."""
RESERVE_SHARE = 0.25
"""At most this part of what is left, so that a short notice still leaves a job most of it."""


def seconds_until_kill(ends_at: datetime, now: datetime) -> float:
    """From SIGTERM to SIGKILL after a notice: what is left, less the reserve. 120 s → 100 s; 40 s → 30 s; past → 0."""
    left = max(0.0, (ends_at - now).total_seconds())
    return left - min(RESERVE_SECONDS, RESERVE_SHARE * left)


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
