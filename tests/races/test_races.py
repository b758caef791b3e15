"""Passes that race, passes that stall, and pools that all want instances at once: the laws hold all the same."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from lambdas.domain.pools.pools import Pool
from lowtide.sim import laws
from lowtide.sim.calls import Request, Response
from lowtide.sim.functions import TIMEOUTS, Context, Function
from lowtide.sim.hosts import command
from lowtide.sim.world import World
from tests.crash import course, deployed
from tests.crash.deployed import MINUTE, OTHER, SECOND, cpu, facts
from tests.crash.scenarios import SCENARIOS
from tests.races.faults import broken, busy_world
from tests.races.interleaving import Race, message

RACES = ("launch", "own template", "partial refusal", "lost answer", "closing", "starved", "deleted pool")
"""Scenarios whose act is the passes that a prepared world waits for."""
STALLS = ("launch", "own template", "lost answer", "closing")
"""Of these, the ones in which a call that comes late could launch too much, or close what is still to come."""


@pytest.mark.parametrize("scenario", [*RACES, "scale-in"])
def test_sixteen_reconciles_of_one_pool_at_once_break_no_law(scenario: str) -> None:
    """The queue is first in, first out and hands a pool to one pass at a time; here it does not."""
    for seed in range(2):
        chosen = SCENARIOS[scenario]
        world = chosen.prepare()
        if scenario == "scale-in":
            world.run_for(20 * SECOND)
        audit = laws.Audit(world)
        race = Race(world, passes=16, seed=seed)
        race.run()
        assert len(set(race.turns)) == 16
        assert race.turns != sorted(race.turns), "they took turns"
        world.held.clear()
        chosen.afterwards(world)
        assert [f"seed {seed}: {each}" for each in course.violations(scenario, world, audit)] == []


class Stall:
    """One call of a pass comes half a minute late: meanwhile its successor has the whole pool for itself."""

    def __init__(self, world: World, call: int) -> None:
        self._world = world
        self._call = call
        self.seen = 0

    def before(self, operation: str, request: Request) -> None:
        if self._world.current is not Function.RECONCILE:
            return
        self.seen += 1
        if self.seen == self._call:
            self._succeed()

    def after(self, operation: str, request: Request, response: Response) -> None: ...

    def _succeed(self) -> None:
        """The world goes on, and its queue gives the pool to another process although the first has not answered."""
        world = self._world
        world.hook, world.current = None, None
        successor = world.functions.started(Function.RECONCILE)
        world.began(Function.RECONCILE)
        successor(message("cpu", "successor"), Context(world.clock, TIMEOUTS[Function.RECONCILE]))
        world.ended(Function.RECONCILE, crashed=False)
        world.run_for(30 * SECOND)
        world.hook, world.current = self, Function.RECONCILE


@pytest.mark.parametrize("scenario", STALLS)
def test_a_pass_that_stalls_before_any_of_its_calls_and_wakes_after_its_successor_breaks_no_law(scenario: str) -> None:
    failures: list[str] = []
    call = 0
    while True:
        call += 1
        chosen = SCENARIOS[scenario]
        world = chosen.prepare()
        audit = laws.Audit(world)
        world.hook = stall = Stall(world, call)
        chosen.act(world)
        world.hook = None
        if stall.seen < call:
            break
        world.held.clear()
        chosen.afterwards(world)
        failures += [f"call {call}: {each}" for each in course.violations(scenario, world, audit)]
    assert call > 5, "the pass makes calls"
    assert failures == []


class Fleets:
    """When EC2 was asked for instances, and by which of the pools."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.first: dict[str, datetime] = {}

    def before(self, operation: str, request: Request) -> None:
        if operation == "ec2.create_fleet":
            tags = {each["Key"]: each["Value"] for each in request["TagSpecifications"][0]["Tags"]}
            self.first.setdefault(tags["lowtide:pool"], self._world.clock())

    def after(self, operation: str, request: Request, response: Response) -> None: ...


def test_two_hundred_pools_that_want_instances_in_the_same_minute_have_them_at_the_accounts_rate() -> None:
    """Burst 5, 2 a second: the 200th call cannot come before 97.5 s, and EC2 refuses whoever asks faster."""
    world = deployed.world(cpu(), bucket=5.0, bucket_refill_per_second=2.0)
    names = [f"p{number:03d}" for number in range(200)]
    for name in names:
        world.apply(Pool(name=name, types=(facts(OTHER, 1),), max_instances=1, max_idle_agent_period=MINUTE))
    assert world.settle(5 * MINUTE)
    audit = laws.Audit(world)
    world.hook = fleets = Fleets(world)
    start = world.clock()
    for name in names:
        world.send({"pool": name, "command": command(20)})
    world.held.add(Function.WORKER_API)
    assert world.run(lambda: fleets.first.keys() == set(names), 5 * MINUTE)
    assert 97 <= (world.clock() - start).total_seconds() <= 100
    assert [*map(str, audit.violations), *map(str, laws.standing(world))] == []
    assert all(len(world.alive(name)) == 1 for name in names)


def test_a_pool_that_is_changed_rolled_back_paused_and_resumed_in_mid_course_loses_no_job() -> None:
    """Each change while instances boot, jobs run and jobs wait."""
    world = busy_world()
    audit = laws.Audit(world)
    first = world.config.pool("cpu")
    assert first is not None
    changes: tuple[dict[str, Any], ...] = (
        {"types": (facts(OTHER, 1),)},
        {"types": first.types},
        {"paused": True},
        {"paused": False, "max_instances": 1},
        {"max_instances": first.max_instances},
    )
    for each in changes:
        world.run_for(70 * SECOND)
        stored = world.config.pool("cpu")
        assert stored is not None
        world.apply(replace(stored, **each))
        deployed.send(world, seconds=30)
    quiet = world.settle(timedelta(minutes=90))
    assert broken(world, audit, quiet=quiet) == []
    ended = deployed.jobs(world, "succeeded"), deployed.jobs(world, "failed")
    assert ended == (len(world.sent) - 2, 1), "one message is no job, and one job fails each time"
