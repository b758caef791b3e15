"""A stack around the reconcile pass: table, queue, EC2 and SSM in memory, one virtual clock, the real plan."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from lambdas import names
from lambdas.adapters import items, keys
from lambdas.adapters.ec2 import LaunchTemplate
from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.queues import Doorbell
from lambdas.adapters.table import Conflict, Item, Table
from lambdas.control.assembly import Deployment, reconciler, rehearsal
from lambdas.control.passes import Passes
from lambdas.control.reconcile import Reconciler
from lambdas.domain.fleet.actions import ReturnJob
from lambdas.domain.fleet.fleet import Instance, InstanceState
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.instants import from_text, to_text
from lambdas.domain.jobs.jobs import QueuedJob
from lambdas.domain.plan.plan import Plan, plan
from lambdas.domain.pools.pools import CapacityType, Pool, TypeFacts
from lambdas.domain.settings import Settings
from lowtide.market.unkindness import Unkindness
from lowtide.sim.clock import VirtualClock
from lowtide.sim.dynamodb import SCHEMA, FakeDynamoDB
from lowtide.sim.quotas import FakeServiceQuotas
from lowtide.sim.sqs import FakeSQS
from tests.passes.ec2_script import ScriptedEc2, ScriptedSsm

SUBNETS = (("us-west-2a", "subnet-a"), ("us-west-2b", "subnet-b"))


def facts(name: str = "c7i.large", **changes: Any) -> TypeFacts:
    given: dict[str, Any] = {
        **{"vcpus": 2, "memory_mib": 4096, "gpus": 0, "architecture": "x86_64", "slots": 1},
        **{"on_demand_price": Decimal("0.10"), **changes},
    }
    return TypeFacts(name=name, **given)


def pool(name: str = "cpu", **changes: Any) -> Pool:
    given: dict[str, Any] = {
        **{"spot": True, "spot_max_price": Decimal("0.05"), "types": (facts(),), "max_instances": 3},
        **changes,
    }
    return Pool(name=name, **given)


class RecordedMetrics:
    def __init__(self) -> None:
        self.samples: list[tuple[str, float, str | None, str | None]] = []

    def put(
        self, name: str, value: float, unit: str = "Count", *, pool: str | None = None, reason: str | None = None
    ) -> None:
        self.samples.append((name, float(value), pool, reason))

    def flush(self) -> None: ...

    def of(self, name: str, pool: str | None = None, reason: str | None = None) -> list[float]:
        return [value for n, value, p, r in self.samples if (n, p, r) == (name, pool, reason)]


class NoLedger:
    """For worlds without running jobs."""

    def __init__(self) -> None:
        self.returned: list[ReturnJob] = []

    def return_job(self, action: ReturnJob, now: datetime) -> bool:
        self.returned.append(action)
        return True

    def park_queued(self, pool: str, why: str, now: datetime) -> int:
        return 0

    def fail_queued(self, job_id: str, why: str, now: datetime) -> bool:
        return False


class World:
    def __init__(self, settings: Settings | None = None, **ec2: Any) -> None:
        self.clock = VirtualClock()
        self.settings = settings or Settings()
        self.dynamodb: Any = FakeDynamoDB(self.clock)
        self.dynamodb.create_table(TableName="t", **SCHEMA)
        self.sqs: Any = FakeSQS(self.clock)
        self.queue: str = self.sqs.create_queue(QueueName="reconcile.fifo", Attributes={"FifoQueue": "true"})[
            "QueueUrl"
        ]
        self.ec2: Any = ScriptedEc2(clock=self.clock, **ec2)
        self.ssm: Any = ScriptedSsm()
        self.quotas = FakeServiceQuotas(Unkindness)
        self.table = Table(self.dynamodb, "t", pause=lambda _: None)
        self.config = PoolConfig(self.table)
        self.metrics = RecordedMetrics()
        self.ledger = NoLedger()
        self.ids = itertools.count(1)

    def hook(self, hook: Any) -> None:
        """One hook sees the calls of every service."""
        for client in (self.dynamodb, self.sqs, self.ec2, self.ssm, self.quotas):
            client.hook = hook

    def apply(self, wanted: Pool) -> Pool:
        current = self.config.pool(wanted.name)
        return self.config.put_pool(wanted, current and current.version, now=self.clock())

    def enqueue(self, count: int, name: str = "cpu", **changes: Any) -> None:
        for _ in range(count):
            job = QueuedJob(
                **{
                    **{"job_id": f"job-{next(self.ids):05d}", "slots": 1, "resources": None, "priority": 0},
                    **{"submitted_at": self.clock(), "queued_at": self.clock(), **changes},
                }
            )
            self.table.put(items.queue_item(name, job))

    def clear_queue(self, name: str = "cpu") -> None:
        for shard in range(keys.QUEUE_SHARDS):
            for item in list(self.table.query(keys.queue(name, shard))):
                self.table.delete(item["pk"], item["sk"])

    def reconciler(self, decide: Callable[[Snapshot, datetime], Plan] = plan) -> Reconciler:
        return reconciler(
            self.deployment(),
            table=self.table,
            ec2_client=self.ec2,
            ssm_client=self.ssm,
            quotas_client=lambda: self.quotas,
            ledger=self.ledger,
            doorbell=Doorbell(self.table, self.sqs, self.queue, self.clock),
            metrics=self.metrics,
            decide=decide,
            now=self.clock,
            pause=self.advance,
            new_id=lambda: f"d{next(self.ids):05d}",
        )

    def deployment(self) -> Deployment:
        template = LaunchTemplate(template_id="lt-1", version="1")
        return Deployment(
            stack="Lowtide",
            settings=self.settings,
            subnets=SUBNETS,
            templates=dict.fromkeys(CapacityType, template),
        )

    def dry_run(self, asked: object = "cpu", *, left: float = 60) -> dict[str, Any]:
        """What the function answers, as whoever invokes it reads it."""
        made = rehearsal(
            self.deployment(),
            table=self.table,
            ec2_client=self.ec2,
            ssm_client=self.ssm,
            now=self.clock,
            pause=self.advance,
            new_id=lambda: f"d{next(self.ids):05d}",
        )
        return json.loads(json.dumps(made.answer(asked, lambda: timedelta(seconds=left))))

    def passes(self, decide: Callable[[Snapshot, datetime], Plan] = plan) -> Passes:
        return Passes(reconciler=self.reconciler(decide), metrics=self.metrics, settings=self.settings, now=self.clock)

    def run(self, name: str = "cpu", *, left: float = 100, decide: Callable[[Snapshot, datetime], Plan] = plan) -> None:
        self.reconciler(decide).reconcile(name, lambda: timedelta(seconds=left))

    def advance(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    # --- what is in the table ---

    def state(self, name: str = "cpu") -> Item:
        return self.table.get(keys.pool(name), keys.STATE) or {}

    def reasons(self, name: str = "cpu") -> list[tuple[str, str]]:
        return [(reason["class"], reason["code"]) for reason in self.state(name).get("reasons", [])]

    def under(self, prefix: str, name: str = "cpu") -> list[Item]:
        return list(self.table.query(keys.pool(name), prefix=prefix))

    def instances(self, name: str = "cpu") -> dict[str, Instance]:
        found = map(items.instance_from, self.under(keys.INSTANCE_PREFIX, name))
        return {instance.instance_id: instance for instance in found}

    def report(self, instance_id: str, name: str = "cpu") -> None:
        """The instance's worker calls for the first time."""
        now = to_text(self.clock())
        self.table.update(
            keys.pool(name),
            keys.instance(instance_id),
            "SET #state = :running, reported_at = :now, heartbeat_at = :now, idle_since = :now, observed_state = :seen",
            names={"#state": "state"},
            values={":running": "running", ":now": now, ":seen": "running"},
        )

    def lease(self, instance_id: str, leases: int = 1, name: str = "cpu") -> None:
        """The instance's counter, as a claim or a finish sets it."""
        self.table.update(
            keys.pool(name), keys.instance(instance_id), "SET leases = :leases", values={":leases": leases}
        )

    # --- the tick's part ---

    def observe(self) -> None:
        """A complete observation that begins now: adopts what is tagged, counts for settled intentions, sees states."""
        now = self.clock()
        for machine in list(self.ec2.machines.values()):
            name, decision = machine.tags[names.TAG_POOL], machine.tags[names.TAG_DECISION]
            if machine.instance_id not in self.instances(name) and not machine.ended:
                self._adopt(machine, name, decision)
            elif machine.instance_id in self.instances(name):
                self.table.update(
                    keys.pool(name),
                    keys.instance(machine.instance_id),
                    "SET observed_state = :state, observed_at = :now",
                    values={":state": "terminated" if machine.ended else "running", ":now": to_text(now)},
                )
        for entry in self.table.query(keys.INTENT, index=True):
            intent = self.table.get(entry["pk"], entry["sk"])
            if intent and from_text(intent["not_after"]) + self.settings.observation_margin <= now:
                self.table.update(entry["pk"], entry["sk"], "ADD clean_observations :one", values={":one": 1})

    def _adopt(self, machine: Any, name: str, decision: str) -> None:
        instance = Instance(
            instance_id=machine.instance_id,
            pool=name,
            decision=decision,
            state=InstanceState.LAUNCHING,
            capacity_type=CapacityType(machine.lifecycle),
            instance_type=machine.instance_type,
            zone=next(zone for zone, subnet in SUBNETS if subnet == machine.subnet),
            slots=1,
            launched_at=self.clock(),
        )
        put = self.table.put_op(items.instance_item(instance), condition="attribute_not_exists(pk)")
        count = self.table.update_op(
            keys.pool(name),
            keys.intent(decision),
            "ADD adopted :one",
            condition="attribute_exists(pk)",
            values={":one": 1},
        )
        try:
            self.table.transact([put, count])
        except Conflict:
            self.table.transact([put])


def changed(given: Pool, **changes: Any) -> Pool:
    return replace(given, **changes)
