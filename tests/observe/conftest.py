"""One stack in memory with what observing it needs, and short words for what tests do to it."""

import io
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters import items, keys
from lambdas.adapters.clockwork import Clockwork
from lambdas.adapters.ec2 import Ec2
from lambdas.adapters.launch_templates import LaunchTemplates
from lambdas.adapters.metrics import Metrics
from lambdas.adapters.observations import Observations
from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.queues import Doorbell
from lambdas.adapters.stack_switch import StackSwitch
from lambdas.adapters.table import Item, Table, decode
from lambdas.control.news import Newsroom, take_in
from lambdas.control.observe import Eyes, Seen
from lambdas.control.teardown import Closing
from lambdas.control.tick import Works, tick
from lambdas.domain.fleet.fleet import Instance, InstanceState, Intention, LaunchRequest, Override
from lambdas.domain.instants import to_text
from lambdas.domain.pools.pools import CapacityType, Pool, TypeFacts
from lambdas.domain.settings import Settings
from lowtide.sim.calls import Hook
from lowtide.sim.clock import VirtualClock
from lowtide.sim.dynamodb import SCHEMA, FakeDynamoDB
from lowtide.sim.sqs import FakeSQS
from tests.observe.scripted_ec2 import Machine, ScriptedEc2, tags

PRICE_LIMIT = Decimal("0.35")
MINUTE = timedelta(minutes=1)
PLENTY = timedelta(seconds=55)
TYPE = TypeFacts(
    name="c7i.large", vcpus=2, memory_mib=4096, gpus=0, architecture="x86_64", on_demand_price=None, slots=3
)


