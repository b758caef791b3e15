"""One short story, played by the whole control plane in its virtual world and by a backtest: the same comes of it.

Tolerances: every launch within a second of its counterpart, in the same zone; the same interruptions; every job's end
within HANDOVER; money within 2 %. What differs is that a deployed worker asks for work and tells of its end at instants
of its own, where the backtest takes the mean of its wait and tells at once.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from lambdas.adapters.ledger import Ledger
from lambdas.domain.jobs.job_record import JobRecord
from lambdas.domain.pools.pools import Pool
from lambdas.domain.settings import Settings
from lowtide.backtest.jobs import Job
from lowtide.backtest.play import Assumptions, Play, Played
from lowtide.backtest.recorded import RecordedMarket, Steps
from lowtide.cli import cost_store
from lowtide.market.model import Offering
from lowtide.market.unkindness import Unkindness
from lowtide.sim.clock import START
from lowtide.sim.hosts import command
from lowtide.sim.world import World
from tests.crash.deployed import facts

NAME = "c7i.large"
ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")
BOOT = timedelta(minutes=2)
HANDOVER = timedelta(seconds=45)
"""Half of what an idle worker waits at most between two askings, and half of a heartbeat."""


def _at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def _story() -> tuple[RecordedMarket, list[tuple[float, float]]]:
    """The cheapest zone runs dry after a quarter of an hour, the next becomes too dear after three quarters; jobs
    (minute, minutes) come in bursts and alone."""
    prices = {
        ZONES[0]: [(_at(-60), Decimal("0.030"))],
        ZONES[1]: [(_at(-60), Decimal("0.035")), (_at(45), Decimal("0.080")), (_at(100), Decimal("0.035"))],
        ZONES[2]: [(_at(-60), Decimal("0.045"))],
    }
    held = {
        ZONES[0]: [(_at(-60), 3), (_at(16), 0), (_at(75), 3)],
        ZONES[1]: [(_at(-60), 3)],
        ZONES[2]: [(_at(-60), 2)],
    }
    market = RecordedMarket(
        prices={Offering(NAME, zone): Steps.of(points) for zone, points in prices.items()},
        held={Offering(NAME, zone): Steps.of(points) for zone, points in held.items()},
    )
    jobs = [(3.1, 11.0), (3.2, 20.0), (3.3, 6.0), (10.4, 15.0), (30.7, 22.0), (31.0, 3.0), (65.2, 10.0), (90.6, 4.0)]
    return market, jobs


def _pool() -> Pool:
    return Pool(
        name="cpu",
        spot=True,
        spot_max_price=Decimal("0.06"),
        types=(facts(NAME, 1),),
        max_instances=4,
        max_idle_agent_period=timedelta(minutes=5),
    )


def _whole() -> World:
    market, jobs = _story()
    world = World(conditions=market, unkindness=replace(Unkindness.none(), pending=BOOT), settings=Settings(), seed=3)
    world.apply(_pool())
    for minute, minutes in jobs:
        body = {"pool": "cpu", "command": command(60 * minutes, 0), "id": f"job-{minute}"}
        world.at(_at(minute), lambda body=body: world.send(body))
    world.run_for(timedelta(hours=1, minutes=50))
    return world


def _backtest() -> Played:
    market, jobs = _story()
    sent = [Job(job_id=f"job-{m}", submitted_at=_at(m), work=timedelta(minutes=minutes)) for m, minutes in jobs]
    play = Play(
        [_pool()],
        {"cpu": sent},
        market,
        zones=ZONES,
        on_demand={},
        begin=START,
        until=_at(91),
        assumptions=Assumptions(boot=BOOT, checkpoint=None),
    )
    (played,) = play.run()
    return played


def _records(world: World) -> list[JobRecord]:
    return list(Ledger(world.table, jobs_kept=timedelta(days=90)).jobs("cpu"))


def test_a_backtest_launches_what_the_whole_control_plane_launches_and_costs_the_same() -> None:
    world, played = _whole(), _backtest()
    whole = sorted((each.at, each.zone) for each in world.market.happenings() if each.what == "launched")
    alone = sorted((each.at, each.zone) for each in played.accounts.launches)
    assert [zone for _, zone in alone] == [zone for _, zone in whole]
    assert all(abs(one - other) <= timedelta(seconds=1) for (one, _), (other, _) in zip(alone, whole, strict=True))

    records = {record.job_id: record for record in _records(world)}
    assert {p.job.job_id: p.interruptions for p in played.progress} == {
        name: record.interruptions for name, record in records.items()
    }
    assert sum(record.interruptions for record in records.values()) >= 2, "the story has trouble in it"
    for progress in played.progress:
        ended = records[progress.job.job_id].finished_at
        assert ended is not None
        assert progress.finished_at is not None
        assert abs(progress.finished_at - ended) <= HANDOVER

    bills = cost_store.bills(world.table, ["cpu"], START, world.clock())
    spent = sum((bill.cost_usd or Decimal(0) for bill in bills), Decimal(0))
    assert abs(played.accounts.cost_usd - spent) <= spent * Decimal("0.02")
