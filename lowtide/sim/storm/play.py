"""The course of a story: played step by step, held against the laws all the way, and brought to rest at its end."""

import logging
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from random import Random

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.adapters.faults import Fault
from lambdas.domain.settings import Settings
from lowtide.market.unkindness import Unkindness
from lowtide.sim import laws
from lowtide.sim.clock import START
from lowtide.sim.hosts import command
from lowtide.sim.storm import story
from lowtide.sim.storm.calm import calm
from lowtide.sim.storm.conditions import Held
from lowtide.sim.storm.incidents import APART, EVERY, KINDS
from lowtide.sim.storm.owners import UNREADABLE
from lowtide.sim.storm.pools import TYPES, pool
from lowtide.sim.storm.stage import MINUTE, Stage
from lowtide.sim.storm.story import Story
from lowtide.sim.storm.strikes import Strikes
from lowtide.sim.storm.users import arrive
from lowtide.sim.world import World

SETTLES_WITHIN = timedelta(hours=3)
"""Law 7's bound here: the longest cool-downs and leases of what the storm left, one after the other."""
APART_WAITS = timedelta(minutes=6)
"""Law 8's bound: a boot four standard deviations above the median takes 4 min 20 s, and a minute passes until somebody
looks. A pass of another pool that is killed hides its message for 6 min, which must be added to none of it."""
APART_EVERY = timedelta(minutes=4)
"""How often pool `other` gets a job in a story for law 8."""


_ITS_OWN_TROUBLE = ("pass failed", "worker")
"""What may end with an unreadable record: passes of the pool, and the calls of its workers. Nothing that serves all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    violations: tuple[str, ...]
    calls: int
    """AWS calls of functions among which faults were drawn."""
    struck: dict[str, int]
    """Faults that met something, by kind."""
    jobs: int


def told(seed: int) -> Story:
    """A seed's story."""
    return story.story(seed, tuple(KINDS), tuple(APART))


def played(told: Story) -> Outcome:
    """The course of a story, held against the laws all the way, and at its end once faults have stopped. What goes
    wrong in the playing itself is a finding too."""
    try:
        return _played(told)
    except Exception as error:  # whatever it is: the other stories are played all the same, and this one is told
        return Outcome(violations=(f"the story came to no end: {error!r}",), calls=0, struck={}, jobs=0)


def _played(told: Story) -> Outcome:
    with _errors() as errors:
        stage, audit = _begun(told)
        world = stage.world
        world.run_for(told.lasts)
        standing = laws.standing(world)
        calm(stage)
        quiet = world.settle(SETTLES_WITHIN)
        found = [*audit.violations, *standing, *(laws.at_rest(world) if quiet else laws.standing(world))]
    late = [] if quiet else [laws.Violation(law=7, evidence=f"not at rest {SETTLES_WITHIN} after the storm")]
    if told.apart:
        late += laws.waited_at_most(world, "other", APART_WAITS)
    unforeseen = [
        f"an error that no fault explains: {each}"
        for each in [*errors, *world.functions.errors]
        if not (stage.repairs and each.startswith(_ITS_OWN_TROUBLE) and each.endswith(UNREADABLE))
    ]
    return Outcome(
        violations=tuple(dict.fromkeys([*map(str, [*late, *found]), *unforeseen])),
        calls=stage.strikes.calls,
        struck=dict(stage.strikes.by_kind + Counter(each.kind for each in told.incidents)),
        jobs=len(world.sent),
    )


def _begun(told: Story) -> tuple[Stage, laws.Audit]:
    """A deployment with its pools, and everything of the story on its agenda."""
    chance, conditions = Random(f"weather/{told.seed}"), Held()  # noqa: S311 - a simulation, no secret
    settings = _settings(chance.randrange(2), silent=told.silent)
    world = World(conditions=conditions, unkindness=_weather(chance, told), settings=settings, seed=told.seed)
    for name in TYPES:
        world.apply(pool(name))
    world.dynamodb.index_delay = timedelta(seconds=chance.choice((0, 0, 2)))
    world.dynamodb.page_bytes = chance.choice((world.dynamodb.page_bytes, 4_000))
    world.ec2.page = chance.choice((world.ec2.page, 2))
    audit, strikes = laws.Audit(world), Strikes(world, told)
    world.hook, world.fate = strikes, strikes.fate
    stage = Stage(world=world, conditions=conditions, strikes=strikes, seen=audit.ledger)
    for each in told.incidents:
        world.at(START + timedelta(seconds=each.second), partial(EVERY[each.kind], stage, each))
    for each in told.arrivals:
        world.at(START + timedelta(seconds=each.second), partial(arrive, stage, each))
    for minute in range(1, told.lasts // timedelta(minutes=1)):
        world.at(START + timedelta(minutes=minute, seconds=30), audit.look)
    if told.apart:
        for number in range(told.lasts // APART_EVERY):
            job = {"pool": "other", "command": command(20)}
            world.at(START + number * APART_EVERY, partial(world.send, job))
    return stage, audit


def _settings(number: int, *, silent: bool = False) -> Settings:
    """The product's own, save that idle workers begin to ask less often; or with workers that also power off sooner,
    since the storm is short, and soonest in a story for law 11."""
    seldom = Settings(poll_first=timedelta(seconds=8))
    if silent:
        return replace(seldom, idle_power_off=2 * MINUTE, running_power_off=3 * MINUTE)
    return replace(seldom, idle_power_off=3 * MINUTE, running_power_off=5 * MINUTE) if number else seldom


def _weather(chance: Random, told: Story) -> Unkindness:
    """How unkind EC2 is. In a story for law 8 every instance boots: who waits for a second one waits for EC2."""
    kind = replace(
        Unkindness(),
        boot_failure=chance.choice((0.0, 0.1)),
        unwarned=chance.choice((0.05, 0.5)),
        late=chance.choice((0.1, 0.4)),
        doubled=0.3,
        strangers=timedelta(minutes=chance.choice((2, 20))),
        rebalance_alone=timedelta(hours=chance.choice((1, 6))),
    )
    return replace(kind, boot_failure=0.0, rebalance_alone=timedelta.max) if told.apart else kind


class _Errors(logging.Handler):
    """Errors that functions logged and caught; AWS's own faults are none."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, Fault | ClientError | BotoCoreError):
            self.found.append(f"{record.getMessage()}: {type(error).__name__}: {error}")


@contextmanager
def _errors() -> Generator[list[str]]:
    """Collects what functions log as errors; their other lines go nowhere meanwhile."""
    log, handler = logging.getLogger("lambdas"), _Errors()
    level, propagate = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.ERROR)
    log.propagate = False
    try:
        yield handler.found
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate
