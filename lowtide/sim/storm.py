"""A seeded storm over a whole simulated deployment: users, market and faults, drawn before it begins.

A story is a list of incidents, each at its second, and of faults, each at its number among the functions' AWS calls.
The same story gives the same course, also with parts of it left out: that is how a failing one is made short.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

from lambdas.domain.pools import OnDemandFallback, Pool, TypeFacts
from lambdas.domain.settings import Settings
from lowtide.market import catalogue
from lowtide.market.unkindness import Unkindness
from lowtide.sim import laws
from lowtide.sim.calls import Killed, Request, Response, aws_error
from lowtide.sim.clock import START
from lowtide.sim.conditions import Held
from lowtide.sim.functions import Function
from lowtide.sim.hosts import command
from lowtide.sim.world import World

TYPES = {"cpu": ("m7g.large", 2), "other": ("c7g.large", 1)}
"""Instance type and slots of each pool."""
LASTS = timedelta(minutes=25)
"""The storm; then faults stop."""
SETTLES_WITHIN = timedelta(hours=3)
"""Law 7's bound here: the longest cool-downs and leases of what the storm left, one after the other."""
FAULT_EVERY = 60
"""One of so many AWS calls of the functions fails, in the mean."""
CALLS_STRUCK = 3_000
"""Calls among which faults are drawn; a storm makes some thousand."""
FAULTS = ("killed before", "killed after", "throttled", "failed", "answer lost")
_UNWELL = {"dynamodb": "InternalServerError", "sqs": "InternalFailure", "ec2": "InternalError"}
_BUSY = {"dynamodb": "ThrottlingException", "sqs": "RequestThrottled", "ec2": "RequestLimitExceeded"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Something that a person, the market or bad luck does."""

    second: int
    kind: str
    pool: str
    number: int
    """What the kind makes of it: a count, a length, a place."""

    def __str__(self) -> str:
        return f"{self.second:5d} s  {self.kind} ({self.pool}, {self.number})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    seed: int
    incidents: tuple[Incident, ...]
    faults: tuple[tuple[int, str], ...]
    """(number of the functions' call from 1, one of FAULTS)."""

    def __str__(self) -> str:
        lines = [*map(str, self.incidents), *(f"call {number}: {fault}" for number, fault in self.faults)]
        return "\n".join(lines) or "nothing happens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    violations: tuple[str, ...]
    calls: int
    """AWS calls that functions made while the storm lasted."""
    struck: int
    """Faults that met a call."""
    jobs: int


def story(seed: int) -> Story:
    """Drawn from the seed alone."""
    chance = Random(f"storm/{seed}")  # noqa: S311 - a simulation, no secret
    seconds = int(LASTS.total_seconds())
    kinds = [*(["job"] * 6), "jobs", *_KINDS]
    incidents = [
        Incident(
            second=chance.randrange(seconds),
            kind=chance.choice(kinds),
            pool=chance.choice(("cpu", "cpu", "other")),
            number=chance.randrange(1, 5),
        )
        for _ in range(chance.randrange(10, 30))
    ]
    struck = sorted(chance.sample(range(1, CALLS_STRUCK), CALLS_STRUCK // FAULT_EVERY))
    return Story(
        seed=seed,
        incidents=tuple(sorted(incidents, key=lambda each: each.second)),
        faults=tuple((number, chance.choice(FAULTS)) for number in struck),
    )


def played(told: Story) -> Outcome:
    """The course of a story, held against the laws all the way, and at its end once faults have stopped."""
    conditions = Held()
    world = World(conditions=conditions, unkindness=_weather(told.seed), settings=Settings(), seed=told.seed)
    for name in TYPES:
        world.apply(_pool(name))
    audit = laws.Audit(world)
    strikes = world.hook = _Strikes(dict(told.faults))
    for each in told.incidents:
        world.at(START + timedelta(seconds=each.second), _act(world, conditions, each))
    world.run_for(LASTS)
    standing = laws.standing(world)
    _calm(world, conditions)
    quiet = world.settle(SETTLES_WITHIN)
    found = [*audit.violations, *standing, *(laws.at_rest(world) if quiet else laws.standing(world))]
    late = [] if quiet else [laws.Violation(law=7, evidence=f"not at rest {SETTLES_WITHIN} after the storm")]
    return Outcome(
        violations=tuple(dict.fromkeys(map(str, [*late, *found]))),
        calls=strikes.seen,
        struck=strikes.struck,
        jobs=len(world.sent),
    )


def shortened(told: Story, breaks: Callable[[Story], bool]) -> Story:
    """As little of the story as still breaks a law: halves, quarters and so on are left out while that is so."""
    for name in ("faults", "incidents"):
        part = max(1, len(getattr(told, name)) // 2)
        while part:
            start = 0
            while start < len(parts := getattr(told, name)):
                shorter = replace(told, **{name: (*parts[:start], *parts[start + part :])})
                if breaks(shorter):
                    told = shorter
                else:
                    start += part
            part //= 2
    return told


# --- what happens -----------------------------------------------------------------------------------------------------


def _weather(seed: int) -> Unkindness:
    chance = Random(f"weather/{seed}")  # noqa: S311 - a simulation, no secret
    return replace(
        Unkindness(), boot_failure=chance.choice((0.0, 0.1)), unwarned=chance.choice((0.05, 0.5)), doubled=0.3
    )


def _pool(name: str, **changes: Any) -> Pool:
    instance_type, slots = TYPES[name]
    known = catalogue.facts(instance_type)
    if known is None:
        raise LookupError(instance_type)
    facts = TypeFacts(
        name=instance_type,
        vcpus=known.vcpus,
        memory_mib=known.memory_mib,
        gpus=known.gpus,
        architecture=known.architectures[0],
        on_demand_price=catalogue.on_demand_price(instance_type),
        slots=slots,
    )
    given: dict[str, Any] = {
        **{"spot": True, "spot_max_price": Decimal("0.06"), "types": (facts,), "max_instances": 3},
        **{"max_idle_agent_period": timedelta(minutes=3), "max_agent_starting_period": timedelta(minutes=8)},
        "starvation_after": timedelta(minutes=4),
    }
    return Pool(name=name, **{**given, **changes})


def _act(world: World, conditions: Held, told: Incident) -> Callable[[], object]:
    return lambda: _KINDS.get(told.kind, _job)(world, conditions, told)


def _job(world: World, _: Held, told: Incident) -> None:
    count = told.number if told.kind == "jobs" else 1
    part: dict[str, Any] = {"slots": 2 if told.number == 4 and told.pool == "cpu" else 1}
    if told.number == 2:
        part = {"resources": {"vcpus": 0.3, "memory_mib": 700 if told.kind == "jobs" else 1500}}
    body = {"pool": told.pool, "command": command(30.0 * told.number, int(told.number == 3)), **part}
    for _number in range(count):
        world.send({**body, "max_attempts": told.number})


def _no_job(world: World, _: Held, told: Incident) -> None:
    world.send(("{", {"pool": "nowhere", "command": "true"}, {"pool": told.pool, "command": []}, "[]")[told.number - 1])


def _twice(world: World, _: Held, told: Incident) -> None:
    for _number in range(2):
        world.send({"pool": told.pool, "command": command(20), "id": f"twice-{told.second}"})


def _changed(world: World, _: Held, told: Incident) -> None:
    changes: tuple[dict[str, Any], ...] = (
        {"max_instances": 1},
        {"paused": True},
        {"min_instances": 1},
        {"on_demand_fallback": OnDemandFallback(after=timedelta(minutes=2), return_after=timedelta(minutes=5))},
    )
    world.apply(_pool(told.pool, **changes[told.number - 1]))


def _restored(world: World, _: Held, told: Incident) -> None:
    world.apply(_pool(told.pool))


def _dry(world: World, _: Held, told: Incident) -> None:
    for zone in "abc"[: told.number]:
        world.market.set_capacity(TYPES[told.pool][0], f"us-east-1{zone}", 0, world.clock())
    world.at(world.clock() + timedelta(minutes=2 * told.number), lambda: world.market.release(world.clock()))


def _dear(world: World, conditions: Held, told: Incident) -> None:
    conditions.factor = Decimal(told.number)
    world.at(world.clock() + timedelta(minutes=told.number), lambda: setattr(conditions, "factor", Decimal(1)))


def _clocks(world: World, _: Held, told: Incident) -> None:
    world.ahead = timedelta(seconds=(-90, -20, 20, 90)[told.number - 1])


def _out(world: World, _: Held, told: Incident) -> None:
    function = (Function.WORKER_API, Function.TICK, Function.RECONCILE, Function.NEWS)[told.number - 1]
    world.held.add(function)
    world.at(world.clock() + timedelta(minutes=told.number + 1), lambda: world.held.discard(function))


def _worker_dies(world: World, _: Held, told: Incident) -> None:
    for host in sorted(world.hosts.values(), key=lambda each: each.instance_id)[: told.number]:
        if host.boots_at is not None and host.boots_at <= world.clock():
            host.restart()


def _ended_by_hand(world: World, _: Held, told: Incident) -> None:
    alive = sorted(each.instance_id for each in world.alive(told.pool))
    for instance_id in alive[: told.number // 2]:
        world.market.shut_down(instance_id, world.clock())


_KINDS: dict[str, Callable[[World, Held, Incident], object]] = {
    "no job": _no_job,
    "one id twice": _twice,
    "pool changed": _changed,
    "pool restored": _restored,
    "zones run dry": _dry,
    "prices rise": _dear,
    "clocks differ": _clocks,
    "function out": _out,
    "worker dies": _worker_dies,
    "ended by hand": _ended_by_hand,
}


def _calm(world: World, conditions: Held) -> None:
    """Faults stop, and there is capacity at a price that the pools pay."""
    world.hook = None
    world.held.clear()
    world.ahead = timedelta(0)
    conditions.factor = Decimal(1)
    world.market.release(world.clock())
    for name in TYPES:
        world.apply(_pool(name))


@dataclass
class _Strikes:
    faults: dict[int, str]
    seen: int = 0
    struck: int = 0
    _after: str | None = field(default=None)

    def before(self, operation: str, request: Request) -> None:  # noqa: ARG002 - the hook's signature
        self.seen += 1
        fault, self._after = self.faults.get(self.seen), None
        if fault is None:
            return
        self.struck += 1
        match fault:
            case "killed before":
                raise Killed(operation)
            case "throttled":
                raise _error(operation, _BUSY, "ThrottlingException", 400)
            case "failed":
                raise _error(operation, _UNWELL, "InternalError", 500)
            case _:
                self._after = fault

    def after(self, operation: str, request: Request, response: Response) -> None:  # noqa: ARG002 - as above
        fault, self._after = self._after, None
        if fault == "killed after":
            raise Killed(operation)
        if fault == "answer lost":
            raise _error(operation, _UNWELL, "InternalError", 500)


def _error(operation: str, codes: dict[str, str], usual: str, status: int) -> Exception:
    return aws_error(operation, codes.get(operation.split(".")[0], usual), "A fault of the storm.", status=status)


def failures(seeds: Sequence[int]) -> dict[int, Outcome]:
    """The seeds whose stories break a law."""
    outcomes = {seed: played(story(seed)) for seed in seeds}
    return {seed: outcome for seed, outcome in outcomes.items() if outcome.violations}
