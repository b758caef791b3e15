"""One deployed stack in virtual time: the real functions and workers on in-memory AWS, with the spot market as its EC2.

No thread, no real time: `run` plays whatever is due, in the order of its instants, and the same seed gives the same
course. An invocation takes no time, unless a hook lets the world go on in the middle of it (`meanwhile`). What AWS does
between functions is played here: queues deliver again what was not deleted, asynchronous invocations are tried again,
schedules fire every minute, EC2 makes events.
"""

import contextlib
import heapq
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from random import Random
from typing import Any, Protocol

from lambdas import names
from lambdas.adapters import keys
from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.queues import Doorbell
from lambdas.adapters.table import Item, Table, decode
from lambdas.domain.instants import to_text
from lambdas.domain.pools import Pool
from lambdas.domain.settings import Settings
from lowtide.market.instances import Instance, News, RebalanceAdvised, State, StateChanged, Warned
from lowtide.market.market import Market
from lowtide.market.model import Conditions, Lifecycle
from lowtide.market.unkindness import Unkindness
from lowtide.sim.calls import Hook, Killed, Request, Response
from lowtide.sim.clock import START, VirtualClock
from lowtide.sim.dynamodb import SCHEMA, FakeDynamoDB
from lowtide.sim.ec2 import FakeEC2, FakeSSM
from lowtide.sim.events import FakeEvents
from lowtide.sim.functions import (
    ACCOUNT,
    ON_DEMAND_TEMPLATE,
    ROLE,
    SPOT_TEMPLATE,
    TABLE,
    TIMEOUTS,
    Cloud,
    Crashed,
    Function,
    Functions,
)
from lowtide.sim.hosts import Host
from lowtide.sim.pricing import FakePricing
from lowtide.sim.quotas import FakeServiceQuotas
from lowtide.sim.s3 import FakeS3
from lowtide.sim.sns import FakeSNS
from lowtide.sim.sqs import FakeSQS
from lowtide.sim.sts import FakeSTS
from worker.api import LeaseLost, Refused, Unanswered

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
JOB_BATCH = 10
"""Messages that the job queue's poller hands to intake at once."""
RECONCILE_TRIES = 3
"""Deliveries of a reconcile message before it goes to the dead-letter queue."""
NEWS_RETRIES = (MINUTE, 2 * MINUTE)
"""An asynchronous invocation that failed is made again after these."""
VISIBILITY = 6
"""A queue's visibility timeout in its function's timeouts."""


class Fate(StrEnum):
    """What may become of a delivery: of a message, an event, a schedule's minute, a worker's call."""

    DOUBLED = "doubled"
    """Twice, one right after the other."""
    DELAYED = "delayed"
    LOST = "lost"
    """A message, which no queue loses, is delayed."""
    UNANSWERED = "unanswered"
    """It arrives, and its sender never hears: a message comes again, a worker asks again."""
    REORDERED = "reordered"
    """What came first comes last, where nothing promises an order."""


class Channel(StrEnum):
    """Where deliveries are counted, each for itself, from 1."""

    JOBS = "job messages"
    RECONCILE = "reconcile messages"
    EVENTS = "event"
    SCHEDULE = "minute"
    WORKERS = "worker's call"


DELAY = timedelta(seconds=150)
"""Of a delayed delivery: long enough for what followed it to come first."""


def usual(_: Channel) -> Fate | None:
    """Every delivery is made once, in order and in time."""


def unheard(host: Host, why: str) -> None:
    """Nobody minds that a worker powers its instance off."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One that is at work."""

    function: Function
    event: Any
    began_at: datetime


class Observer(Protocol):
    """Told what goes on. It may look at everything and change nothing."""

    def called(self, function: Function, operation: str, request: Request) -> None:
        """A function is about to make an AWS call."""
        ...

    def ended(self, function: Function, *, crashed: bool) -> None:
        """An invocation is over."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message that a user sent to the job queue."""

    message_id: str
    body: str
    at: datetime


