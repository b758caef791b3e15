"""Times on the command line: what is no time, or none that there can be, is wrong use."""

from datetime import UTC, datetime

import pytest

from lowtide.cli.errors import Misuse
from lowtide.cli.moments import instant, later

NOW = datetime(2026, 11, 28, 9, tzinfo=UTC)


@pytest.mark.parametrize("text", ["yesterday", "2026-11-28T09:00:00", "0001-01-01T00:00:00+05:00", "99999999h", "-5m"])
def test_what_is_no_time_is_wrong_use(text: str) -> None:
    for read in (instant, later):
        with pytest.raises(Misuse, match="is not a time: write for example"):
            read("--since", text, NOW)


def test_days_and_go_durations_look_back_and_ahead_and_an_offset_is_minded() -> None:
    assert instant("--since", "2d", NOW) == datetime(2026, 11, 26, 9, tzinfo=UTC)
    assert later("--deadline", "1h30m", NOW) == datetime(2026, 11, 28, 10, 30, tzinfo=UTC)
    assert instant("--since", "2026-11-28T09:00:00+01:00", NOW) == datetime(2026, 11, 28, 8, tzinfo=UTC)
