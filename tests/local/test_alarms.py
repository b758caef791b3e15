"""The two tables of "Configuring how CloudWatch alarms treat missing data": 0 is in order, X breaches, - is missing."""

import pytest

from lowtide.local.alarms import Missing, Rule, State, state, windows

OK, ALARM, INSUFFICIENT = State.OK, State.ALARM, State.INSUFFICIENT_DATA
KEPT = None
MARKS = {"0": 0.0, "X": 9.0, "-": None}
ORDER = (Missing.MISSING, Missing.IGNORE, Missing.BREACHING, Missing.NOT_BREACHING)

THREE_OF_THREE = {
    "0-X-X": (OK, OK, OK, OK),
    "----0": (OK, OK, OK, OK),
    "-----": (INSUFFICIENT, KEPT, ALARM, OK),
    "0XX-X": (ALARM, ALARM, ALARM, ALARM),
    "--X--": (ALARM, KEPT, ALARM, OK),
}
TWO_OF_THREE = {
    "0-X-X": (ALARM, ALARM, ALARM, ALARM),
    "00X0X": (ALARM, ALARM, ALARM, ALARM),
    "0-X--": (OK, OK, ALARM, OK),
    "----0": (OK, OK, ALARM, OK),
    "---X-": (ALARM, KEPT, ALARM, OK),
}
CASES = [
    (points, needed, missing, expected)
    for needed, table in ((3, THREE_OF_THREE), (2, TWO_OF_THREE))
    for points, row in table.items()
    for missing, expected in zip(ORDER, row, strict=True)
]


@pytest.mark.parametrize("former", [OK, ALARM])
@pytest.mark.parametrize(("points", "needed", "missing", "expected"), CASES)
def test_missing_data_is_treated_as_the_user_guide_says(
    points: str, needed: int, missing: Missing, expected: State | None, former: State
) -> None:
    rule = Rule(
        comparison="GreaterThanThreshold",
        threshold=1,
        evaluation_periods=3,
        datapoints_to_alarm=needed,
        missing=missing,
    )
    assert state(rule, [MARKS[mark] for mark in points], former) == (former if expected is KEPT else expected)


@pytest.mark.parametrize(
    ("comparison", "below", "at", "above"),
    [
        ("GreaterThanOrEqualToThreshold", OK, ALARM, ALARM),
        ("GreaterThanThreshold", OK, OK, ALARM),
        ("LessThanThreshold", ALARM, OK, OK),
        ("LessThanOrEqualToThreshold", ALARM, ALARM, OK),
    ],
)
def test_a_value_at_the_threshold_breaches_only_where_the_comparison_says_so(
    comparison: str, below: State, at: State, above: State
) -> None:
    rule = Rule(
        comparison=comparison, threshold=5, evaluation_periods=1, datapoints_to_alarm=1, missing=Missing.MISSING
    )
    assert [state(rule, [value], OK) for value in (4, 5, 6)] == [below, at, above]


def test_the_period_under_way_is_not_looked_at() -> None:
    assert windows(now=125, period=60, count=2) == [(0, 60), (60, 120)]
