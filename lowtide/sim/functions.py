"""The deployed functions in a virtual world: the handlers' own assembly on in-memory clients, one process each.

A function keeps its process from one invocation to the next, as Lambda does, and an invocation in the middle of another
has a process of its own; a killed one is gone with all it remembered, and the next invocation starts anew.
"""

import contextlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from random import Random
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from lambdas import names
from lambdas.adapters.faults import Fault
from lambdas.control.teardown import Request, Result, respond
from lambdas.domain.settings import Settings
from lambdas.handlers import catalogue, intake, job_events, news, notices, reconcile, teardown, tick, worker_api
from lambdas.handlers.environment import Environment
from lowtide.sim.calls import Killed, SimClient
from lowtide.sim.clock import VirtualClock
from lowtide.sim.dynamodb import FakeDynamoDB
from lowtide.sim.ec2 import FakeEC2, FakeSSM
from lowtide.sim.events import FakeEvents
from lowtide.sim.pricing import FakePricing
from lowtide.sim.quotas import FakeServiceQuotas
from lowtide.sim.s3 import FakeS3
from lowtide.sim.sns import FakeSNS
from lowtide.sim.sqs import FakeSQS
from lowtide.sim.sts import FakeSTS

ACCOUNT = "000000000000"
ROLE = "LowtideWorker"
JOB_ROLE = f"arn:aws:iam::{ACCOUNT}:role/jobs"
"""What a pool's `job_role_arn` may name."""
TABLE = "lowtide"
BUCKET = "bucket"
ON_DEMAND_TEMPLATE = "lt-on-demand"
SPOT_TEMPLATE = "lt-spot"


class Function(StrEnum):
    INTAKE = "intake"
    TICK = "tick"
    RECONCILE = "reconcile"
    NEWS = "news"
    WORKER_API = "worker_api"
    CATALOGUE = "catalogue"
    JOB_EVENTS = "job_events"
    NOTICES = "notices"
    TEARDOWN = "teardown"


TIMEOUTS: Mapping[Function, timedelta] = {
    Function.INTAKE: timedelta(seconds=30),
    Function.TICK: timedelta(seconds=55),
    Function.RECONCILE: timedelta(seconds=60),
    Function.NEWS: timedelta(seconds=30),
    Function.WORKER_API: timedelta(seconds=20),
    Function.CATALOGUE: timedelta(minutes=5),
    Function.JOB_EVENTS: timedelta(seconds=30),
    Function.NOTICES: timedelta(seconds=30),
    Function.TEARDOWN: timedelta(minutes=15),
}
"""As the stack deploys them (tests/crash/test_world.py holds them to infra/)."""


class Crashed(Exception):
    """The invocation ended without an answer: killed, or an exception left the function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """The clients that every function is given, and where things are."""

    clock: VirtualClock
    now: Callable[[], datetime]
    """What the functions take for the time."""
    dynamodb: FakeDynamoDB
    sqs: FakeSQS
    ec2: FakeEC2
    ssm: FakeSSM
    pricing: FakePricing
    quotas: FakeServiceQuotas
    events: FakeEvents
    sns: FakeSNS
    sts: FakeSTS
    s3: FakeS3
    settings: Settings
    stack: str
    region: str
    subnets: Mapping[str, str]
    """Subnet id by zone."""
    job_queue: str
    """Its poller asks for it, no function does."""
    reconcile_queue: str
    parked_queue: str

    def clients(self) -> tuple[SimClient, ...]:
        asked = (self.dynamodb, self.sqs, self.ec2, self.ssm, self.pricing, self.quotas, self.events, self.sns)
        return (*asked, self.sts, self.s3)

    def variables(self) -> dict[str, str]:
        return {
            "AWS_REGION": self.region,
            names.ENV_STACK: self.stack,
            names.ENV_TABLE: TABLE,
            names.ENV_RECONCILE_QUEUE: self.reconcile_queue,
            names.ENV_PARKED_QUEUE: self.parked_queue,
            names.ENV_LAUNCH_TEMPLATE: ON_DEMAND_TEMPLATE,
            names.ENV_LAUNCH_TEMPLATE_VERSION: "1",
            names.ENV_SPOT_LAUNCH_TEMPLATE: SPOT_TEMPLATE,
            names.ENV_SPOT_LAUNCH_TEMPLATE_VERSION: "1",
            names.ENV_SUBNETS: json.dumps(dict(self.subnets)),
            names.ENV_SETTINGS: self.settings.to_json(),
            names.ENV_WORKER_ROLES: json.dumps([ROLE]),
            names.ENV_DATA_ROLE: f"arn:aws:iam::{ACCOUNT}:role/Data",
            names.ENV_JOB_ROLES: json.dumps([JOB_ROLE]),
            names.ENV_BUCKET: BUCKET,
            names.ENV_WORKER_LOGS: "worker-logs",
            names.ENV_ALARM_TOPIC: f"arn:aws:sns:{self.region}:{ACCOUNT}:alarms",
        }


class SimEnvironment(Environment):
    """One process's environment. What it is given beforehand it never makes."""

    def __init__(self, cloud: Cloud, chance: Random, pause: Callable[[float], None]) -> None:
        super().__init__(cloud.variables())
        self._cloud = cloud
        self._chance = chance
        self._pause = pause
        # cached properties: what is in the instance's dictionary is what they answer
        vars(self).update(
            **{"dynamodb": cloud.dynamodb, "sqs": cloud.sqs, "ec2": cloud.ec2, "launching_ec2": cloud.ec2},
            **{"ssm": cloud.ssm, "sts": cloud.sts, "s3": cloud.s3, "random": chance, "pricing": cloud.pricing},
            **{"events": cloud.events, "sns": cloud.sns},
        )

    def now(self) -> datetime:
        return self._cloud.now()

    def pause(self, seconds: float) -> None:
        self._pause(seconds)

    def service_quotas(self) -> FakeServiceQuotas:
        return self._cloud.quotas

    def new_id(self) -> str:
        return f"{self._chance.getrandbits(128):032x}"


