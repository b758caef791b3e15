"""Every function is killed before and after the effect of each of its AWS calls, in every scenario; then messages are
delivered again, ticks go on, and the laws hold.

Nobody chooses the points: a scenario's act is played once and its *n* calls are counted; then it is played 2*n* times.
"""

import pytest

from tests.crash import course
from tests.crash.scenarios import SCENARIOS

PARTS = 2
"""Each scenario's points in so many tests, for as many cores."""


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_function_killed_anywhere_breaks_no_law(scenario: str, part: int, request: pytest.FixtureRequest) -> None:
    world, audit, calls = course.act(scenario)
    assert calls.made, "the act makes no call"
    if part == 0:
        assert course.violations(scenario, world, audit) == [], "although nothing was killed"
    points = [(at, after) for at in range(1, len(calls.made) + 1) for after in (False, True)][part::PARTS]
    failures = [failure for at, after in points for failure in _failures(scenario, at, after, calls)]
    request.node.user_properties.append(("crash points", len(points)))
    assert failures == []


def _failures(scenario: str, at: int, after: bool, planned: course.Calls) -> list[str]:
    """What broke when the act's call `at` was the last of its function."""
    world, audit, calls = course.act(scenario, at, after_effect=after)
    assert calls.made[:at] == planned.made[:at], "another course than the one that was counted"
    function, operation = planned.made[at - 1]
    where = f"killed {'after' if after else 'before'} call {at}, {operation} of {function}"
    return [f"{where}: {violation}" for violation in course.violations(scenario, world, audit)]
