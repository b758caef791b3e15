"""Where things stand in a chart."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.report.axes import Frame, band, ceiling, line, steps, time_ticks, value_ticks
from tests.domain.properties import steadily

BEGIN = datetime(2026, 1, 5, 8, tzinfo=UTC)
FRAME = Frame(since=BEGIN, until=BEGIN + timedelta(hours=10), left=0, right=100, top=0, bottom=50, most=5)


def hour(number: float) -> datetime:
    return BEGIN + timedelta(hours=number)


@pytest.mark.parametrize(("most", "end", "step"), [(3.6, 4, 1), (0.043, 0.05, 0.01), (0, 1, 0.5), (1000, 1000, 200)])
def test_an_axis_ends_at_a_round_number(most: float, end: float, step: float) -> None:
    assert ceiling(most) == (pytest.approx(end), pytest.approx(step))


@steadily()
@given(st.floats(1e-4, 1e6))
def test_an_axis_holds_its_greatest_value_in_three_to_five_steps(most: float) -> None:
    end, step = ceiling(most)
    assert end >= most * (1 - 1e-9)
    assert 3 <= round(end / step) <= 5
    assert len(value_ticks(end, step)) == round(end / step) + 1


@steadily()
@given(st.floats(10, 35 * 86_400), st.integers(3, 12))
def test_hours_stand_within_the_period_and_fit(seconds: float, most: int) -> None:
    until = BEGIN + timedelta(seconds=seconds)
    ticks = time_ticks(BEGIN, until, most)
    assert len(ticks) <= most + 1
    assert all(BEGIN <= at <= until for at, _ in ticks)


@pytest.mark.parametrize("days", [36, 71, 90, 150, 365, 1000])
@pytest.mark.parametrize("most", [4, 10])
def test_a_long_period_has_its_days_to_its_end(days: int, most: int) -> None:
    ticks = [at for at, _ in time_ticks(BEGIN, BEGIN + timedelta(days=days), most)]
    assert ticks[-1] + (ticks[-1] - ticks[-2]) > BEGIN + timedelta(days=days)


def test_hours_are_as_fine_as_their_distance() -> None:
    assert [label for _, label in time_ticks(BEGIN, hour(24), 10)][:2] == ["09:00", "12:00"]
    assert [label for _, label in time_ticks(BEGIN, hour(24 * 7), 10)][:2] == ["06 Jan", "07 Jan"]
    assert [label for _, label in time_ticks(BEGIN, BEGIN + timedelta(minutes=1), 10)][:2] == ["08:00:00", "08:00:10"]


def test_a_line_holds_each_value_until_the_next_and_breaks_where_there_is_none() -> None:
    assert steps(FRAME, [(hour(1), 2), (hour(3), 4), (hour(5), None), (hour(8), 1)]) == (
        "M10.0 30.0H30.0V10.0H50.0M80.0 40.0H100.0"
    )


def test_a_band_goes_around_what_lies_between_and_leaves_out_what_is_empty() -> None:
    assert band(FRAME, [(hour(1), 0, 2), (hour(3), 1, 1), (hour(5), 0, 5)]) == (
        "M10.0 30.0V30.0H30.0V50.0H10.0ZM50.0 0.0V0.0H100.0V50.0H50.0Z"
    )


def test_what_lies_outside_the_period_is_drawn_at_its_edge() -> None:
    assert (FRAME.x(hour(-3)), FRAME.x(hour(99))) == (0, 100)


def test_a_straight_line_goes_from_point_to_point() -> None:
    assert line(FRAME, [(hour(0), 0), (hour(10), 5)]) == "M0.0 50.0L100.0 0.0"
