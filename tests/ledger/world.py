"""A ledger on the in-memory AWS, with one pool and instances that call the worker API."""

import io
import itertools
import json
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

from lambdas import names
from lambdas.adapters import items, keys
from lambdas.adapters.heartbeats import Heartbeats
from lambdas.adapters.holdings import Holdings
from lambdas.adapters.leases import Leases
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.metrics import Metrics
from lambdas.adapters.parked import Parked
from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.pulse import Pulse
from lambdas.adapters.queues import Doorbell, Queue
from lambdas.adapters.sts import Role
from lambdas.adapters.table import Table
from lambdas.adapters.workers import Workers
from lambdas.control.claiming import Claims
from lambdas.control.credentials import DataCredentials
from lambdas.control.intake import Intake, Message, Taken
from lambdas.control.job_credentials import JobCredentials
from lambdas.control.worker_api import WorkerApi
from lambdas.control.worker_http import WorkerHttp
from lambdas.domain.fleet.fleet import Instance, InstanceState
from lambdas.domain.instants import to_text
from lambdas.domain.jobs.job_record import JobRecord
from lambdas.domain.jobs.jobs import JobSpec
from lambdas.domain.pools.pools import CapacityType, Pool, TypeFacts
from lambdas.domain.settings import Settings
from lowtide.sim.clock import VirtualClock
from lowtide.sim.dynamodb import SCHEMA, FakeDynamoDB
from lowtide.sim.sqs import FakeSQS

ACCOUNT = "111122223333"
ROLE = "LowtideWorker"
JOB_ROLE = f"arn:aws:iam::{ACCOUNT}:role/jobs"
"""The one that the deployment lets the API take."""
GPU = TypeFacts(
    name="g4dn.metal",
    vcpus=96,
    memory_mib=393_216,
    gpus=8,
    architecture="x86_64",
    on_demand_price=Decimal("7.824"),
    slots=8,
)


def pool(name: str = "gpu", **more: Any) -> Pool:
    return Pool(name=name, **{"types": (GPU,), "spot": True, **more})


class FakeSTS:
    """Hands out keys and keeps what was asked for."""

    def __init__(self, clock: VirtualClock) -> None:
        self.asked: list[dict[str, Any]] = []
        self.failing: Exception | None = None
        self._clock = clock

    def assume_role(self, **given: Any) -> dict[str, Any]:
        if self.failing is not None:
            raise self.failing
        self.asked.append(given)
        expires = self._clock() + timedelta(seconds=given["DurationSeconds"])
        keys = {"AccessKeyId": "ASIA1", "SecretAccessKey": "secret", "SessionToken": "token", "Expiration": expires}
        return {"Credentials": keys}