class Context:
    """Lambda's context object, as far as handlers look at it."""

    invoked_function_arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:sim"

    def __init__(self, now: Callable[[], datetime], timeout: timedelta) -> None:
        self._now = now
        self._ends_at = now() + timeout

    def get_remaining_time_in_millis(self) -> int:
        return int((self._ends_at - self._now()) / timedelta(milliseconds=1))


class Watcher(Protocol):
    """Told around every invocation."""

    def began(self, function: Function, event: Any) -> None: ...

    def ended(self, function: Function, *, crashed: bool) -> None: ...


Serve = Callable[[Any, Any], Any]
"""From an event and a context to an answer."""


class Functions:
    def __init__(self, cloud: Cloud, chance: Random, pause: Callable[[float], None], watcher: Watcher) -> None:
        """`pause` is what a function's waiting does to the world."""
        self._cloud = cloud
        self._chance = chance
        self._pause = pause
        self._watcher = watcher
        self._processes: dict[Function, Serve] = {}
        self.errors: list[str] = []
        """What left a function and was no fault of AWS's."""

    def invoke(self, function: Function, event: Any) -> Any:
        """The function's answer. Raises Crashed."""
        serve = self._processes.pop(function, None) or self.started(function)
        context = Context(self._cloud.clock, TIMEOUTS[function])
        crashed = True
        self._watcher.began(function, event)
        try:
            with contextlib.redirect_stdout(_UNREAD):
                answer = serve(event, context)
            crashed = False
        except Killed as killed:
            raise Crashed(str(killed)) from killed
        except Exception as error:
            self._processes[function] = serve
            if not isinstance(error, Fault | ClientError | BotoCoreError):
                self.errors.append(f"{function}: {type(error).__name__}: {error}")
            raise Crashed(f"{type(error).__name__}: {error}") from error
        finally:
            self._watcher.ended(function, crashed=crashed)
        self._processes[function] = serve
        return answer

    def started(self, function: Function) -> Serve:
        """A new process of the function. Nothing is served by it but what its caller gives it."""
        given = SimEnvironment(self._cloud, Random(self._chance.getrandbits(64)), self._pause)  # noqa: S311
        match function:
            case Function.INTAKE:
                taking = intake.intake(given)
                return lambda event, _: intake.serve(taking, event)
            case Function.TICK:
                return partial(tick.serve, tick.works(given))
            case Function.RECONCILE:
                return partial(reconcile.serve, reconcile.works(given))
            case Function.NEWS:
                room = news.newsroom(given)
                return lambda event, _: news.serve(room, event)
            case Function.WORKER_API:
                return partial(worker_api.serve, worker_api.worker_http(given))
            case Function.CATALOGUE:
                return partial(catalogue.serve, catalogue.refresher(given))
            case Function.JOB_EVENTS:
                return partial(job_events.serve, job_events.teller(given))
            case Function.NOTICES:
                return partial(notices.serve, notices.notifier(given))
            case Function.TEARDOWN:
                return partial(_respond, teardown.closing(given))


def _respond(closing: Any, event: Mapping[str, Any], context: Context) -> Result:
    """The teardown function without its answer over HTTP, which CloudFormation waits for."""
    return respond(closing, Request.of(event), lambda: timedelta(milliseconds=context.get_remaining_time_in_millis()))


class _Unread(io.TextIOBase):
    """Where functions log to: nobody reads it."""

    def write(self, text: str, /) -> int:
        return len(text)


_UNREAD = _Unread()