class World:
    def __init__(
        self,
        *,
        conditions: Conditions,
        unkindness: Unkindness,
        settings: Settings | None = None,
        seed: int = 0,
        region: str = "us-east-1",
        stack: str = names.STACK,
    ) -> None:
        self.clock = VirtualClock(START)
        self.settings = settings or Settings()
        self.stack = stack
        self.dynamodb = FakeDynamoDB(self.clock)
        self.dynamodb.create_table(TableName=TABLE, **SCHEMA)
        self.sqs = FakeSQS(self.clock)
        self.jobs_url = self._queue("jobs", Function.INTAKE)
        self.parked_url = self._queue("parked", Function.INTAKE)
        failed = self.sqs.create_queue(QueueName="failed.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
        redrive = {"deadLetterTargetArn": self.sqs.queues[failed].arn, "maxReceiveCount": RECONCILE_TRIES}
        self.reconcile_url = self._queue(
            "reconcile.fifo", Function.RECONCILE, FifoQueue="true", RedrivePolicy=json.dumps(redrive)
        )
        self.market = Market(
            seed=seed,
            region=region,
            conditions=conditions,
            unkindness=unkindness,
            now=self.clock(),
            busy=lambda instance_id: instance_id in self.hosts and self.hosts[instance_id].busy,
        )
        zones = [f"{region}{letter}" for letter in "abc"]
        subnets = {zone: f"subnet-{zone[-1]}" for zone in zones}
        self.ec2 = FakeEC2(
            self.market,
            self.clock,
            subnets={subnet: zone for zone, subnet in subnets.items()},
            templates={SPOT_TEMPLATE: Lifecycle.SPOT, ON_DEMAND_TEMPLATE: Lifecycle.ON_DEMAND},
        )
        self.ssm = FakeSSM()
        self.pricing = FakePricing(region)
        self.quotas = FakeServiceQuotas(lambda: self.market.unkindness)
        self.events = FakeEvents()
        self.sns = FakeSNS()
        self.sts = FakeSTS(self.clock)
        self.s3 = FakeS3()
        asked = (self.dynamodb, self.sqs, self.ec2, self.ssm, self.pricing, self.quotas, self.events, self.sns)
        for client in (*asked, self.sts, self.s3):
            client.hook = _Relay(self)
        self.hook: Hook | None = None
        """Sees, and may kill, the calls that functions make; never those of users or of this world."""
        self.current: Function | None = None
        """The function that is at work."""
        self.at_work: list[Invocation] = []
        """Invocations that are not over, the one in whose middle the others are first."""
        self.fate: Callable[[Channel], Fate | None] = usual
        """What becomes of a channel's next delivery; None: nothing unusual."""
        self.struck = False
        """Whether a fault met the invocation that has just ended, or one that is still at work."""
        self.ahead = timedelta(0)
        """How far the functions' clocks are ahead of the time; below zero: behind it."""
        self.skews: dict[Function, timedelta] = {}
        """The same of single functions, on top of `ahead`."""
        self.powered_off: Callable[[Host, str], object] = unheard
        """Told before a worker powers its instance off, and why."""
        self.observers: list[Observer] = []
        self.held: set[Function] = set()
        """Functions that nothing reaches for now: their messages and events wait, their schedules are missed, their
        callers get no answer."""
        self.hosts: dict[str, Host] = {}
        """Every instance that has its power, by id."""
        self.saved: dict[str, timedelta] = {}
        """What jobs' checkpoints hold, by job."""
        self.sent: list[Sent] = []
        self.withdrawn: set[str] = set()
        """Ids of those that were parked and sent again, or forgotten."""
        self._decoded: dict[tuple[str, str], tuple[dict[str, Any], Item]] = {}
        self.ticks = 0
        """Ticks that came to their end."""
        self.table = Table(self._client(self.dynamodb), TABLE, pause=lambda _: None)
        """For users and laws; functions make their own."""
        self.config = PoolConfig(self.table)
        self._doorbell = Doorbell(self.table, self._client(self.sqs), self.reconcile_url, self.clock)
        chance = Random(seed)  # noqa: S311 - a simulation, no secret
        cloud = Cloud(
            clock=self.clock,
            now=self._functions_now,
            dynamodb=self.dynamodb,
            sqs=self.sqs,
            ec2=self.ec2,
            ssm=self.ssm,
            pricing=self.pricing,
            quotas=self.quotas,
            events=self.events,
            sns=self.sns,
            sts=self.sts,
            s3=self.s3,
            settings=self.settings,
            stack=stack,
            region=region,
            subnets=subnets,
            reconcile_queue=self.reconcile_url,
            parked_queue=self.parked_url,
        )
        self.functions = Functions(cloud, chance, self._pause, self)
        self._seed = seed
        self._agenda: list[tuple[datetime, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._events = itertools.count(1)
        self._under_way = 0
        """EC2's events that are still to be told."""
        self._launched = False
        self.at(self.clock() + MINUTE, self._every_minute)
        self.at(self.clock() + DAY, self._every_day)

    # --- what users do ------------------------------------------------------------------------------------------------

    def apply(self, pool: Pool) -> Pool:
        """As `pools apply`: the version is stored, the pool is looked at."""
        current = self.config.pool(pool.name)
        stored = self.config.put_pool(pool, current and current.version, now=self.clock())
        self._doorbell.ring(pool.name, f"pool:{stored.version}")
        return stored

    def send(self, body: Any) -> str:
        """A message to the job queue, text as it is, anything else as JSON; its id."""
        text = body if isinstance(body, str) else json.dumps(body)
        message_id: str = self.sqs.send_message(QueueUrl=self.jobs_url, MessageBody=text)["MessageId"]
        self.sent.append(Sent(message_id=message_id, body=text, at=self.clock()))
        return message_id

    def redriven(self, message_id: str) -> None:
        """A parked message was sent again: the first one has no record any more."""
        self.withdrawn.add(message_id)

    # --- what there is ------------------------------------------------------------------------------------------------

    def stored(self) -> list[Item]:
        """Every item of the table; not to be changed, since an item that stays as it is is decoded once."""
        before, self._decoded = self._decoded, {}
        for item in self.dynamodb.everything(TABLE):
            place = (item[names.TABLE_PK]["S"], item[names.TABLE_SK]["S"])
            known = before.get(place)
            self._decoded[place] = known if known is not None and known[0] is item else (item, decode(item))
        return [decoded for _, decoded in self._decoded.values()]

    def alive(self, pool: str | None = None) -> list[Instance]:
        """The stack's instances that EC2 has not begun to end, of one pool or of all."""
        return [i for i in self.market.instances.values() if i.alive and self._ours(i, pool)]

    def _ours(self, instance: Instance, pool: str | None) -> bool:
        tags = self.ec2.tags(instance.instance_id)
        return tags.get(names.TAG_STACK) == self.stack and pool in (None, tags.get(names.TAG_POOL))

    def undelivered(self) -> set[str]:
        """Ids of the messages that the job queue still holds."""
        return {message.message_id for message in self.sqs.queues[self.jobs_url].messages}

    def at_work_since(self) -> datetime:
        """The beginning of the longest invocation under way; now where there is none."""
        return self.at_work[0].began_at if self.at_work else self.clock()

    def alone(self) -> bool:
        """Whether the invocation under way is the only one."""
        return len(self.at_work) == 1

    def quiet(self) -> bool:
        """Nothing waits to be delivered, every pool is at rest, no instance is on its way or ending, no job runs."""
        if self._under_way or any(self.sqs.queues[url].messages for url in (self.jobs_url, self.reconcile_url)):
            return False
        if not self.dynamodb.settled(TABLE):
            return False
        due = self.dynamodb.query(
            TableName=TABLE,
            IndexName=names.INDEX,
            KeyConditionExpression="#h = :h",
            ExpressionAttributeNames={"#h": names.INDEX_PK},
            ExpressionAttributeValues={":h": {"S": keys.DUE}},
        )
        return not due["Items"]

    # --- time ---------------------------------------------------------------------------------------------------------

    def at(self, instant: datetime, action: Callable[[], object]) -> None:
        """Do something at an instant, or now if that is over."""
        heapq.heappush(self._agenda, (instant, next(self._order), action))

    def run(self, until: Callable[[], bool], most: timedelta) -> bool:
        """Play on until a condition holds, or for `most`; whether it holds."""
        end = self.clock() + most
        while True:
            while not (holds := until()) and self._play_one():
                pass
            if holds:
                return True
            following = self._next_instant()
            if following is None or following > end:
                self.clock.advance(max(end - self.clock(), timedelta(0)))  # a slow call may have taken longer
                return until()
            self.clock.advance(max(following - self.clock(), timedelta(0)))

    def run_for(self, period: timedelta) -> None:
        self.run(lambda: False, period)

    def meanwhile(self, period: timedelta) -> None:
        """A call of the function at work takes so long: the world goes on around it."""
        inside, self.current = self.current, None
        self.run_for(period)
        self.current = inside

    def meanwhile_again(self) -> None:
        """In the middle of a call, what the function at work was invoked with is delivered to another process."""
        doubled, inside, self.current = self.at_work[-1], self.current, None
        with contextlib.suppress(Crashed):
            self.functions.invoke(doubled.function, doubled.event)
        self.current = inside

    def settle(self, most: timedelta = timedelta(hours=1)) -> bool:
        """Play on until everything is quiet; False: it was not within `most`."""
        return self.run(self.quiet, most)

    def _play_one(self) -> bool:
        """One thing that is due now; False: there is none."""
        now = self.clock()
        self._power_on()
        if self._agenda and self._agenda[0][0] <= now:
            heapq.heappop(self._agenda)[2]()
            return True
        if news := self.market.advance(now):
            for item in news:
                self._tell(item)
            return True
        for host in list(self.hosts.values()):
            if (due := host.due()) is not None and due <= now:
                host.run()
                return True
        return self._deliver_jobs() or self._deliver_reconcile()

    def _next_instant(self) -> datetime | None:
        now = self.clock()
        instants = [self._agenda[0][0] if self._agenda else None, self.market.next_change()]
        instants += [host.due() for host in self.hosts.values()]
        for url in (self.jobs_url, self.reconcile_url):
            instants += [m.visible_at for m in self.sqs.queues[url].messages if m.visible_at > now]
        return min((at for at in instants if at is not None), default=None)

    def _pause(self, seconds: float) -> None:
        """A function waits: the world goes on around it. Nothing is delivered meanwhile."""
        self.clock.advance(timedelta(seconds=seconds))
        for item in self.market.advance(self.clock()):
            self._tell(item)

    # --- functions ----------------------------------------------------------------------------------------------------

    def invoke(self, function: Function, event: Any) -> Any:
        """The function's answer. Raises Crashed, also while nothing reaches the function."""
        if function in self.held:
            raise Crashed(f"nothing reaches {function}")
        return self.functions.invoke(function, event)

    def began(self, function: Function, event: Any = None) -> None:
        if not self.at_work:
            self.struck = False
        self.at_work.append(Invocation(function, event, self.clock()))
        self.current = function

    def ended(self, function: Function, *, crashed: bool) -> None:
        self.current = None
        if function is Function.TICK and not crashed:
            self.ticks += 1
        for observer in self.observers:
            observer.ended(function, crashed=crashed)
        self.at_work.pop()

    def tick(self, event_id: str | None = None) -> bool:
        """One event of the schedule; False: the tick crashed, and EventBridge does not try again."""
        try:
            self.invoke(Function.TICK, {"id": event_id or f"tick-{next(self._events)}"})
        except Crashed:
            return False
        return True

    def _every_minute(self) -> None:
        self.at(self.clock() + MINUTE, self._every_minute)
        match self.fate(Channel.SCHEDULE):
            case None:
                self.tick()
            case Fate.LOST:
                pass
            case Fate.DELAYED:
                self.at(self.clock() + DELAY, self.tick)
            case _:
                event_id = f"tick-{next(self._events)}"
                self.tick(event_id)
                self.tick(event_id)
        if Function.WORKER_API not in self.held:
            self._attempt(Function.WORKER_API, {"source": "aws.events"})

    def _every_day(self) -> None:
        self.at(self.clock() + DAY, self._every_day)
        if Function.CATALOGUE not in self.held:
            self._attempt(Function.CATALOGUE, {"source": "aws.events"})

    def _attempt(self, function: Function, event: Any) -> bool:
        try:
            self.invoke(function, event)
        except Crashed:
            return False
        return True

    def _deliver_jobs(self) -> bool:
        records = self._received(Function.INTAKE, self.jobs_url, JOB_BATCH)
        if not records:
            return False
        fate = self._fate_of_messages(Channel.JOBS, self.jobs_url, records)
        if fate is Fate.DELAYED:
            return True
        try:
            answer = self.invoke(Function.INTAKE, {"Records": records})
        except Crashed:
            return True
        if fate is Fate.UNANSWERED:
            return True
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        self._delete(self.jobs_url, [record for record in records if record["messageId"] not in failed])
        return True

    def _deliver_reconcile(self) -> bool:
        records = self._received(Function.RECONCILE, self.reconcile_url, 1)
        if not records:
            return False
        fate = self._fate_of_messages(Channel.RECONCILE, self.reconcile_url, records)
        if fate is Fate.DELAYED:
            return True
        if self._attempt(Function.RECONCILE, {"Records": records}) and fate is not Fate.UNANSWERED:
            self._delete(self.reconcile_url, records)
        return True

    def _fate_of_messages(self, channel: Channel, url: str, records: Sequence[Mapping[str, Any]]) -> Fate | None:
        """What becomes of messages that were just received: DELAYED, and they come later; UNANSWERED, and they come
        again; anything else, and they are delivered now."""
        fate, queue = self.fate(channel), self.sqs.queues[url]
        received = {record["receiptHandle"] for record in records}
        given = [message for message in queue.messages if message.receipt in received]
        match fate:
            case None | Fate.UNANSWERED:
                return fate
            case Fate.DOUBLED:
                if not queue.fifo:
                    queue.messages += [replace(each, visible_at=self.clock(), receipt="") for each in given]
                    return None
                return Fate.UNANSWERED
            case Fate.REORDERED:
                if not queue.fifo:
                    queue.messages.reverse()
                return None
            case Fate.DELAYED | Fate.LOST:
                for each in given:
                    each.receives -= 1
                    each.visible_at = self.clock() + DELAY
                return Fate.DELAYED

    def _received(self, function: Function, url: str, most: int) -> list[dict[str, Any]]:
        """Messages as Lambda's poller hands them over; none while nothing reaches the function."""
        queue = self.sqs.queues[url]
        now = self.clock()
        if function in self.held or not any(message.visible_at <= now for message in queue.messages):
            return []
        given = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=most)["Messages"]
        return [
            {
                **{"messageId": message["MessageId"], "receiptHandle": message["ReceiptHandle"]},
                **{"body": message["Body"], "attributes": message["Attributes"]},
            }
            for message in given
        ]

    def _delete(self, url: str, records: Sequence[Mapping[str, Any]]) -> None:
        for record in records:
            self.sqs.delete_message(QueueUrl=url, ReceiptHandle=record["receiptHandle"])

    # --- EC2 and its instances ----------------------------------------------------------------------------------------

    def _power_on(self) -> None:
        if not self._launched:
            return
        self._launched = False
        for instance in self.market.instances.values():
            if instance.alive and instance.instance_id not in self.hosts and self._ours(instance, None):
                self.hosts[instance.instance_id] = Host(
                    instance,
                    now=self.clock,
                    call=self.call_api,
                    shut_down=self._power_off,
                    settings=self.settings,
                    seed=self._seed,
                    saved=self.saved,
                )

    def _power_off(self, host: Host, why: str) -> None:
        self.powered_off(host, why)
        self.market.shut_down(host.instance_id, self.clock())

    def _tell(self, item: News) -> None:
        """An item of the market's news: to the instance it is about, and to EventBridge's rules."""
        host = self.hosts.get(item.instance_id)
        match item:
            case StateChanged():
                if host is not None and item.state in (State.SHUTTING_DOWN, State.TERMINATED):
                    self.hosts.pop(item.instance_id).cut_off()
                detail = {"instance-id": item.instance_id, "state": str(item.state)}
                self.publish("EC2 Instance State-change Notification", detail, item.at)
            case Warned():
                if host is not None:
                    host.notice(item.ends_at)
                detail = {"instance-id": item.instance_id, "instance-action": "terminate"}
                self.publish("EC2 Spot Instance Interruption Warning", detail, item.at)
            case RebalanceAdvised():
                if host is not None:
                    host.advise(item.at)
                self.publish("EC2 Instance Rebalance Recommendation", {"instance-id": item.instance_id}, item.at)

    def publish(self, kind: str, detail: Mapping[str, str], at: datetime) -> None:
        """An event of EC2's goes to EventBridge's rules."""
        event = {
            **{"id": f"event-{next(self._events)}", "source": "aws.ec2", "detail-type": kind, "account": ACCOUNT},
            **{"time": to_text(at), "resources": [], "detail": detail},
        }
        match self.fate(Channel.EVENTS):
            case Fate.LOST:
                return
            case Fate.DELAYED | Fate.REORDERED:
                self._publish(event, DELAY)
            case Fate.DOUBLED | Fate.UNANSWERED:
                self._publish(event)
                self._publish(event)
            case None:
                self._publish(event)

    def _publish(self, event: Mapping[str, Any], late: timedelta = timedelta(0)) -> None:
        self._under_way += 1
        self.at(self.clock() + late, partial(self._tell_function, event, NEWS_RETRIES))

    def _tell_function(self, event: Mapping[str, Any], retries: Sequence[timedelta]) -> None:
        if Function.NEWS in self.held:
            self.at(self.clock() + timedelta(seconds=1), partial(self._tell_function, event, retries))
        elif self._attempt(Function.NEWS, event) or not retries:
            self._under_way -= 1
        else:
            self.at(self.clock() + retries[0], partial(self._tell_function, event, retries[1:]))

    def call_api(self, instance_id: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """A worker's call through the function URL, and what its answer means to worker.api.Api."""
        arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{ROLE}/{instance_id}"
        identity = {"accountId": ACCOUNT, "userArn": arn, "userId": f"AROAEXAMPLE:{instance_id}"}
        event = {
            "rawPath": path,
            "requestContext": {"http": {"method": "POST", "path": path}, "authorizer": {"iam": identity}},
            "body": json.dumps(body),
            "isBase64Encoded": False,
        }
        fate = self.fate(Channel.WORKERS)
        if fate is Fate.LOST:
            raise Unanswered("the call is lost")
        try:
            if fate is Fate.DOUBLED:
                self._attempt(Function.WORKER_API, event)
            reply = self.invoke(Function.WORKER_API, event)
        except Crashed as crashed:
            raise Unanswered(str(crashed)) from crashed
        if fate is Fate.UNANSWERED:
            raise Unanswered("the answer is lost")
        match reply["statusCode"]:
            case 200:
                return json.loads(reply["body"])
            case 409:
                raise LeaseLost
            case 400 | 403:
                raise Refused(reply["statusCode"], reply["body"])
            case status:
                raise Unanswered(f"HTTP {status}")

    def _functions_now(self) -> datetime:
        skew = self.skews.get(self.current) if self.skews and self.current else None
        return self.clock() + self.ahead + (skew or timedelta(0))

    # --- bookkeeping --------------------------------------------------------------------------------------------------

    def _queue(self, name: str, function: Function, **attributes: str) -> str:
        seconds = str(int(TIMEOUTS[function].total_seconds() * VISIBILITY))
        given = {"VisibilityTimeout": seconds, **attributes}
        return self.sqs.create_queue(QueueName=name, Attributes=given)["QueueUrl"]

    def _client(self, fake: Any) -> Any:
        """A fake where boto3's type is wanted."""
        return fake

    def launched(self) -> None:
        """EC2 was asked for instances: some may have to be powered on."""
        self._launched = True


class _Relay:
    """Tells observers and the world's hook of the calls that functions make."""

    def __init__(self, world: World) -> None:
        self._world = world

    def before(self, operation: str, request: Request) -> None:
        world = self._world
        if operation == "ec2.create_fleet":
            world.launched()
        if (function := world.current) is None:
            return
        world.current = None  # what observers look at is no call of the function's
        for observer in world.observers:
            observer.called(function, operation, request)
        world.current = function
        if world.hook is not None:
            world.hook.before(operation, request)
            self._in_time(operation)

    def after(self, operation: str, request: Request, response: Response) -> None:
        if self._world.current is not None and self._world.hook is not None:
            self._world.hook.after(operation, request, response)
            self._in_time(operation)

    def _in_time(self, operation: str) -> None:
        """Raises Killed once a slow call has used up the function's time."""
        work = self._world.at_work[-1] if self._world.at_work else None
        if work is not None and self._world.clock() - work.began_at > TIMEOUTS[work.function]:
            raise Killed(f"{work.function} ran out of time in {operation}")
