from dataclasses import replace

from lambdas.domain.reasons import Reason, ReasonClass, in_order, merge_reasons
from tests.domain.build import NOW, after, ago


def reason(code: str = "InsufficientInstanceCapacity", since: float = 0, **changes: object) -> Reason:
    known = Reason(
        reason_class=ReasonClass.CAPACITY,
        code=code,
        message="said",
        remedy="Wait.",
        since=ago(since),
        last_seen=ago(since),
        capacity_type="spot",
    )
    return replace(known, **changes)  # pyright: ignore[reportArgumentType]


def test_a_reason_seen_again_keeps_its_since_and_counts() -> None:
    (merged,) = merge_reasons([reason(since=600, count=3)], [reason()], NOW)
    assert (merged.since, merged.last_seen, merged.count) == (ago(600), NOW, 4)


def test_a_reason_read_again_from_the_same_sighting_does_not_count() -> None:
    (merged,) = merge_reasons([reason(since=600, count=3)], [reason(since=600)], NOW)
    assert (merged.since, merged.count) == (ago(600), 3)


def test_merging_twice_changes_nothing() -> None:
    old = [reason(since=600, count=3)]
    once = merge_reasons(old, [reason(), reason("VcpuLimitExceeded")], NOW)
    assert merge_reasons(old, once, NOW) == once
    assert merge_reasons(once, once, NOW) == once


def test_the_newer_words_are_kept() -> None:
    (merged,) = merge_reasons([reason(since=600)], [reason(message="newer", next_attempt=after(60))], NOW)
    assert (merged.message, merged.next_attempt) == ("newer", after(60))


def test_what_is_no_longer_told_is_over() -> None:
    assert merge_reasons([reason(since=600)], [], NOW) == ()


def test_two_tellings_of_one_reason_become_one() -> None:
    assert len(merge_reasons([], [reason(since=30), reason()], NOW)) == 1


def test_capacity_types_have_their_own_reasons() -> None:
    assert len(merge_reasons([], [reason(), reason(capacity_type="on-demand")], NOW)) == 2


def test_the_most_actionable_class_comes_first_then_the_longest_lasting() -> None:
    every = [reason(str(n), n, reason_class=kind) for n, kind in enumerate(reversed(ReasonClass))]
    assert [each.reason_class for each in in_order(every)] == list(ReasonClass)
    assert [each.code for each in in_order([reason("new"), reason("old", 60)])] == ["old", "new"]


def test_the_order_of_classes_is_the_one_people_act_by() -> None:
    assert [str(each) for each in ReasonClass][:7] == [
        *("permission", "configuration", "quota", "throttling", "price", "capacity", "transient")
    ]
