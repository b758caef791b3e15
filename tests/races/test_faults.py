"""Throttled actions, a table that fails in mid-pass, clocks that jump, a pool that EC2 refuses in every way."""

from datetime import timedelta

import pytest

from lambdas.adapters import keys
from lambdas.domain.pools.pools import Pool
from lambdas.domain.refusals.refusal_table import RULES
from lambdas.domain.refusals.refusals import rule_for
from lowtide.sim import laws
from lowtide.sim.calls import Request, Response, aws_error
from lowtide.sim.functions import Function
from lowtide.sim.hosts import command
from lowtide.sim.world import World
from tests.crash import deployed
from tests.crash.deployed import CPU, MINUTE, OTHER, cpu, facts
from tests.crash.scenarios import SCENARIOS
from tests.races.faults import FailCall, Seen, Throttle, broken, busy_world, played

UNKNOWN_CODE = "NobodyHasMetThis"


def test_throttling_of_any_action_for_minutes_breaks_no_law() -> None:
    """Each action that any function calls in the course is refused for its first five minutes, one action at a time."""
    world, seen = busy_world(), Seen()
    world.hook = seen
    audit, quiet = played(world)
    assert broken(world, audit, quiet=quiet) == []
    assert {"dynamodb.query", "ec2.create_fleet", "sqs.send_message", "ec2.describe_instances"} <= seen.operations
    failures = [f"{each}: {why}" for each in sorted(seen.operations) for why in _throttled(each)]
    assert failures == []


def _throttled(operation: str) -> list[str]:
    world = busy_world()
    world.hook = throttle = Throttle(operation, world.clock() + 5 * MINUTE, world)
    audit, quiet = played(world)
    struck = [] if throttle.refused else ["was never refused"]
    return [*struck, *broken(world, audit, quiet=quiet)]


@pytest.mark.parametrize("lost", [False, True], ids=["refused", "answer lost"])
@pytest.mark.parametrize("scenario", ["launch", "partial refusal", "interruption", "scale-in", "claim", "finish"])
def test_a_table_call_that_fails_in_mid_pass_breaks_no_law(scenario: str, lost: bool) -> None:
    """Each table call of the scenario's act in turn answers with an error, and the function goes on as it can."""
    failures: list[str] = []
    call = 0
    while True:
        call += 1
        chosen = SCENARIOS[scenario]
        world = chosen.prepare()
        audit = laws.Audit(world)
        world.hook = failing = FailCall(call, lost)
        chosen.act(world)
        world.hook = None
        if failing.seen < call:
            break
        world.held.clear()
        chosen.afterwards(world)
        quiet = world.settle(timedelta(hours=1))
        failures += [f"call {call}: {why}" for why in broken(world, audit, quiet=quiet)]
    assert call > 3, "the act makes calls"
    assert failures == []


@pytest.mark.parametrize("jump", [5, -5], ids=["ahead", "behind"])
def test_clocks_that_jump_by_five_minutes_and_back_break_no_law(jump: int) -> None:
    world = busy_world()
    audit = laws.Audit(world)
    world.run_for(3 * MINUTE)
    world.ahead = jump * MINUTE
    world.run_for(5 * MINUTE)
    world.ahead = timedelta(0)
    quiet = world.settle(timedelta(minutes=90))
    assert broken(world, audit, quiet=quiet) == []


class Jump:
    """The functions' clocks jump between two calls of one pass, and stay wrong."""

    def __init__(self, world: World, call: int, by: timedelta) -> None:
        self._world = world
        self._call = call
        self._by = by
        self.seen = 0

    def before(self, operation: str, request: Request) -> None:
        if self._world.current is Function.RECONCILE:
            self.seen += 1
            if self.seen == self._call:
                self._world.ahead = self._by

    def after(self, operation: str, request: Request, response: Response) -> None: ...


@pytest.mark.parametrize("jump", [5, -5], ids=["ahead", "behind"])
@pytest.mark.parametrize("scenario", ["launch", "lost answer", "closing", "interruption"])
def test_clocks_that_jump_in_mid_pass_break_no_law(scenario: str, jump: int) -> None:
    """Before every third call of the act's passes; they are right again ten minutes later."""
    failures: list[str] = []
    call = 1
    while True:
        chosen = SCENARIOS[scenario]
        world = chosen.prepare()
        audit = laws.Audit(world)
        world.hook = jumping = Jump(world, call, jump * MINUTE)
        chosen.act(world)
        world.hook = None
        if jumping.seen < call:
            break
        world.held.clear()
        chosen.afterwards(world)
        world.run_for(10 * MINUTE)
        world.ahead = timedelta(0)
        quiet = world.settle(timedelta(hours=1))
        failures += [f"call {call}: {why}" for why in broken(world, audit, quiet=quiet)]
        call += 3
    assert call > 3, "the act makes calls"
    assert failures == []


class Refuse:
    """EC2 refuses whatever one pool asks for, with one code."""

    def __init__(self, instance_type: str, code: str) -> None:
        self.instance_type = instance_type
        self.code = code
        self.refused = 0

    def before(self, operation: str, request: Request) -> None:
        if operation != "ec2.create_fleet":
            return
        offered = {each["InstanceType"] for each in request["LaunchTemplateConfigs"][0]["Overrides"]}
        if self.instance_type in offered:
            self.refused += 1
            raise aws_error("CreateFleet", self.code, "You have reached a limit, or asked for what cannot be.")

    def after(self, operation: str, request: Request, response: Response) -> None: ...


def _ways() -> list[str]:
    """One code for each row of meaning in the table of refusals, and one that nobody has met."""
    first: dict[object, str] = {}
    for code in sorted(RULES):
        first.setdefault(RULES[code], code)
    return [*first.values(), UNKNOWN_CODE]


def _ten_pools() -> World:
    """One pool of `CPU` that will be refused, and nine others."""
    made = deployed.world(cpu(max_instances=1))
    for name in WELL[1:]:
        made.apply(Pool(name=name, types=(facts(OTHER, 1),), max_instances=1, max_idle_agent_period=MINUTE))
    assert made.settle(5 * MINUTE)
    return made


WELL = ("other", *(f"well-{number}" for number in range(8)))


@pytest.mark.parametrize("code", _ways())
def test_a_pool_that_is_refused_in_any_way_says_why_and_delays_none_of_nine_others(code: str) -> None:
    """A fault whose effect is not known says nothing yet: its request counts as under way until it is known. Once EC2
    refuses no more and the owner applies the pool again, as the remedies say, everything ends well."""
    world = _ten_pools()
    audit = laws.Audit(world)
    world.hook = refuse = Refuse(CPU, code)
    deployed.send(world, 2)
    for pool in WELL:
        world.send({"pool": pool, "command": command(20)})
    world.run_for(6 * MINUTE)
    assert refuse.refused >= 1
    assert [str(each) for pool in WELL for each in laws.waited_at_most(world, pool, 4 * MINUTE)] == []
    assert _told(world) in ({(rule_for(code).reason_class.value, code)}, _under_way(world))
    world.hook = None
    world.apply(cpu(max_instances=1))
    quiet = world.settle(timedelta(hours=2))
    assert broken(world, audit, quiet=quiet) == []


def _told(world: World) -> set[tuple[str, str]]:
    state = world.table.get(keys.pool("cpu"), keys.STATE)
    assert state is not None
    return {(each["class"], each["code"]) for each in state["reasons"]}


def _under_way(world: World) -> set[tuple[str, str]] | None:
    return {("starting", "InstancesLaunching")} if deployed.intentions(world) else None
