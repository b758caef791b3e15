"""One deployed stack in virtual time: the real functions and workers on in-memory AWS, with the spot market as its EC2.

No thread, no real time: `run` plays whatever is due, in the order of its instants, and the same seed gives the same
course. An invocation takes no time, unless a hook lets the world go on in the middle of it (`meanwhile`). What AWS does
between functions is played by the modules beside: queues deliver again what was not deleted (pollers.py), asynchronous
invocations are tried again (bus.py), schedules fire every minute (schedule.py), EC2 powers instances on and tells of
them (fleet.py), and workers call (worker_calls.py). Here they are put together and time goes on.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

from lambdas import names
from lambdas.adapters import keys
from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.queues import Doorbell
from lambdas.adapters.table import Item, Table, decode
from lambdas.domain.pools.pools import Pool
from lambdas.domain.settings import Settings
from lowtide.market.instances import Instance
from lowtide.market.market import Market
from lowtide.market.model import Conditions
from lowtide.market.unkindness import Unkindness
from lowtide.sim import assembly
from lowtide.sim.agenda import Agenda
from lowtide.sim.bus import Bus
from lowtide.sim.clock import START, VirtualClock
from lowtide.sim.fates import Channel, Fate, Fates, usual
from lowtide.sim.fleet import Fleet
from lowtide.sim.functions import TABLE
from lowtide.sim.invocations import Invocations
from lowtide.sim.pollers import Pollers
from lowtide.sim.schedule import Schedule
from lowtide.sim.worker_calls import WorkerCalls


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message that a user sent to the job queue."""

    message_id: str
    body: str
    at: datetime


class World(Invocations):
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
        super().__init__(VirtualClock(START))
        self.settings = settings or Settings()
        self.stack = stack
        self.fate: Fates = usual
        """Asked once for each delivery."""
        self.sent: list[Sent] = []
        self.withdrawn: set[str] = set()
        """Ids of those that were parked and sent again, or forgotten."""
        self._decoded: dict[tuple[str, str], tuple[dict[str, Any], Item]] = {}
        self._agenda = Agenda()
        self.bus = Bus(self, self._agenda, self._fate)
        self.worker_calls = WorkerCalls(self, self._fate)
        self.market = Market(
            seed=seed,
            region=region,
            conditions=conditions,
            unkindness=unkindness,
            now=self.clock(),
            busy=lambda instance_id: self.fleet.busy(instance_id),
        )
        self.fleet = Fleet(
            self.market,
            self.bus,
            clock=self.clock,
            ours=self._ours,
            call=self.worker_calls.call,
            settings=self.settings,
            seed=seed,
        )
        self.hosts = self.fleet.hosts
        self._deploy(region, Random(seed))  # noqa: S311 - a simulation, no secret
        Schedule(self, self._agenda, self._fate)

    def _deploy(self, region: str, chance: Random) -> None:
        cloud = assembly.deployed(
            clock=self.clock,
            now=self.functions_now,
            market=self.market,
            settings=self.settings,
            region=region,
            stack=self.stack,
        )
        self.serve_with(cloud, chance, self._pause, self.fleet.launching)
        self.dynamodb, self.sqs, self.ec2, self.s3 = cloud.dynamodb, cloud.sqs, cloud.ec2, cloud.s3
        self.events, self.sns, self.sts, self.ssm = cloud.events, cloud.sns, cloud.sts, cloud.ssm
        self.pricing, self.quotas = cloud.pricing, cloud.quotas
        self.jobs_url, self.parked_url, self.reconcile_url = cloud.job_queue, cloud.parked_queue, cloud.reconcile_queue
        self._pollers = Pollers(self, self.sqs, jobs=self.jobs_url, reconcile=self.reconcile_url, fate=self._fate)
        self.table = Table(_client(self.dynamodb), TABLE, pause=lambda _: None)
        """For users and laws; functions make their own."""
        self.config = PoolConfig(self.table)
        self._doorbell = Doorbell(self.table, _client(self.sqs), self.reconcile_url, self.clock)

    def _fate(self, channel: Channel) -> Fate | None:
        return self.fate(channel)

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

    def _ours(self, instance: Instance, pool: str | None = None) -> bool:
        tags = self.ec2.tags(instance.instance_id)
        return tags.get(names.TAG_STACK) == self.stack and pool in (None, tags.get(names.TAG_POOL))

    def undelivered(self) -> set[str]:
        """Ids of the messages that the job queue still holds."""
        return {message.message_id for message in self.sqs.queues[self.jobs_url].messages}

    def quiet(self) -> bool:
        """Nothing waits to be delivered, every pool is at rest, no instance is on its way or ending, no job runs."""
        if self.bus.under_way or self._pollers.waiting() or not self.dynamodb.settled(TABLE):
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
        self._agenda.at(instant, action)

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

    def settle(self, most: timedelta = timedelta(hours=1)) -> bool:
        """Play on until everything is quiet; False: it was not within `most`."""
        return self.run(self.quiet, most)

    def _play_one(self) -> bool:
        """One thing that is due now; False: there is none."""
        now = self.clock()
        self.fleet.power_on()
        if self._agenda.play(now) or self._hear_news():
            return True
        return self.fleet.run(now) or self._pollers.deliver()

    def _hear_news(self) -> bool:
        """All news of the market's up to now; False: there is none."""
        news = self.market.advance(self.clock())
        for item in news:
            self.fleet.hear(item)
        return bool(news)

    def _next_instant(self) -> datetime | None:
        places = (self._agenda, self.fleet, self._pollers)
        instants = [self.market.next_change(), *(place.next_instant() for place in places)]
        return min((at for at in instants if at is not None), default=None)

    def _pause(self, seconds: float) -> None:
        """A function waits: the world goes on around it. Nothing is delivered meanwhile."""
        self.clock.advance(timedelta(seconds=seconds))
        self._hear_news()


def _client(fake: Any) -> Any:
    """A fake where boto3's type is wanted."""
    return fake
