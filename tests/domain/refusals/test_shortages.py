"""How much longer a shortage may take, judged by earlier ones."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.reasons import Reason, ReasonClass
from lambdas.domain.refusals.shortages import PAST_KEPT, Past, remembered, wait
from tests.domain.build import NOW, ago


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def reason(code: str = "InsufficientInstanceCapacity", reason_class: ReasonClass = ReasonClass.CAPACITY) -> Reason:
    return Reason(reason_class=reason_class, code=code, message="m", remedy="r", since=ago(60), last_seen=NOW)


def past(*lasted: float, code: str = "InsufficientInstanceCapacity") -> tuple[Past, ...]:
    return tuple(Past(reason_class=ReasonClass.CAPACITY, code=code, lasted=minutes(each)) for each in lasted)


def test_only_those_that_lasted_as_long_already_count() -> None:
    found = wait(past(4, 9, 10, 20, 30, 60), reason(), minutes(5))
    assert found is not None
    assert (found.likely, found.early, found.late, found.ground) == (minutes(15), minutes(5), minutes(25), 5)


def test_two_are_no_ground() -> None:
    assert wait(past(10, 20), reason(), minutes(0)) is None
    assert wait(past(1, 2, 3, 10, 20), reason(), minutes(5)) is None


def test_those_of_another_code_are_none() -> None:
    assert wait(past(10, 20, 30, code="SpotMaxPriceTooLow"), reason(), minutes(0)) is None


def test_how_sure_it_is_grows_with_the_ground() -> None:
    said = [found.sure for n in (3, 5, 10) if (found := wait(past(*range(1, n + 1)), reason(), minutes(0)))]
    assert said == ["not very sure", "fairly sure", "well founded"]


@given(st.lists(st.integers(1, 10_000), min_size=3, max_size=PAST_KEPT), st.integers(0, 10_000))
def test_an_estimate_is_in_order_and_never_in_the_past(lasted: list[int], now: int) -> None:
    found = wait(past(*lasted), reason(), minutes(now))
    assert found is None or timedelta() <= found.early <= found.likely <= found.late


def test_the_last_sixteen_are_kept() -> None:
    before = past(*range(1, PAST_KEPT + 1))
    after = remembered(before, since=ago(600), first=reason(), now=NOW, over=True)
    assert len(after) == PAST_KEPT
    assert (after[0].lasted, after[-1].lasted) == (minutes(2), minutes(10))
