"""What a backtest plays: launches, waiting, interruptions, work done again, money. Each against figures by hand."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from lambdas.domain.buying.spending import beside
from lambdas.domain.pools.machine import Machine
from lambdas.domain.pools.pools import CapacityType, OnDemandFallback, Schedule
from lowtide.backtest.accounts import Accounts
from lowtide.backtest.control import ControlPlane
from lowtide.backtest.outcome import Scenario, document
from lowtide.backtest.play import Assumptions, Played
from tests.backtest.build import BEGIN, BOOT, HOUR, MINUTE, ZONES, at, job, kind, market, play, pool
from tests.domain.build import instance

POOL = pool(max_idle_agent_period=5 * MINUTE, machine=Machine(public_ip=False, root_volume_size=100))


def told(played: Played) -> dict[str, Any]:
    (scenario,) = document(
        [Scenario(name="a", rule="lowtide", played=[played])],
        market="m",
        jobs="j",
        region="us-east-1",
        begin=played.begin,
        until=played.end,
        assumptions=Assumptions(),
        notes=(),
    )["scenarios"]
    return scenario


def test_a_job_waits_for_an_instance_to_boot_and_the_instance_ends_when_it_has_been_idle() -> None:
    played = play([job(minutes=30)], of=POOL)
    (progress,) = played.progress
    assert progress.started_at == BEGIN + BOOT
    assert progress.finished_at == BEGIN + BOOT + 30 * MINUTE
    assert played.end <= BEGIN + BOOT + 30 * MINUTE + POOL.max_idle_agent_period + 2 * MINUTE


def test_an_instance_costs_the_price_at_the_beginning_of_each_of_its_hours_and_what_stands_beside_it() -> None:
    prices = {ZONES[0]: [(0, "0.04"), (50, "0.06"), (90, "0.05")]}
    played = play([job(minutes=108)], of=POOL, conditions=market(prices))
    life = BOOT + 108 * MINUTE + 5 * MINUTE  # the tick that finds it idle comes on the full minute
    first, second = Decimal("0.04"), Decimal("0.06")
    hours = Decimal(life / HOUR)
    expected = first + second * (hours - 1) + beside(POOL) * hours
    assert played.accounts.cost_usd == pytest.approx(expected, abs=Decimal("0.0001"))


def test_a_minute_is_charged_at_least() -> None:
    def price(*_: object) -> Decimal:
        return Decimal("0.06")

    accounts = Accounts(POOL, price, BEGIN, MINUTE)
    accounts.came(instance(launched_at=BEGIN), Decimal("0.10"))
    accounts.ended("i-1", BEGIN + MINUTE / 4)
    assert accounts.cost_usd == pytest.approx((Decimal("0.06") + beside(POOL)) / 60, abs=Decimal("0.000001"))


def test_two_jobs_that_come_together_get_an_instance_each_and_a_later_one_the_idle_one() -> None:
    played = play([job(1), job(2), job(3, minute=34, minutes=5)], of=POOL)
    assert len(played.accounts.launches) == 2
    third = next(p for p in played.progress if p.job.job_id == "job-3")
    assert third.started_at is not None
    assert third.started_at - third.job.submitted_at < MINUTE


def test_a_price_above_the_limit_takes_the_instance_and_its_job_is_queued_again() -> None:
    prices = {ZONES[0]: [(0, "0.04"), (22, "0.20")], ZONES[1]: [(0, "0.05")]}
    played = play([job(minutes=60)], of=POOL, conditions=market(prices), checkpoint=15 * MINUTE)
    (progress,) = played.progress
    assert progress.interruptions == 1
    assert progress.redone == 5 * MINUTE, "of 20 minutes run, the last checkpoint held 15"
    assert played.accounts.interrupted_instances == 1
    assert [launch.zone for launch in played.accounts.launches] == [ZONES[0], ZONES[1]]
    assert progress.finished_at == at(22) + BOOT + 45 * MINUTE


def test_without_checkpoints_an_interruption_costs_all_that_was_done() -> None:
    prices = {ZONES[0]: [(0, "0.04"), (22, "0.20")], ZONES[1]: [(0, "0.05")]}
    played = play([job(minutes=60)], of=POOL, conditions=market(prices), checkpoint=None)
    (progress,) = played.progress
    assert progress.redone == 20 * MINUTE
    assert progress.finished_at == at(22) + BOOT + 60 * MINUTE


def test_an_attempt_after_an_interruption_needs_its_restart_first() -> None:
    prices = {ZONES[0]: [(0, "0.04"), (22, "0.20")], ZONES[1]: [(0, "0.05")]}
    conditions = market(prices)
    played = play([job(minutes=60)], of=POOL, conditions=conditions, checkpoint=None, restart=7 * MINUTE)
    assert played.progress[0].finished_at == at(22) + BOOT + 67 * MINUTE


def test_a_capacity_record_takes_instances_and_the_shortage_is_told_by_its_reason() -> None:
    held = {ZONES[0]: [(0, 2), (20, 0), (50, 2)], ZONES[1]: [(0, 0)]}
    played = play([job(minutes=30)], of=POOL, conditions=market(held=held))
    (row,) = [row for row in told(played)["unfulfilled"] if row["reason"] == "capacity"]
    assert 0.4 <= row["hours"] <= 0.8, "from minute 20 to when it asked again after minute 50"
    assert row["job_hours"] >= 0.4
    assert told(played)["refusals"]["InsufficientInstanceCapacity"] > 0
    assert played.progress[0].finished_at is not None


def test_a_market_above_the_limit_is_told_as_price_and_asked_again_when_it_falls() -> None:
    prices = {ZONES[0]: [(0, "0.30"), (40, "0.04")]}
    played = play([job()], of=POOL, conditions=market(prices))
    assert {row["reason"] for row in told(played)["unfulfilled"] if row["hours"]} == {"price"}
    started = played.progress[0].started_at
    assert started is not None
    assert at(40) + BOOT <= started <= at(41) + BOOT


def test_jobs_beyond_the_maximum_wait_for_the_limit() -> None:
    played = play([job(n, minutes=60) for n in range(3)], of=pool(max_instances=1))
    assert len(played.accounts.launches) == 1
    assert told(played)["unfulfilled"][0]["reason"] == "limit"


def test_on_demand_comes_in_where_the_owner_allows_it_after_the_wait() -> None:
    fallback = OnDemandFallback(after=10 * MINUTE)
    played = play([job()], of=pool(on_demand_fallback=fallback), conditions=market({ZONES[0]: [(0, "0.30")]}))
    (launch,) = played.accounts.launches
    assert launch.capacity_type is CapacityType.ON_DEMAND
    assert at(10) <= launch.at <= at(11)


def test_a_schedule_has_its_instances_there_when_it_begins() -> None:
    schedule = Schedule(name="day", start="0 10 * * *", duration=HOUR, min_instances=2)
    played = play([job(minute=200)], of=pool(schedules=(schedule,)), until=at(200))
    early = [launch.at for launch in played.accounts.launches if launch.at < at(120)]
    assert len(early) == 2
    assert all(at(110) <= each <= at(120) for each in early)


def test_a_pools_minimum_costs_for_the_whole_period() -> None:
    played = play([job(minute=0, minutes=1)], of=pool(min_instances=1), until=at(600))
    assert played.accounts.instance_time >= 10 * HOUR - MINUTE


def test_a_job_that_no_type_holds_is_counted_and_never_waits() -> None:
    played = play([job(1, slots=4), job(2)], of=POOL)
    assert told(played)["jobs"] == {
        **{"sent": 2, "finished": 1, "failed": 0, "unfinished": 0, "never_fit": 1},
        **{"with_deadline": 0, "missed_deadlines": 0},
    }


def test_missed_deadlines_are_counted_by_when_jobs_ended() -> None:
    jobs = [job(1, minutes=30, deadline=at(33)), job(2, minutes=30, deadline=at(31)), job(3)]
    counted = told(play(jobs, of=POOL))["jobs"]
    assert (counted["with_deadline"], counted["missed_deadlines"]) == (2, 1)


def test_a_job_that_is_not_done_at_the_end_has_missed_its_deadline() -> None:
    conditions = market({ZONES[0]: [(0, "0.30")]})
    counted = told(play([job(deadline=at(60))], of=POOL, conditions=conditions))["jobs"]
    assert (counted["unfinished"], counted["missed_deadlines"]) == (1, 1)


def test_a_job_that_no_type_holds_misses_its_deadline() -> None:
    counted = told(play([job(1, slots=4, deadline=at(30)), job(2, minute=60)], of=POOL))["jobs"]
    assert (counted["never_fit"], counted["with_deadline"], counted["missed_deadlines"]) == (1, 1, 1)


def test_jobs_share_an_instance_by_the_same_rules_as_claims() -> None:
    wide = pool(types=(kind("c7i.2xlarge", slots=4, price="0.40"),))
    conditions = market({ZONES[0]: [(0, "0.1")]}, name="c7i.2xlarge")
    played = play([job(1, slots=2), job(2, slots=1), job(3, slots=1)], of=wide, conditions=conditions)
    assert len(played.accounts.launches) == 1
    assert {p.started_at for p in played.progress} == {BEGIN + BOOT}


def test_higher_priority_goes_first() -> None:
    jobs = [job(1, minutes=10), job(2, minute=5, minutes=10), job(3, minute=6, minutes=10, priority=5)]
    played = play(jobs, of=pool(max_instances=1))
    started = {p.job.job_id: p.started_at for p in played.progress}
    assert sorted(started, key=lambda name: str(started[name])) == ["job-1", "job-3", "job-2"]


def test_interruptions_without_notice_end_the_instance_at_once() -> None:
    prices = {ZONES[0]: [(0, "0.04"), (22, "0.20")], ZONES[1]: [(0, "0.05")]}
    played = play([job(minutes=60)], of=POOL, conditions=market(prices), unwarned=1.0, checkpoint=None)
    assert played.progress[0].interruptions == 1
    assert played.progress[0].finished_at is not None


def test_the_same_input_gives_the_same_course() -> None:
    jobs = [job(n, minute=7 * n, minutes=11 + n) for n in range(20)]
    assert told(play(jobs, of=POOL)) == told(play(jobs, of=POOL))


def test_passes_that_are_left_out_would_have_changed_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployed pool makes one for each job that is sent and that ends. Idle instances end then within the minute."""
    held = {ZONES[0]: [(0, 2), (130, 1), (300, 3)], ZONES[1]: [(0, 2), (90, 0), (260, 2)]}
    jobs = [job(n, minute=11 * n + n % 4, minutes=4 + 7 * n % 23) for n in range(30)]
    few = play(jobs, of=POOL, conditions=market(held=held))

    def at_once(_: ControlPlane, now: datetime) -> datetime:
        return now

    monkeypatch.setattr(ControlPlane, "sent", at_once)
    monkeypatch.setattr(ControlPlane, "turned", at_once)
    many = play(jobs, of=POOL, conditions=market(held=held))
    assert many.accounts.looks > few.accounts.looks + 15
    assert [each.zone for each in many.accounts.launches] == [each.zone for each in few.accounts.launches]
    pairs = zip(many.accounts.launches, few.accounts.launches, strict=True)
    assert all(abs(one.at - other.at) <= timedelta(minutes=1) for one, other in pairs)
    assert many.accounts.cost_usd == pytest.approx(few.accounts.cost_usd, rel=Decimal("0.005"))


