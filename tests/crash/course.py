"""One run of a scenario: prepared, played with or without a kill, left to settle, and held against the laws."""

from dataclasses import dataclass, field
from datetime import timedelta

from lowtide.sim import laws
from lowtide.sim.calls import Hook, Killed, Request, Response
from lowtide.sim.functions import Function
from lowtide.sim.hosts import command
from lowtide.sim.world import World
from tests.crash.scenarios import SCENARIOS
from tests.crash.sites import Site, Trace

SETTLED_WITHIN = timedelta(minutes=60)
"""Law 7's bound. A killed pass alone takes twelve minutes, six times its function's timeout, until its message is
delivered again."""
NEIGHBOUR_WAITS = timedelta(minutes=8)
"""Law 8's bound: a job of the other pool, sent when the act is over, has begun. Half of it a killed intake may take
whose batch it shares; boot and describe lag are the rest."""


@dataclass
class Calls:
    """Counts the calls of an act and kills at one of them; passes on to the scenario's own faults."""

    world: World
    kill_at: int | None = None
    after_effect: bool = False
    faults: Hook | None = None
    made: list[tuple[Function, str]] = field(default_factory=list)

    def before(self, operation: str, request: Request) -> None:
        assert self.world.current is not None
        self.made.append((self.world.current, operation))
        if len(self.made) == self.kill_at and not self.after_effect:
            raise Killed(f"before call {self.kill_at}, {operation}")
        if self.faults is not None:
            self.faults.before(operation, request)

    def after(self, operation: str, request: Request, response: Response) -> None:
        if len(self.made) == self.kill_at and self.after_effect:
            raise Killed(f"after call {self.kill_at}, {operation}")


def act(scenario: str, kill_at: int | None = None, *, after_effect: bool = False) -> tuple[World, laws.Audit, Calls]:
    """The world after the act."""
    chosen = SCENARIOS[scenario]
    world = chosen.prepare()
    audit = laws.Audit(world)
    calls = Calls(world, kill_at, after_effect, chosen.faults and chosen.faults())
    world.hook = calls
    chosen.act(world)
    world.hook = None
    world.held.clear()
    chosen.afterwards(world)
    return world, audit, calls


def recorded(scenario: str) -> tuple[list[tuple[Function, str]], set[tuple[Function, Site]]]:
    """The calls of the act, and the sites that ran in it."""
    chosen, ran = SCENARIOS[scenario], set[tuple[Function, Site]]()
    world = chosen.prepare()
    calls = Calls(world, faults=chosen.faults and chosen.faults())
    world.hook = calls
    with Trace(world, ran):
        chosen.act(world)
    return calls.made, ran


def violations(scenario: str, world: World, audit: laws.Audit) -> list[laws.Violation]:
    """Everything that broke a law up to the end, when all is quiet."""
    if not SCENARIOS[scenario].ends:
        ended_by_order = [each for each in audit.violations if each.law != 4]  # an operator's explicit force
        return [*ended_by_order, *_ended(world)]
    world.send({"pool": "other", "command": command(10)})
    quiet = world.settle(SETTLED_WITHIN)
    found = [*audit.violations, *laws.at_rest(world), *laws.waited_at_most(world, "other", NEIGHBOUR_WAITS)]
    return found if quiet else [laws.Violation(law=7, evidence=f"not quiet after {SETTLED_WITHIN}"), *found]


def _ended(world: World) -> list[laws.Violation]:
    """A stack that is deleted has no instance, and launches none any more."""
    world.send({"pool": "cpu", "command": command(10)})
    world.run_for(timedelta(minutes=2))
    return [laws.Violation(law=11, evidence=f"{i.instance_id} lives on") for i in world.alive()]
