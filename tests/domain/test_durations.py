from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.durations import LONGEST, format_duration, parse_duration
from tests.domain.properties import steadily


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[("90s", 90), ("20m", 1200), ("1h30m", 5400), ("0", 0), ("1.5h", 5400), (".5s", 0.5), ("1m0.25s", 60.25)],
        *[("250ms", 0.25), ("3us", 3e-6), ("3µs", 3e-6), ("3μs", 3e-6), ("1000ns", 1e-6), ("1h1h", 7200)],
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "20", "20 m", "m", "1d", "-5m", "+5m", "1h30", "1e3s", "٣s", ".s", "3 days", "1H"]
)
def test_what_is_no_duration_is_refused_with_a_right_one(text: str) -> None:
    with pytest.raises(ValueError, match="1h30m"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["8761h", "9" * 60 + "h"])
def test_a_duration_above_a_year_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="longer than a year"):
        parse_duration(text)


def test_a_very_long_text_is_refused_without_being_read() -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration("1s" * 100_000)


@steadily()
@given(st.timedeltas(min_value=timedelta(), max_value=LONGEST))
def test_a_formatted_duration_reads_back_to_itself(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


def test_durations_are_formatted_as_people_write_them() -> None:
    written = [timedelta(minutes=90), timedelta(seconds=45), timedelta(), timedelta(minutes=20)]
    assert [format_duration(each) for each in written] == ["1h30m", "45s", "0s", "20m"]
