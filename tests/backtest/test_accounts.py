"""Lines over time: what a value was in each bucket, whatever a bucket's width."""

from datetime import timedelta

import pytest

from lowtide.backtest.accounts import BUCKETS, Line
from tests.backtest.build import BEGIN


@pytest.mark.parametrize(
    "period",
    [
        BUCKETS * timedelta(hours=1),
        # A 240th of it times 5, divided by itself, is rounded down to 4.
        BUCKETS * timedelta(microseconds=18_756_959_221),
    ],
    ids=["whole", "odd"],
)
def test_a_value_that_stays_is_the_mean_of_every_bucket(period: timedelta) -> None:
    line = Line(BEGIN, period / BUCKETS)
    line.set(3, BEGIN)
    assert line.means(BEGIN + period) == pytest.approx([3.0] * BUCKETS)


def test_a_bucket_in_which_the_value_changes_has_its_mean() -> None:
    line = Line(BEGIN, timedelta(minutes=10))
    line.set(4, BEGIN + timedelta(minutes=5))
    line.set(0, BEGIN + timedelta(minutes=20))
    assert line.means(BEGIN + timedelta(minutes=40)) == pytest.approx([2.0, 4.0, 0.0, 0.0])