class Contents:
    """A bucket: what ran when it was emptied (None: it has not been), and whether it lets itself be emptied."""

    def __init__(self, name: str, running: Callable[[], list[str]]) -> None:
        self.name, self._running = name, running
        self.gives_way = True
        self.emptied_beside: list[str] | None = None

    def empty(self, time_left: Callable[[], timedelta]) -> bool:
        assert time_left() > timedelta(0)
        self.emptied_beside = self._running()
        return self.gives_way


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.dynamodb = FakeDynamoDB(self.clock)
        self.dynamodb.create_table(TableName="t", **SCHEMA)
        self.sqs = FakeSQS(self.clock)
        attributes = {"FifoQueue": "true"}
        self.queue_url = self.sqs.create_queue(QueueName="reconcile.fifo", Attributes=attributes)["QueueUrl"]
        self.ec2 = ScriptedEc2(self.clock)
        self.table = Table(self.dynamodb, "t", pause=lambda _: None)  # type: ignore[arg-type]
        self.settings = Settings()
        self.metric_lines = io.StringIO()
        self.metrics = Metrics(names.STACK, self.metric_lines, now=self.clock)
        self.observations = Observations(self.table)
        self.pools = PoolConfig(self.table)
        self.doorbell = Doorbell(self.table, self.sqs, self.queue_url, self.clock)  # type: ignore[arg-type]
        self.cloud = Ec2(self.ec2, names.STACK)  # type: ignore[arg-type]
        self.buckets = {"data": Contents("data", self._alive)}
        self._ids = 0

    def _alive(self) -> list[str]:
        return [name for name, machine in self.ec2.machines.items() if machine.state != "terminated"]

    # --- what the code under test is given ---

    def works(self) -> Works:
        return Works(
            eyes=Eyes(
                observations=self.observations,
                clockwork=Clockwork(self.table),
                ec2=self.cloud,
                pools=self.pools,
                doorbell=self.doorbell,
                settings=self.settings,
                now=self.clock,
            ),
            metrics=self.metrics,
            now=self.clock,
            new_id=self.new_id,
        )

    def newsroom(self) -> Newsroom:
        return Newsroom(
            observations=self.observations,
            doorbell=self.doorbell,
            metrics=self.metrics,
            settings=self.settings,
            now=self.clock,
        )

    def closing(self, pause: Callable[[float], None] | None = None) -> Closing:
        return Closing(
            stack=names.STACK,
            switch=StackSwitch(self.table),
            observations=self.observations,
            ec2=self.cloud,
            templates=LaunchTemplates(self.ec2, names.STACK),  # type: ignore[arg-type]
            settings=self.settings,
            now=self.clock,
            pause=pause or (lambda seconds: self.clock.advance(timedelta(seconds=seconds)) and None),
            bucket=lambda name: self.buckets[name],
        )

    def new_id(self) -> str:
        self._ids += 1
        return f"tick-{self._ids}"

    def hook(self, hook: Hook | None) -> None:
        self.dynamodb.hook = self.sqs.hook = self.ec2.hook = hook

    # --- what happens ---

    def tick(self, time_left: Callable[[], timedelta] = lambda: PLENTY) -> Seen | None:
        """A minute passes, then a tick."""
        self.clock.advance(MINUTE)
        return tick(self.works(), f"event-{to_text(self.clock())}", time_left)

    def hear(self, event: Mapping[str, Any]) -> None:
        take_in(self.newsroom(), event)

    # --- what there is ---

    def add_pool(self, name: str = "gpu") -> Pool:
        """A pool whose first pass has left it at rest."""
        pool = self.pools.put_pool(Pool(name=name, types=(TYPE,), spot=True), None, now=self.clock())
        self.table.update(keys.pool(name), keys.STATE, "REMOVE gpk, gsk")
        return pool

    def run(self, instance_id: str, pool: str = "gpu", **details: Any) -> Machine:
        """An instance on EC2's side, which nobody here has recorded."""
        given: dict[str, Any] = {"tags": tags(pool), "launched_at": self.clock(), **details}
        machine = Machine(instance_id=instance_id, **given)
        self.ec2.machines[instance_id] = machine
        return machine

    def record(self, instance_id: str, pool: str = "gpu", **details: Any) -> Instance:
        """An instance on our side, as a pass records it."""
        given: dict[str, Any] = {
            **{"decision": "d-1", "state": InstanceState.RUNNING, "capacity_type": CapacityType.SPOT},
            **{"instance_type": "c7i.large", "zone": "us-east-1a", "slots": 3, "launched_at": self.clock()},
            **details,
        }
        instance = Instance(instance_id=instance_id, pool=pool, **given)
        self.table.put(items.instance_item(instance))
        return instance

    def intend(self, decision: str = "d-1", pool: str = "gpu", count: int = 2, **details: Any) -> Intention:
        override = Override(
            instance_type="c7i.large", zone="us-east-1a", subnet_id="s", image_id="ami", max_price=PRICE_LIMIT
        )
        request = LaunchRequest(
            capacity_type=CapacityType.SPOT, overrides=(override,), count=count, allocation_strategy="lowest-price"
        )
        not_after = self.clock() + self.settings.intent_life
        intention = Intention(
            **{"intention_id": decision, "pool": pool, "request": request, "created_at": self.clock()},
            **{"not_after": not_after, **details},
        )
        self.table.put(items.intention_item(intention))
        return intention

    def conclude(self, pool: str, due: datetime | None, **summary: Any) -> None:
        """What a pass leaves in STATE."""
        place = {} if due is None else {"gpk": keys.DUE, "gsk": to_text(due)}
        self.table.put({"pk": keys.pool(pool), "sk": keys.STATE, "pool": pool, "summary": summary, **place})

    # --- what became of it ---

    def item(self, pk: str, sk: str) -> Item | None:
        return self.table.get(pk, sk)

    def instance(self, instance_id: str, pool: str = "gpu") -> Instance | None:
        item = self.item(keys.pool(pool), keys.instance(instance_id))
        return None if item is None else items.instance_from(item)

    def known(self, instance_id: str, pool: str = "gpu") -> Instance:
        instance = self.instance(instance_id, pool)
        assert instance is not None, f"{instance_id} is not recorded"
        return instance

    def messages(self) -> list[str]:
        """The pools that were asked for, oldest first; the queue is emptied."""
        queue = self.sqs.queues[self.queue_url]
        asked = [json.loads(message.body)["pool"] for message in queue.messages]
        queue.messages.clear()
        return asked

    def passed(self, *pools: str) -> None:
        """Passes of these pools have begun and left them at rest."""
        self.messages()
        for pool in pools:
            self.table.update(keys.pool(pool), keys.STATE, "REMOVE dirty, gpk, gsk")

    def told(self) -> dict[tuple[str, ...], list[Any]]:
        """(metric, pool where it has one) -> its samples since this was last asked."""
        self.metrics.flush()
        told: dict[tuple[str, ...], list[Any]] = {}
        for line in self.metric_lines.getvalue().splitlines():
            document = json.loads(line)
            directive = document["_aws"]["CloudWatchMetrics"][0]
            further = [document[d] for d in directive["Dimensions"][0] if d != names.DIMENSION_STACK]
            for metric in directive["Metrics"]:
                told.setdefault((metric["Name"], *further), []).extend(document[metric["Name"]])
        self.metric_lines.truncate(0)
        self.metric_lines.seek(0)
        return told

    def everything(self) -> list[Item]:
        return [decode(item) for item in self.dynamodb.everything("t")]


def warning(instance_id: str, at: datetime, event_id: str = "event-w", action: str = "terminate") -> dict[str, Any]:
    return _event("EC2 Spot Instance Interruption Warning", instance_id, at, event_id, {"instance-action": action})


def rebalance(instance_id: str, at: datetime, event_id: str = "event-r") -> dict[str, Any]:
    return _event("EC2 Instance Rebalance Recommendation", instance_id, at, event_id, {})


def state_change(instance_id: str, state: str, at: datetime, event_id: str = "event-s") -> dict[str, Any]:
    return _event("EC2 Instance State-change Notification", instance_id, at, event_id, {"state": state})


def _event(kind: str, instance_id: str, at: datetime, event_id: str, detail: dict[str, Any]) -> dict[str, Any]:
    return {
        **{"version": "0", "id": event_id, "detail-type": kind, "source": "aws.ec2", "account": "123456789012"},
        **{"time": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "region": "us-east-1"},
        "resources": [f"arn:aws:ec2:us-east-1a:instance/{instance_id}"],
        "detail": {"instance-id": instance_id, **detail},
    }


@pytest.fixture
def world() -> World:
    made = World()
    made.add_pool()
    return made
