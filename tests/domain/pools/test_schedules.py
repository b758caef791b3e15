"""When a schedule's windows are, what holds in them, and how early its minimum is asked for."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.domain.fleet.actions import Launch
from lambdas.domain.plan.plan import plan
from lambdas.domain.pools.cron import last_start, next_start, parse_cron, starts_of
from lambdas.domain.pools.pools import Pool, Schedule
from lambdas.domain.pools.schedules import conflict, in_force, is_active
from tests.domain.build import ago, instance, pool, snapshot
from tests.domain.plans import of
from tests.domain.properties import steadily

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def following(cron: str, after: str, zone: ZoneInfo = BERLIN, count: int = 2) -> list[str]:
    found: list[str] = []
    instant = at(after)
    for _ in range(count):
        start = next_start(parse_cron(cron), zone, instant)
        assert start is not None
        found.append(f"{start:%m-%d %H:%M}")
        instant = start
    return found


@pytest.mark.parametrize(
    ("cron", "after", "starts"),
    [
        ("30 9 * * *", "2026-11-23 08:30", ["11-24 08:30", "11-25 08:30"]),
        ("0 9 * * mon-fri", "2026-11-20 12:00", ["11-23 08:00", "11-24 08:00"]),
        ("0 0 * * 0", "2026-11-23 00:00", ["11-28 23:00", "12-05 23:00"]),
        ("0 0 * * 7", "2026-11-23 00:00", ["11-28 23:00", "12-05 23:00"]),
        ("0 12 1,15 jan *", "2026-11-23 00:00", ["01-01 11:00", "01-15 11:00"]),
        ("*/20 8-9 * * *", "2026-11-23 07:30", ["11-23 07:40", "11-23 08:00"]),
        ("0 12 13 * fri", "2026-11-01 00:00", ["11-06 11:00", "11-13 11:00"]),
        ("0 12 */2 * fri", "2026-11-01 00:00", ["11-13 11:00", "11-27 11:00"]),
        ("0 0 29 2 *", "2026-11-23 00:00", ["02-28 23:00", "02-28 23:00"]),
    ],
)
def test_a_cron_starts_when_crontab_says(cron: str, after: str, starts: list[str]) -> None:
    assert following(cron, after) == starts


def test_a_start_in_the_skipped_hour_happens_when_the_clock_jumps() -> None:
    assert following("30 2 * * *", "2026-03-28 12:00") == ["03-29 01:00", "03-30 00:30"]


def test_a_start_in_the_hour_that_comes_twice_happens_once_the_first_time() -> None:
    assert following("30 2 * * *", "2026-10-24 12:00") == ["10-25 00:30", "10-26 01:30"]


def test_an_hourly_start_follows_real_time_through_both_changes_of_clocks() -> None:
    assert following("30 * * * *", "2026-03-29 00:00", count=3) == ["03-29 00:30", "03-29 01:30", "03-29 02:30"]
    assert following("30 * * * *", "2026-10-25 00:00", count=3) == ["10-25 00:30", "10-25 01:30", "10-25 02:30"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 9 * *", "has 4 fields"),
        ("60 9 * * *", "'60' as its minute; it takes 0 to 59"),
        ("0 9 * * 5-1", "runs backwards"),
        ("0 9 * foo *", "'foo' as its month"),
        ("0 9 0 * *", "'0' as its day of month"),
        ("*/0 * * * *", "as its minute"),
        ("@daily * * * *", "as its minute"),
        ("0 9 * * mon,", "as its day of week"),
    ],
)
def test_a_wrong_cron_names_its_field(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        parse_cron(text)


@steadily(100)
@given(
    st.sampled_from(["15 2 * * *", "*/30 1-3 * * *", "0 * * * *", "5 4 * * sun", "0 0 1 * *"]),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]),
    st.integers(0, 700 * 1440).map(lambda minutes: at("2026-01-01") + timedelta(minutes=minutes)),
)
def test_last_and_next_agree_with_a_walk_over_every_day(text: str, zone: str, instant: datetime) -> None:
    cron, where = parse_cron(text), ZoneInfo(zone)
    days = [instant.date() + timedelta(days=n) for n in range(-40, 41)]
    every = sorted({start for day in days for start in starts_of(cron, where, day)})
    within = timedelta(days=35)
    assert last_start(cron, where, instant, within=within) == max(s for s in every if s <= instant)
    assert next_start(cron, where, instant, within=within) == min(s for s in every if s > instant)


def schedule(name: str = "day", **changes: Any) -> Schedule:
    values: dict[str, Any] = {"start": "0 9 * * *", "duration": timedelta(hours=8), "min_instances": 2}
    return Schedule(name=name, **{**values, **changes})


def bounds(owner: Pool, now: str, lead: timedelta = timedelta()) -> tuple[int, int]:
    held = in_force(owner, at(now), lead)
    return held.min_instances, held.max_instances


def test_in_its_window_a_schedules_bounds_replace_the_pools_from_its_start_to_before_its_end() -> None:
    owner = pool(min_instances=1, schedules=(schedule(max_instances=3), schedule("n", start="0 22 * * *")))
    assert [bounds(owner, f"2026-11-23 {t}") for t in ("08:59", "09:00", "16:59", "17:00")] == [
        *((1, 5), (2, 3), (2, 3), (1, 5)),
    ]
    night = pool(min_instances=1, schedules=(schedule(start="0 22 * * *", min_instances=0),))
    assert bounds(night, "2026-11-24 03:00") == (0, 5)


def test_overlapping_windows_give_the_highest_minimum_the_lowest_maximum_and_the_lowest_price() -> None:
    first = schedule("a", min_instances=1, max_instances=4, spot_max_price=None)
    second = schedule("b", min_instances=3, max_instances=6, spot_max_percent=Decimal(20))
    owner = pool(schedules=(first, second))
    assert bounds(owner, "2026-11-23 10:00") == (3, 4)
    assert in_force(owner, at("2026-11-23 10:00")).price_limit(owner.types[0]) == Decimal("1.5648")


def test_a_schedules_price_never_raises_the_pools() -> None:
    owner = pool(schedules=(schedule(spot_max_price=Decimal(9)),))
    assert in_force(owner, at("2026-11-23 10:00")).price_limit(owner.types[0]) == 3


def test_a_window_over_the_change_of_clocks_lasts_its_duration() -> None:
    night = schedule(start="0 0 * * *", duration=timedelta(hours=6), timezone="Europe/Berlin")
    assert is_active(night, at("2026-03-29 04:59"))
    assert not is_active(night, at("2026-03-29 05:00"))


def test_a_minimum_is_asked_for_so_long_before_its_window_as_far_as_the_maximum_allows() -> None:
    owner = pool(max_instances=2, schedules=(schedule(min_instances=4, max_instances=4),))
    assert bounds(owner, "2026-11-23 08:50", timedelta(minutes=9)) == (0, 2)
    assert bounds(owner, "2026-11-23 08:51", timedelta(minutes=9)) == (2, 2)
    assert bounds(owner, "2026-11-23 09:00", timedelta(minutes=9)) == (4, 4)


def test_a_pool_asks_for_a_schedules_minimum_by_the_time_that_its_launches_took() -> None:
    owner = pool(schedules=(schedule(min_instances=1),), max_agent_starting_period=timedelta(minutes=30))
    slow = snapshot(pool=owner, launch_times=(("i-a", 60), ("i-b", 540)))
    assert of(Launch, plan(slow, at("2026-11-23 08:49:59"))) == []
    assert len(of(Launch, plan(slow, at("2026-11-23 08:50")))) == 1


def test_a_pool_at_rest_looks_again_when_the_next_window_is_to_be_prepared_begins_or_ends() -> None:
    owner = pool(schedules=(schedule(min_instances=1),))
    remembered = snapshot(pool=owner, launch_times=(("i-a", 240),))
    assert plan(remembered, at("2026-11-23 06:00")).due == at("2026-11-23 08:55")
    there = snapshot(pool=owner, instances=(instance(heartbeat_at=at("2026-11-23 09:59")),))
    assert plan(there, at("2026-11-23 10:00")).due == at("2026-11-23 17:00")


def test_the_last_ten_launches_are_remembered_once_each() -> None:
    known = tuple((f"i-{n}", 100) for n in range(10))
    fresh = (instance("i-9"), instance("i-new", launched_at=ago(300), reported_at=ago(180)))
    decided = plan(snapshot(instances=fresh, launch_times=known), ago(0))
    assert decided.launch_times == (*known[1:], ("i-new", 120))


@pytest.mark.parametrize(
    ("schedules", "found"),
    [
        ((schedule(min_instances=6),), (6, 5)),
        ((schedule(min_instances=3), schedule("b", min_instances=None, max_instances=2)), (3, 2)),
        ((schedule(min_instances=3), schedule("b", start="0 17 * * *", max_instances=2)), None),
        ((schedule(min_instances=8, max_instances=9, duration=timedelta(hours=1)),), None),
        (
            (
                schedule("a", min_instances=8, max_instances=None, duration=timedelta(hours=3)),
                schedule("b", min_instances=None, max_instances=9, duration=timedelta(hours=2)),
            ),
            (8, 5),
        ),
        (
            (
                schedule("winter", start="0 9 1 * *", min_instances=3),
                schedule("sundays", start="0 12 * * sun", min_instances=None, max_instances=2),
            ),
            (3, 2),
        ),
        ((schedule(start="*/30 * * * *", duration=timedelta(hours=1), min_instances=1),), None),
    ],
)
def test_a_minimum_above_a_maximum_at_any_instant_is_found(
    schedules: tuple[Schedule, ...], found: tuple[int, int] | None
) -> None:
    told = conflict(pool(schedules=schedules), at("2026-11-23 00:00"))
    assert (told and (told.min_instances, told.max_instances)) == found
