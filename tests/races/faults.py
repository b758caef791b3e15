"""Hooks that make AWS's answers fail, and the course of a whole deployment that they strike."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lowtide.sim import laws
from lowtide.sim.calls import Hook, Request, Response, aws_error
from lowtide.sim.functions import Function
from lowtide.sim.hosts import command
from lowtide.sim.world import World
from tests.crash import deployed
from tests.crash.deployed import CPU, MINUTE, SECOND, cpu

THROTTLED: Mapping[str, tuple[str, int]] = {
    "dynamodb": ("ThrottlingException", 400),
    "ec2": ("RequestLimitExceeded", 503),
    "events": ("ThrottlingException", 400),
    "pricing": ("ThrottlingException", 400),
    "s3": ("SlowDown", 503),
    "service-quotas": ("TooManyRequestsException", 429),
    "sqs": ("RequestThrottled", 403),
    "ssm": ("ThrottlingException", 400),
    "sts": ("Throttling", 400),
}
"""How each service says that it was asked too often: code and HTTP status."""


@dataclass
class Seen:
    """Every operation that functions call."""

    operations: set[str] = field(default_factory=set[str])

    def before(self, operation: str, request: Request) -> None:
        self.operations.add(operation)

    def after(self, operation: str, request: Request, response: Response) -> None: ...


@dataclass
class Throttle:
    """One operation, of every function or of one, is refused for asking too often: until an instant, and at most so
    many times."""

    operation: str
    until: datetime
    world: World
    function: Function | None = None
    most: int | None = None
    beside: Hook | None = None
    """A scenario's own trouble, which the calls that are not refused meet."""
    refused: int = 0

    def before(self, operation: str, request: Request) -> None:
        if self._refuses(operation):
            self.refused += 1
            code, status = THROTTLED[operation.split(".")[0]]
            raise aws_error(operation, code, "Rate exceeded", status=status)
        if self.beside is not None:
            self.beside.before(operation, request)

    def _refuses(self, operation: str) -> bool:
        return (
            operation == self.operation
            and self.function in (None, self.world.current)
            and self.world.clock() < self.until
            and (self.most is None or self.refused < self.most)
        )

    def after(self, operation: str, request: Request, response: Response) -> None: ...


@dataclass
class FailCall:
    """One call of the table answers with an error, before its effect or after; the function goes on."""

    call: int
    lost: bool
    seen: int = 0

    def before(self, operation: str, request: Request) -> None:
        if operation.startswith("dynamodb."):
            self.seen += 1
            if self.seen == self.call and not self.lost:
                raise _unwell(operation)

    def after(self, operation: str, request: Request, response: Response) -> None:
        if operation.startswith("dynamodb.") and self.seen == self.call and self.lost:
            self.seen += 1
            raise _unwell(operation)


def _unwell(operation: str) -> Exception:
    return aws_error(operation, "InternalServerError", "Internal server error", status=500)


def busy_world() -> World:
    """Two pools; jobs, one of which fails once, and an interruption in the middle of it all."""
    made = deployed.world(cpu(max_instances=3))
    deployed.send(made, 5, seconds=90)
    deployed.send(made, exit_code=1, seconds=20, max_attempts=2)
    made.send({"pool": "other", "command": command(20)})
    made.send("no job")
    return made


def interrupt(world: World) -> None:
    for zone in "abc":
        world.market.set_capacity(CPU, f"us-east-1{zone}", 0, world.clock())
    world.run_for(30 * SECOND)
    world.market.release(world.clock())


def played(world: World) -> tuple[laws.Audit, bool]:
    """The whole course, and whether it came to rest within an hour and a half."""
    audit = laws.Audit(world)
    world.run_for(4 * MINUTE)
    interrupt(world)
    world.run_for(3 * MINUTE)
    return audit, world.settle(timedelta(minutes=90))


def broken(world: World, audit: laws.Audit, *, quiet: bool) -> list[str]:
    """Every law that was broken."""
    found = [*audit.violations, *laws.standing(world), *(laws.at_rest(world) if quiet else ())]
    return ([] if quiet else ["law 7: not quiet in time"]) + [str(each) for each in found]
