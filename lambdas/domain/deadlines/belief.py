"""What has been seen of spot availability, as the paces at which stretches with and without it end.

A pace is learned as a gamma prior around 1 does: ends seen by ends expected, each side with the weight of PRIOR ends
that were as expected. What is long ago fades, because markets change.
"""

from collections.abc import Iterable
from itertools import groupby
from math import exp

from lambdas.domain.deadlines.models import DOWN, UP, Stretches

PRIOR = 10.0
"""Ends. 3 to 50 were tried on the training traces and are within 0.001 of each other."""

FADING_HOURS = 24.0
"""After so long, what was seen counts by 1/e. 24 to 96 h are within 0.001 of each other."""

_PIECE_HOURS = 2.0
"""A stretch fades by pieces of this length."""


class Belief:
    """Follows one row of ticks, by the stretch: that a player is made anew for each decision must cost little."""

    def __init__(self, *, gap_hours: float) -> None:
        self._gap = gap_hours
        self._seen = [PRIOR, PRIOR]
        self._expected = [PRIOR, PRIOR]
        """Ends, of stretches without and with spot."""
        self._up: bool | None = None
        self._ticks = 0

    def see(self, up: bool, ticks: int = 1) -> None:
        """So many ticks more."""
        if self._up != up:
            if self._up is not None:
                self._seen, self._expected = self.counted()
                self._seen[self._up] += 1
            self._up, self._ticks = up, 0
        self._ticks += ticks

    def see_all(self, row: Iterable[bool]) -> None:
        for up, ticks in groupby(row):
            self.see(up, sum(1 for _ in ticks))

    @property
    def age_hours(self) -> float:
        """Of the running stretch: the middle of the tick."""
        return (self._ticks - 0.5) * self._gap

    def counted(self) -> tuple[list[float], list[float]]:
        """Ends seen and expected, with the running stretch, which has not ended."""
        if self._up is None:
            return self._seen, self._expected
        kept = exp(-self._ticks * self._gap / FADING_HOURS)
        seen = [PRIOR + (each - PRIOR) * kept for each in self._seen]
        expected = [PRIOR + (each - PRIOR) * kept for each in self._expected]
        expected[self._up] += _faded(UP if self._up else DOWN, (self._ticks - 0.5) * self._gap)
        return seen, expected


def pace(rows: Iterable[Belief], up: bool) -> float:
    """At which stretches of all rows end, beside the model's; above 1, sooner. The prior counts once."""
    counted = [row.counted() for row in rows]
    seen, expected = (PRIOR + sum(each[side][up] - PRIOR for each in counted) for side in (0, 1))
    return seen / expected


def _faded(stretches: Stretches, lasted: float) -> float:
    """The ends expected in a stretch that has lasted so many hours, of which the earlier count by less."""
    total, begun = 0.0, 0.0
    while begun < lasted:
        ended = min(begun + _PIECE_HOURS, lasted)
        total += stretches.exposure(begun, ended) * exp((ended - lasted) / FADING_HOURS)
        begun = ended
    return total