def in_time(on_demand: OnDemandFallback | None) -> Played:
    """Spot can be had for two minutes, then after two and a half hours; an hour's job must be done within two."""
    dry = {zone: [(0, 4), (2, 0), (150, 4)] for zone in ZONES}
    urgent = job(minutes=60, deadline=at(120), estimated_duration=HOUR)
    return play([urgent], of=replace(POOL, on_demand_fallback=on_demand), conditions=market(held=dry))


def test_a_deadline_is_met_on_demand_where_the_owner_allows_it_and_missed_where_not() -> None:
    played = in_time(OnDemandFallback(max_instances=1))
    (progress,) = played.progress
    assert progress.finished_at is not None
    assert progress.finished_at <= at(120)
    assert told(played)["jobs"]["missed_deadlines"] == 0
    late = in_time(None)
    assert told(late)["jobs"]["missed_deadlines"] == 1


def test_a_job_with_a_deadline_goes_back_to_spot_with_all_its_work_and_that_is_no_interruption() -> None:
    """A day's slack is over when spot comes back: on-demand from minute 30, spot again from minute 90."""
    dry = {zone: [(0, 0), (90, 4)] for zone in ZONES}
    long = job(minutes=600, deadline=at(600 + 60), estimated_duration=10 * HOUR)
    fallback = OnDemandFallback(max_instances=1, return_after=10 * MINUTE)
    played = play([long], of=replace(POOL, on_demand_fallback=fallback), conditions=market(held=dry))
    (progress,) = played.progress
    assert progress.finished_at is not None
    assert progress.finished_at <= at(660)
    assert (progress.interruptions, progress.redone) == (0, timedelta(0))
    assert progress.fence == 2
    assert 0 < played.accounts.cost_usd < Decimal("0.10") * 11
