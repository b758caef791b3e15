"""Every AWS action that any function calls is refused for asking too often, wherever it is called: the world comes to
rest and the laws hold.

Which calls there are is nobody's list: the scenarios of tests/crash make every call that the source text has
(tests/crash/test_coverage.py holds them to that), and each pair of function and operation among what they make is
played here twice: refused once, and refused for a while.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

import pytest

from lowtide.sim import laws
from lowtide.sim.functions import Function
from lowtide.sim.world import World
from tests.crash import course
from tests.crash.deployed import MINUTE
from tests.crash.scenarios import SCENARIOS
from tests.races.faults import Throttle

A_WHILE = 5 * MINUTE
AS_LONG_AS_LAW_5_ALLOWS: Mapping[tuple[Function, str], timedelta] = {
    (Function.TICK, "ec2.terminate_instances"): 3 * MINUTE,
}
"""An instance whose pool nobody knows is to be ended within three ticks, which EC2 has to let happen."""
AT_ONCE = 2
"""Refusals for a while, where whoever calls a function does so again at once, so that no time passes."""
GIVE_UP = frozenset({"daily facts", "dry run", "create stack", "delete stack"})
"""Acts that end without what they were for when a call was refused too often. They are made again later, as EventBridge
or a person does."""
ASK_AT_ONCE = GIVE_UP | {"credentials", "job credentials", "unnamed lease", "job events", "lasting shortage"}


@dataclass(frozen=True)
class Play:
    function: Function
    operation: str
    scenario: str
    lasting: bool

    def __str__(self) -> str:
        return f"{self.operation} of {self.function} {'for a while' if self.lasting else 'once'} in {self.scenario}"


@cache
def plays() -> tuple[Play, ...]:
    """Two for each function and operation, where there is a choice in the scenario that has been chosen least so far:
    so that together they use all of them."""
    made: dict[tuple[Function, str], list[str]] = {}
    for scenario in SCENARIOS:
        for call in dict.fromkeys(course.act(scenario)[2].made):
            made.setdefault(call, []).append(scenario)
    chosen, found = Counter[str](), list[Play]()
    for (function, operation), scenarios in sorted(made.items(), key=lambda each: len(each[1])):
        for lasting in (False, True):
            scenario = min(scenarios, key=lambda name: chosen[name])
            chosen[scenario] += 1
            found.append(Play(function, operation, scenario, lasting))
    return tuple(found)


@pytest.mark.parametrize("function", Function)
def test_a_throttled_call_of_any_function_breaks_no_law(function: Function) -> None:
    mine = [play for play in plays() if play.function is function]
    assert mine
    assert [failure for play in mine for failure in _failures(play)] == []


def test_every_scenario_is_played_with_something_throttled() -> None:
    assert {play.scenario for play in plays()} == SCENARIOS.keys()


def _failures(play: Play) -> Iterator[str]:
    chosen = SCENARIOS[play.scenario]
    world = chosen.prepare()
    audit = laws.Audit(world)
    world.hook = throttle = _throttle(play, world)
    if play.scenario in GIVE_UP:
        with contextlib.suppress(AssertionError):
            chosen.act(world)
        world.hook = None
    chosen.act(world)
    world.held.clear()
    chosen.afterwards(world)
    if not throttle.refused:
        yield f"{play}: was never refused"
    yield from (f"{play}: {violation}" for violation in course.violations(play.scenario, world, audit))


def _throttle(play: Play, world: World) -> Throttle:
    lasts = AS_LONG_AS_LAW_5_ALLOWS.get((play.function, play.operation), A_WHILE)
    longest = AT_ONCE if play.scenario in ASK_AT_ONCE else None
    return Throttle(
        operation=play.operation,
        until=world.clock() + lasts,
        world=world,
        function=play.function,
        most=longest if play.lasting else 1,
        beside=(faults := SCENARIOS[play.scenario].faults) and faults(),
    )