class World:
    def __init__(
        self,
        settings: Settings | None = None,
        pools: Sequence[Pool] = (),
        client: Any = None,
        table_name: str = "lowtide",
    ) -> None:
        self.settings = settings or Settings()
        self.clock = VirtualClock()
        self.dynamodb = client or FakeDynamoDB(self.clock)
        self.sqs = FakeSQS(self.clock)
        self.sts = FakeSTS(self.clock)
        self.dynamodb.create_table(TableName=table_name, **SCHEMA)
        self.table = Table(self.dynamodb, table_name, pause=lambda _: None)
        self.reconcile_url = self.sqs.create_queue(QueueName="reconcile.fifo", Attributes={"FifoQueue": "true"})[
            "QueueUrl"
        ]
        self.parked_url = self.sqs.create_queue(QueueName="parked")["QueueUrl"]
        self.config = PoolConfig(self.table)
        for each in pools or (pool(),):
            self.config.put_pool(each, None, now=self.clock())
        self.count = itertools.count(1)
        self.counted = io.StringIO()
        """The worker API's metrics, as they are logged."""
        self.restart()

    def restart(self, seed: int = 0) -> None:
        """New processes: whatever they kept in memory is gone."""
        kept = self.settings.jobs_kept
        self.ledger = Ledger(self.table, jobs_kept=kept)
        self.leases = Leases(self.table, jobs_kept=kept)
        self.parked = Parked(self.table)
        self.workers = Workers(self.table)
        self.pulse = Pulse(self.table, self.settings)
        self.doorbell = Doorbell(self.table, self.sqs, self.reconcile_url, self.clock)  # type: ignore[arg-type]
        self.intake = Intake(
            config=self.config,
            ledger=self.ledger,
            parked=self.parked,
            parked_queue=Queue(self.sqs, self.parked_url),  # type: ignore[arg-type]
            doorbell=self.doorbell,
            now=self.clock,
        )
        self.api = self.worker_api(seed)
        self.credentials = DataCredentials(
            workers=self.workers,
            role=Role(self.sts, "arn:aws:iam::111122223333:role/Data"),  # type: ignore[arg-type]
            bucket="bucket",
            log_group="logs",
        )
        self.http = WorkerHttp(
            api=self.api,
            credentials=self.credentials,
            job_credentials=JobCredentials(
                workers=self.workers,
                holdings=Holdings(self.table),
                role=lambda arn: Role(self.sts, arn),  # type: ignore[arg-type]
                allowed={JOB_ROLE},
            ),
            pulse=self.pulse,
            metrics=Metrics("Lowtide", self.counted, now=self.clock),
            roles={ROLE},
            now=self.clock,
        )

    def worker_api(self, seed: int = 0) -> WorkerApi:
        return WorkerApi(
            workers=self.workers,
            leases=self.leases,
            heartbeats=Heartbeats(self.table, period=self.settings.heartbeat),
            claims=Claims(self.table, self.leases, Random(seed)),
            doorbell=self.doorbell,
            settings=self.settings,
            now=self.clock,
            random=Random(seed),
        )

    # --- what there is ---

    def instance(self, number: int = 1, *, pool: str = "gpu", **more: Any) -> str:
        """A running instance of 8 slots whose worker has called."""
        instance_id = f"i-{number:017x}"
        given: dict[str, Any] = {
            **{"state": InstanceState.RUNNING, "reported_at": self.clock(), "idle_since": self.clock(), "slots": 8},
            **{"launched_at": self.clock(), "capacity_type": CapacityType.SPOT, **more},
        }
        instance = Instance(
            instance_id=instance_id,
            pool=pool,
            decision="d-1",
            instance_type=GPU.name,
            zone="us-west-2a",
            **given,
        )
        self.table.put(items.instance_item(instance))
        return instance_id

    def message(self, body: Any = None, **fields: Any) -> Message:
        number = next(self.count)
        text = body if isinstance(body, str) else json.dumps({"pool": "gpu", "command": ["true"], **fields})
        return Message(message_id=f"message-{number}", body=text, sent_at=self.clock() + timedelta(milliseconds=number))

    def take(self, *messages: Message) -> Taken:
        return self.intake.take(messages)

    def job(self, job_id: str = "job", **fields: Any) -> JobRecord:
        """A job that was accepted and waits."""
        self.ledger.accept(
            JobSpec(job_id=job_id, **{"pool": "gpu", "command": ("true",), **fields}),
            self.clock() + timedelta(milliseconds=next(self.count)),
            self.clock(),
        )
        return self.record(job_id)

    def record(self, job_id: str = "job") -> JobRecord:
        found = self.ledger.job(job_id)
        assert found is not None
        return found

    def stored_instance(self, instance_id: str, pool: str = "gpu") -> dict[str, Any]:
        found = self.table.get(keys.pool(pool), keys.instance(instance_id))
        assert found is not None
        return found

    def rung(self) -> list[dict[str, str]]:
        """What was sent to the reconcile queue, oldest first."""
        return [json.loads(body) for body in self.sqs.bodies(self.reconcile_url)]

    def dirty(self, pool: str = "gpu") -> str | None:
        return (self.table.get(keys.pool(pool), keys.STATE) or {}).get("dirty")

    def clean(self, pool: str = "gpu") -> None:
        """As if a pass had begun."""
        self.table.update(keys.pool(pool), keys.STATE, "REMOVE dirty")

    # --- what workers say ---

    def claim(
        self,
        instance_id: str,
        request_id: str = "r-1",
        *,
        free: int = 8,
        most: int = 1,
        running: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """`running`: what the worker runs, where that is something; None: it is one that counts slots alone."""
        body = {"request_id": request_id, "free_slots": free, "free_aux_slots": 10, "most": most}
        if running is not None:
            none = {"slots": 0, "vcpus": "0", "memory_mib": 0, "gpus": 0, "aux_slots": 0}
            body["running"] = {**none, **running}
        return self.call(names.API_CLAIM, instance_id, body)

    def heartbeat(self, instance_id: str, *leases: tuple[str, int], notice: Any = None) -> dict[str, Any]:
        named = [{"job_id": job_id, "fence": fence} for job_id, fence in leases]
        return self.call(names.API_HEARTBEAT, instance_id, {"leases": named, "notice": notice})

    def finish(self, instance_id: str, job_id: str = "job", fence: int = 1, **more: Any) -> dict[str, Any]:
        return self.call(names.API_FINISH, instance_id, self.result(job_id, fence, **more))

    def result(self, job_id: str = "job", fence: int = 1, **more: Any) -> dict[str, Any]:
        now = to_text(self.clock())
        return {
            **{"job_id": job_id, "fence": fence, "started_at": now, "ended_at": now, "exit_code": 0, "signal": None},
            **{"timed_out": False, "interrupted": False, "done": False, "error": None, **more},
        }

    def call(self, path: str, instance_id: str, body: Any) -> dict[str, Any]:
        status, answer = self.post(path, instance_id, body)
        assert status == 200, answer
        return answer

    def post(self, path: str, instance_id: str, body: Any, *, role: str = ROLE) -> tuple[int, dict[str, Any]]:
        reply = self.http.reply(event(path, instance_id, body, role=role), account=ACCOUNT)
        return reply.status, json.loads(reply.to_response()["body"])


def event(path: str, instance_id: str, body: Any, *, role: str = ROLE, account: str = ACCOUNT) -> dict[str, Any]:
    """As a function URL with IAM authentication sends it."""
    arn = f"arn:aws:sts::{account}:assumed-role/{role}/{instance_id}"
    identity = {"accountId": account, "userArn": arn, "userId": f"AROAEXAMPLE:{instance_id}"}
    return {
        "rawPath": path,
        "requestContext": {"http": {"method": "POST", "path": path}, "authorizer": {"iam": identity}},
        "body": body if isinstance(body, str) else json.dumps(body),
        "isBase64Encoded": False,
    }
