"""What has been seen of every zone, and what of it a choice is made by.

Zones that are seen one by one end their stretches at one pace, learned from all of them; each has its own age. Where
the past does not tell zones apart, all are one market that is up while any of them is.
"""

from collections.abc import Collection, Mapping

from lambdas.domain.deadlines.belief import Belief, pace
from lambdas.domain.deadlines.game import Choice

_ALL = ""


class Market:
    """Follows the zones tick by tick. `past`: as in Policy."""

    def __init__(self, past: Mapping[str, str], *, gap_hours: float) -> None:
        self._gap = gap_hours
        self.several = len(past) > 1
        """Zones are told apart."""
        self._zones = {zone: Belief(gap_hours=gap_hours) for zone in (past if self.several else (_ALL,))}
        for belief, row in zip(self._zones.values(), past.values(), strict=False):
            belief.see_all(tick == "1" for tick in row)

    def see(self, up: Collection[Choice]) -> None:
        """The tick that begins: the zones that have spot."""
        for zone in up if self.several else ():
            self._zones.setdefault(zone, Belief(gap_hours=self._gap))
        for zone, belief in self._zones.items():
            belief.see(zone in up if self.several else bool(up))

    def age_hours(self, zone: Choice | None) -> float:
        """Of the zone's running stretch. None, where no zone has spot: of the latest to lose it."""
        if zone is not None:
            return self._zones[zone if self.several else _ALL].age_hours
        return min(each.age_hours for each in self._zones.values())

    @property
    def pace_up(self) -> float:
        return pace(self._zones.values(), True)

    @property
    def pace_down(self) -> float:
        return pace(self._zones.values(), False)
