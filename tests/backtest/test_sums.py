"""What a backtest adds up, over small scenarios that are drawn: every sum is reckoned a second way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdas.domain.jobs.terms import OnDemand
from lambdas.domain.pools.pools import OnDemandFallback, Pool, Schedule
from lowtide.backtest.jobs import Job
from lowtide.backtest.play import Played
from lowtide.backtest.recorded import RecordedMarket
from lowtide.backtest.rules import RULES
from tests.backtest.build import BEGIN, HOUR, MINUTE, ZONES, at, job, kind, market, play, pool
from tests.backtest.test_play import told

ROUNDED = 0.002
"""Hours: points are rounded to a thousandth, and so are sums."""


@dataclass(frozen=True, slots=True)
class Scene:
    pool: Pool
    jobs: Sequence[Job]
    market: RecordedMarket
    rule: str | None
    assumed: Mapping[str, Any]


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """One pool over an hour or two in which two zones change now and then."""
    minutes = st.integers(1, 90)
    slots = draw(st.sampled_from((1, 2)))
    prices = st.lists(st.tuples(minutes, st.sampled_from(("0.03", "0.06", "0.30"))), max_size=2)
    held = st.lists(st.tuples(minutes, st.integers(0, 2)), max_size=3)
    wide = st.integers(1, 3)
    jobs = [
        job(number, minute, minutes=length, slots=width, priority=priority, on_demand=terms)
        for number, (minute, length, width, priority, terms) in enumerate(
            draw(
                st.lists(
                    st.tuples(
                        st.one_of(st.just(0), minutes, st.floats(0, 60)),
                        st.one_of(st.sampled_from((0.0001, 10)), st.floats(0.1, 40)),
                        wide,
                        st.sampled_from((0, 0, 5)),
                        st.sampled_from((OnDemand.AUTO, OnDemand.AUTO, OnDemand.ALWAYS)),
                    ),
                    min_size=1,
                    max_size=4,
                )
            )
        )
    ]
    return Scene(
        pool=pool(
            types=(kind(slots=slots),),
            max_instances=draw(st.integers(1, 3)),
            min_instances=draw(st.sampled_from((0, 0, 1))),
            max_idle_agent_period=draw(st.sampled_from((1, 5))) * MINUTE,
            on_demand_fallback=draw(st.sampled_from((None, OnDemandFallback(after=5 * MINUTE, max_instances=1)))),
            paused=draw(st.sampled_from((False, False, False, True))),
        ),
        jobs=sorted(jobs, key=lambda each: (each.submitted_at, each.job_id)),
        market=market(
            {zone: [(0, "0.04"), *sorted(draw(prices))] for zone in ZONES},
            {zone: [(0, 2), *sorted(draw(held))] for zone in ZONES},
        ),
        rule=draw(st.sampled_from((None, *RULES))),
        assumed={
            "checkpoint": draw(st.sampled_from((None, MINUTE, 5 * MINUTE))),
            "restart": draw(st.sampled_from((0, 3))) * MINUTE,
            "unwarned": draw(st.sampled_from((0.0, 1.0))),
        },
    )


def over_time(played: Played, line: str) -> float:
    """What a line of the chart covers, in hours."""
    bucket, period = played.accounts.bucket / HOUR, (played.end - played.begin) / HOUR
    points = told(played)["points"]
    return sum(point[line] * min(bucket, period - number * bucket) for number, point in enumerate(points))


def about(hours: float, played: Played) -> Any:
    return pytest.approx(hours, abs=ROUNDED + 0.0006 * ((played.end - played.begin) / HOUR))


@settings(max_examples=8, deadline=None, derandomize=True)
@given(scenes())
def test_the_parts_of_a_backtest_add_up(scene: Scene) -> None:
    played = play(scene.jobs, of=scene.pool, conditions=scene.market, rule=scene.rule, until=at(100), **scene.assumed)
    found = told(played)
    counts, rows = found["jobs"], found["unfulfilled"]
    ended = ("finished", "failed", "unfinished", "never_fit")
    assert sum(counts[each] for each in ended) == counts["sent"] == len(scene.jobs)
    assert found["points"][-1]["spent_usd"] == pytest.approx(found["cost_usd"], abs=0.0002)
    assert 0 <= found["idle_usd"] <= found["cost_usd"]
    assert over_time(played, "waiting_jobs") == about(sum(each["job_hours"] for each in rows), played)
    assert over_time(played, "missing") == about(sum(each["instance_hours"] for each in rows), played)
    assert over_time(played, "instances") <= found["instance_hours"] + ROUNDED * len(found["points"]) / 60
    _time_of_jobs_adds_up(scene, played)
    _busy_time_is_that_of_jobs(scene, played)


def _time_of_jobs_adds_up(scene: Scene, played: Played) -> None:
    for each in played.progress:
        assert each.interruptions or not each.redone
        assert (each.started_at or played.end) >= each.job.submitted_at
        if each.finished_at is not None:
            beside = each.finished_at - each.job.submitted_at - each.waited - each.job.work - each.redone
            assert timedelta(0) <= beside <= scene.assumed["restart"] * (each.fence - 1)


def _busy_time_is_that_of_jobs(scene: Scene, played: Played) -> None:
    """Where each instance has one job at a time, it is busy for as long as jobs neither wait nor are over."""
    if scene.pool.types[0].slots > 1:
        return
    ran = timedelta(0)
    for each in played.progress:
        over = each.finished_at or (played.end if each.job.job_id not in played.given_up else each.job.submitted_at)
        ran += over - each.job.submitted_at
    waited = sum(row["job_hours"] for row in told(played)["unfulfilled"])
    busy = (played.accounts.instance_time - played.accounts.idle) / HOUR
    assert busy == about(ran / HOUR - waited, played)


def test_an_attempt_that_still_runs_at_the_end_is_no_idle_time() -> None:
    """The price falls half an hour before a day and twice the job's time are over."""
    prices = {ZONES[0]: [(0, "0.30"), (60 * 25.5, "0.04")]}
    played = play([job(minutes=60)], conditions=market(prices), boot=MINUTE)
    assert played.end == at(60 * 26)
    assert told(played)["jobs"]["unfinished"] == 1
    assert played.accounts.instance_time >= 28 * MINUTE
    assert played.accounts.idle == MINUTE, "of its boot"


def test_a_backtest_whose_jobs_cannot_start_lasts_as_long_as_one_whose_jobs_cannot_end() -> None:
    played = play([job(minutes=60)], of=pool(paused=True))
    assert played.end == at(60 * 26), "a day and twice the longest job"
    assert told(played)["waiting_seconds"]["mean"] == 26 * 3600


def test_a_window_that_is_open_at_the_end_is_not_played_to_its_own_end() -> None:
    always = Schedule(name="always", start="0 0 * * *", duration=24 * HOUR, min_instances=2)
    played = play([job(1), job(2, minute=60 * 24)], of=pool(schedules=(always,)), until=at(60 * 24))
    assert played.end - BEGIN < timedelta(days=1, hours=2)
    assert played.accounts.instance_time / HOUR == pytest.approx(50, abs=3)


def test_a_minute_that_is_charged_beyond_the_end_is_spent_all_the_same() -> None:
    """The runner ends by itself after a second's job, seconds after its launch, and the backtest with it."""
    ended = play([job(minutes=1 / 60)], rule="github-runners-ephemeral", boot=MINUTE / 60, until=at(0.5))
    assert ended.end - BEGIN < MINUTE + MINUTE
    found = told(ended)
    assert found["points"][-1]["spent_usd"] == found["cost_usd"] > 0
