"""Peers' rules as pure functions, each held against what its source says."""

from datetime import timedelta
from typing import Any

import pytest

from lowtide.backtest.jobs import queued
from lowtide.backtest.rules import RULES, Seen, Use, View, determined, one_per_message, target_tracking
from tests.backtest.build import BEGIN, MINUTE, at, job, kind, play, pool

NAME = "c7i.large"


def seen(number: int, use: Use, *, launched: float = -60, idle: float | None = None) -> Seen:
    since = at(idle) if idle is not None else None
    return Seen(instance_id=f"i-{number}", use=use, launched_at=at(launched), idle_since=since)


def view(*instances: Seen, waiting: int = 0, waited: float = 5, slots: int = 1, **changes: Any) -> View:
    jobs = [
        queued(job(n, -waited, slots=slots), at(-waited), interruptions=0, saved=timedelta(0)) for n in range(waiting)
    ]
    values: dict[str, Any] = {"now": BEGIN, "pool": pool(), "waiting": jobs, "mean_work": timedelta(hours=1)}
    made: dict[str, Any] = {**values, "instances": instances, **changes}
    return View(**made)


def test_determined_sums_slots_and_leaves_out_what_is_no_multiple_of_an_agents() -> None:
    wide = pool(types=(kind(NAME, slots=4),), max_instances=9)
    assert determined(view(waiting=3, slots=2, pool=wide)).desired == {NAME: 2}, "6 slots on agents of 4"
    assert determined(view(waiting=1, slots=6, pool=wide)).desired == {NAME: 0}


def test_determined_counts_agents_that_have_not_connected_as_launched() -> None:
    launching = seen(1, Use.LAUNCHING, launched=-1)
    assert determined(view(launching, waiting=3)).desired == {NAME: 3}


def test_determined_stays_within_its_bounds() -> None:
    assert determined(view(waiting=30)).desired == {NAME: 4}
    assert determined(view(pool=pool(min_instances=2))).desired == {NAME: 2}


def test_determined_ends_agents_idle_for_the_pools_period_down_to_the_minimum() -> None:
    idle = [seen(n, Use.IDLE, idle=-25) for n in range(3)]
    assert determined(view(*idle)).desired == {NAME: 0}
    assert determined(view(*idle, pool=pool(min_instances=1))).desired == {NAME: 1}
    fresh = determined(view(seen(1, Use.IDLE, idle=-5)))
    assert (fresh.desired, fresh.look_at) == ({NAME: 1}, at(15))


def test_a_message_makes_an_instance_only_after_the_webhooks_delay() -> None:
    young = one_per_message(view(waiting=2, waited=0.25))
    assert (young.desired, young.look_at) == ({NAME: 0}, at(0.25))
    assert one_per_message(view(waiting=2)).desired == {NAME: 2}
    assert one_per_message(view(seen(1, Use.LAUNCHING, launched=-1), waiting=2)).desired == {NAME: 2}
    assert one_per_message(view(waiting=20)).desired == {NAME: 4}


def test_idle_runners_end_every_five_minutes_once_they_have_run_for_five() -> None:
    old, young = seen(1, Use.IDLE, idle=-1), seen(2, Use.IDLE, launched=-3, idle=-1)
    assert one_per_message(view(old, young)).desired == {NAME: 1}
    between = one_per_message(view(old, young, now=at(1)))
    assert (between.desired, between.look_at) == ({NAME: 2}, at(5))


def test_target_tracking_grows_after_three_minutes_above_its_target() -> None:
    first = target_tracking(view(waiting=3))
    assert (first.desired, first.look_at) == ({NAME: 0}, at(3))
    later = target_tracking(view(waiting=3, now=at(3), memory=first.memory))
    assert later.desired == {NAME: 3}


def test_target_tracking_shrinks_after_fifteen_minutes_below_it() -> None:
    idle = [seen(n, Use.IDLE, idle=-5) for n in range(2)]
    first = target_tracking(view(*idle))
    assert (first.desired, first.look_at) == ({NAME: 2}, at(15))
    assert target_tracking(view(*idle, now=at(15), memory=first.memory)).desired == {NAME: 0}


def test_the_target_follows_from_the_wait_that_is_acceptable_but_is_one_message_at_least() -> None:
    short = target_tracking(view(waiting=8, mean_work=5 * MINUTE))
    assert target_tracking(view(waiting=8, mean_work=5 * MINUTE, now=at(3), memory=short.memory)).desired == {NAME: 4}


@pytest.mark.parametrize("name", RULES)
def test_every_rule_finishes_every_job_and_ends_every_instance(name: str) -> None:
    jobs = [job(n, minute=3 * n, minutes=10) for n in range(8)]
    played = play(jobs, rule=name)
    assert all(progress.finished_at is not None for progress in played.progress)
    assert played.end < at(3 * 8 + 10 * 8 + 40)


def test_an_ephemeral_runner_takes_one_job_in_its_life() -> None:
    jobs = [job(n, minute=20 * n, minutes=5) for n in range(3)]
    assert len(play(jobs, rule="github-runners-ephemeral").accounts.launches) == 3
    assert len(play(jobs, rule="determined").accounts.launches) == 1


def test_a_runner_takes_one_job_at_a_time_whatever_room_it_has() -> None:
    wide = pool(types=(kind(NAME, slots=4),))
    jobs = [job(n) for n in range(4)]
    assert len(play(jobs, of=wide, rule="github-runners").accounts.launches) == 4
    assert len(play(jobs, of=wide, rule="determined").accounts.launches) == 1
