"""Scenarios stand in several modules, and none hides another."""

from tests.crash.scenarios import PLACES, SCENARIOS


def test_no_two_scenarios_have_one_name() -> None:
    assert len(SCENARIOS) == sum(len(place.SCENARIOS) for place in PLACES)
