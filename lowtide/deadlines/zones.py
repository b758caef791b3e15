"""Several zones alike and apart from each other, as the one that has had spot for the longest sees them.

A job is on the zone whose spot has lasted longest. When that zone loses it, the next in age is there, or none; without
spot anywhere, the zone that lost it last is the youngest of outages, each of which may end. What is not known of the
others is as it is in the long run: their ages are those of a renewal process looked at anywhere.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lambdas.domain.deadlines.models import AGES, DOWN, UP, Stretches

Floats = NDArray[np.float64]

_EDGES = np.concatenate([np.linspace(0, 1, 2001), np.geomspace(1, 3000, 6000)[1:]])
_HOURS, _WIDTHS = (_EDGES[1:] + _EDGES[:-1]) / 2, np.diff(_EDGES)
MIDDLES = np.array([(begin + end) / 2 for begin, end in zip(AGES, (*AGES[1:], 2 * AGES[-1]), strict=True)])


def rates(stretches: Stretches, pace: float, ages: Floats) -> Floats:
    """At which stretches of these ages end, an hour."""
    return pace * (stretches.shape / (ages + stretches.scale) + stretches.floor)


@dataclass(frozen=True, slots=True)
class Others:
    """The zones beside the best one, by the age class of its stretch."""

    none: Floats
    """The probability that none of them has spot. That one has it for longer is ruled out: it would be the best."""
    next_best: Floats
    """[age class, age class of the oldest of them]; with `none` a row adds up to 1."""
    come: Floats
    """Without spot anywhere: the rate at which one of them comes up, an hour."""


def others(zones: int, pace_up: float, pace_down: float) -> Others:
    """Beside one of so many zones. One alone: none is always so."""
    up, down = (_lasting(stretches, pace) for stretches, pace in ((UP, pace_up), (DOWN, pace_down)))
    available = up.sum() / (up.sum() + down.sum())
    younger = np.cumsum(up) / up.sum()

    def without_older(age: float) -> float:
        """The probability that another zone is down or younger."""
        return 1 - available + available * float(np.interp(age, _HOURS, younger))

    none, next_best, come = np.zeros(len(AGES)), np.zeros((len(AGES), len(AGES))), np.zeros(len(AGES))
    for place, age in enumerate(MIDDLES):
        most = without_older(age)
        none[place] = ((1 - available) / most) ** (zones - 1)
        upto = [(without_older(min(end, age)) / most) ** (zones - 1) for end in (*AGES[1:], np.inf)]
        next_best[place] = np.diff([none[place], *upto])
        older = age <= _HOURS
        come[place] = (zones - 1) * np.average(rates(DOWN, pace_down, _HOURS[older]), weights=down[older])
    return Others(none, next_best, come)


def _lasting(stretches: Stretches, pace: float) -> Floats:
    """The hours that a stretch spends at each age, in the mean."""
    kept = (stretches.scale / (_HOURS + stretches.scale)) ** stretches.shape * np.exp(-stretches.floor * _HOURS)
    return kept**pace * _WIDTHS
