"""Several zones as the best of them sees them: beside a simulation of their own."""

import random

import numpy as np
import pytest

from lambdas.domain.deadlines.models import AGES, DOWN, UP
from lowtide.deadlines.zones import MIDDLES, others


def test_one_zone_alone_has_none_beside_it() -> None:
    alone = others(1, 1.0, 1.0)
    assert (alone.none == 1).all()
    assert not alone.next_best.any()
    assert not alone.come.any()


@pytest.mark.parametrize("paces", [(1.0, 1.0), (4.0, 1.0), (1.0, 0.5)])
@pytest.mark.parametrize("zones", [2, 3])
def test_there_is_none_or_one_of_some_age_and_none_older_than_the_best(zones: int, paces: tuple[float, float]) -> None:
    beside = others(zones, *paces)
    assert np.allclose(beside.none + beside.next_best.sum(axis=1), 1)
    assert np.allclose(np.triu(beside.next_best, 1), 0)
    assert (np.diff(beside.none) < 0).all()
    assert (np.diff(beside.come) < 0).all()


def test_a_zone_looked_at_anywhere_is_down_as_often_as_it_is_said_to_be() -> None:
    """Stretches drawn by the inverse of their survival; of the best, ages of the class of 2 to 4 hours."""
    chance, seen = random.Random(3), {True: 0.0, False: 0.0}
    for _ in range(3000):
        for up, stretches in ((True, UP), (False, DOWN)):
            lasted, ends = 0.0, chance.expovariate(1)
            while stretches.exposure(0, lasted) < ends:
                lasted += 0.05 + lasted / 50
            seen[up] += min(lasted, MIDDLES[5]) if up else lasted
    assert AGES[5] < MIDDLES[5] < AGES[6]
    expected = seen[False] / (seen[False] + seen[True])
    assert others(2, 1.0, 1.0).none[5] == pytest.approx(expected, abs=0.03)
