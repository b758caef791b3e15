"""From SendMessage to the CreateFleet call and to the job's start, beside what the local AWS takes for the hops."""

import io
import json
import time
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

from lambdas import names
from lambdas.adapters import keys
from lambdas.adapters.ledger import Ledger
from lambdas.domain.instants import from_text
from lambdas.domain.settings import Settings
from lowtide.bench.functions import switched_off
from lowtide.bench.results import Result, middle_and_tail
from lowtide.bench.stage import Stage, await_that
from lowtide.local.deploy import RuntimeTarget

SAMPLES = 40
WARM_UP = 3
"""Samples that are thrown away: functions start, images and prices are read for the first time."""
BACKLOG = 1_000
BACKLOG_SAMPLES = 5
STARTED_SAMPLES = 10
_POOL, _CROWD, _STARTING = "latency", "crowd", "starting"
_MARK = "the one that is waited for"
_GIVE_UP_SECONDS = 120.0

_BEFORE = "before"
"""Body of the messages that go no further than their first function: of jobs of a paused pool nobody is told twice."""
_EMPTY = "def handler(event, context):\n    return None\n"
_FORWARD = """import os
import boto3
sqs = boto3.client("sqs")
def handler(event, context):
    for record in event["Records"]:
        if record["body"] == "before":
            continue
        fifo = {"MessageGroupId": "one", "MessageDeduplicationId": record["messageId"]} if "FIFO" in os.environ else {}
        sqs.send_message(QueueUrl=os.environ["NEXT"], MessageBody=record["body"], **fifo)
"""


def latency(stage: Stage) -> Result:
    stage.apply_pool(_POOL, most=SAMPLES + WARM_UP + BACKLOG_SAMPLES)
    stage.apply_pool(_STARTING, most=STARTED_SAMPLES)
    stage.apply_pool(_CROWD, most=1, paused=True)
    chain = Chain(stage, "bench-latency")
    started = [_started(stage, chain, number) for number in range(STARTED_SAMPLES)]
    stage.hosts.asleep = True
    try:
        idle = [_pair(stage, chain, number) for number in range(SAMPLES + WARM_UP)][WARM_UP:]
        crowded = [_pair(stage, chain, SAMPLES + WARM_UP + number, before=BACKLOG) for number in range(BACKLOG_SAMPLES)]
    finally:
        stage.hosts.asleep = False
    return Result(
        name="latency",
        title="From SendMessage to CreateFleet and to the job's start",
        about=f"{SAMPLES} jobs, one after the other, each of which needs an instance of its own; {BACKLOG_SAMPLES} "
        f"with {BACKLOG:,} messages that functions take first; {STARTED_SAMPLES} until the job has started. The floor "
        "of the first is as many hops of empty functions: a queue, a function that sends to a FIFO queue, a function "
        "that sends to a last queue, with as many messages before it in the first; that of the last adds the boot "
        "of its own instance, from launch to its worker's first call, and two calls of an empty function. What the "
        "local AWS needs for a hop is in every figure. The aim: at most 1.5 times the floor. Ratios travel "
        "between machines, milliseconds do not.",
        columns=(
            "what",
            "samples",
            "median ms",
            "95th percentile ms",
            "floor: median",
            "floor: 95th percentile",
            "median / floor",
        ),
        rows=(
            _row("SendMessage to CreateFleet", idle),
            _row(f"the same behind {BACKLOG:,} messages", crowded),
            _row("SendMessage to the job's start", started),
        ),
    )


Pair = tuple[float, float]
"""Seconds of ours, and of the floor that was measured right after it."""


def _row(what: str, pairs: Sequence[Pair]) -> tuple[str, ...]:
    ours, floor = (middle_and_tail(side) for side in zip(*pairs, strict=True))
    times = (f"{seconds * 1000:.0f}" for seconds in (*ours, *floor))
    return what, str(len(pairs)), *times, f"{ours[0] / floor[0]:.2f}"


def _pair(stage: Stage, chain: "Chain", number: int, *, before: int = 0) -> Pair:
    # A pause of chance, so that no sample meets the pollers of the queues at the same moment of their rounds,
    # and long enough for the stack's share of CreateFleet's rate (2 a second).
    time.sleep(stage.random.uniform(0.3, 0.7))
    return _launch(stage, number, before), chain.hops(before)


def _launch(stage: Stage, number: int, before: int) -> float:
    """Seconds from the message to the market's record of the launch. Jobs before it are of a pool that is paused."""
    url = stage.outputs[names.OUTPUT_JOB_QUEUE_URL]
    _, seen = stage.market.history_page(0)
    crowd = [_body(_CROWD, f"crowd-{number}-{each}") for each in range(before)]
    began = _sent(stage, url, _body(_POOL, f"latency-{number}"), behind=crowd)
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    while time.monotonic() < deadline:
        if launched := [line for line in stage.market.history(seen) if line.what == "launched"]:
            return (launched[0].at - began).total_seconds()
        time.sleep(0.01)
    raise RuntimeError(f"no CreateFleet within {_GIVE_UP_SECONDS:.0f} s: {stage.state(_POOL).get('reasons')}")


def _started(stage: Stage, chain: "Chain", number: int) -> Pair:
    """Until the job runs on an instance that boots for it and stays busy with it."""
    ledger, job_id = Ledger(stage.table, jobs_kept=Settings().jobs_kept), f"started-{number}"
    began = datetime.now(UTC)
    body = json.dumps({"pool": _STARTING, "command": ["sleep", "900"], "id": job_id})
    stage.world.client("sqs").send_message(QueueUrl=stage.outputs[names.OUTPUT_JOB_QUEUE_URL], MessageBody=body)
    await_that(lambda: _running(ledger, job_id), what="the job's start", seconds=_GIVE_UP_SECONDS)
    job = ledger.job(job_id)
    assert job is not None
    assert job.started_at is not None
    known = stage.table.get(keys.pool(_STARTING), keys.instance(job.instance_id or "")) or {}
    boot = (from_text(known["reported_at"]) - from_text(known["launched_at"])).total_seconds()
    return (job.started_at - began).total_seconds(), chain.hops(0) + boot + 2 * chain.bare()


def _running(ledger: Ledger, job_id: str) -> bool:
    job = ledger.job(job_id)
    return job is not None and job.started_at is not None


def _body(pool: str, job_id: str) -> str:
    return json.dumps({"pool": pool, "command": ["true"], "id": job_id})


def _sent(stage: Stage, url: str, body: str, *, behind: Sequence[str]) -> datetime:
    """When its way began: at once, or, behind others, when all are there and functions may take the first of them."""
    began = datetime.now(UTC)
    with switched_off(stage) if behind else nullcontext():
        send_many(stage, url, behind)
        stage.world.client("sqs").send_message(QueueUrl=url, MessageBody=body)
    return datetime.now(UTC) if behind else began


def send_many(stage: Stage, url: str, bodies: Sequence[str]) -> None:
    sqs = stage.world.client("sqs")
    for first in range(0, len(bodies), 10):
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[first : first + 10])]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)


class Chain:
    """Queue, function, FIFO queue, function, queue: the way of a job to CreateFleet with nothing done on it."""

    def __init__(self, stage: Stage, prefix: str) -> None:
        """`prefix`: of the names of all that it makes."""
        self._stage, self._prefix = stage, prefix
        self._sqs, self._functions = stage.world.client("sqs"), stage.world.client("lambda")
        self._role = _role(stage.world.client("iam"), prefix)
        self._first = self._queue("first")
        middle = self._queue("middle.fifo", FifoQueue="true")
        self._last = self._queue("last")
        self._empty = self._function("empty", _EMPTY, {})
        self._feed(self._first, self._function("to-middle", _FORWARD, {"NEXT": middle, "FIFO": "yes"}), 10)
        self._feed(middle, self._function("to-last", _FORWARD, {"NEXT": self._last}), 1)

    def hops(self, before: int) -> float:
        """Seconds from a message, with so many before it, until it is in the last queue."""
        began = _sent(self._stage, self._first, _MARK, behind=[_BEFORE] * before).timestamp()
        deadline = time.monotonic() + _GIVE_UP_SECONDS
        while time.monotonic() < deadline:
            answer = self._sqs.receive_message(
                QueueUrl=self._last,
                WaitTimeSeconds=5,
                MaxNumberOfMessages=10,
                MessageSystemAttributeNames=["SentTimestamp"],
            )
            for message in answer.get("Messages", []):
                self._sqs.delete_message(QueueUrl=self._last, ReceiptHandle=message["ReceiptHandle"])
                if message["Body"] == _MARK:
                    return int(message["Attributes"]["SentTimestamp"]) / 1000 - began
        raise RuntimeError("the empty functions forwarded nothing")

    def lone_queue(self, batch: int) -> str:
        """The URL of a queue whose function does nothing."""
        url = self._queue("lone")
        self._feed(url, self._empty, batch)
        return url

    def bare(self) -> float:
        began = time.monotonic()
        self._functions.invoke(FunctionName=self._empty, Payload=b"{}")["Payload"].read()
        return time.monotonic() - began

    def _queue(self, name: str, **attributes: str) -> str:
        return self._sqs.create_queue(QueueName=f"{self._prefix}-{name}", Attributes=attributes)["QueueUrl"]

    def _function(self, role: str, code: str, variables: Mapping[str, str]) -> str:
        name = f"{self._prefix}-{role}"
        self._functions.create_function(
            FunctionName=name,
            Runtime=f"python{RuntimeTarget.of_host().python}",
            Handler="app.handler",
            Role=self._role,
            Code={"ZipFile": _zipped(code)},
            Timeout=10,
            Environment={"Variables": dict(variables)},
        )
        return name

    def _feed(self, url: str, function: str, batch: int) -> None:
        attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        self._functions.create_event_source_mapping(
            EventSourceArn=attributes["QueueArn"], FunctionName=function, BatchSize=batch
        )


def _role(iam: Any, name: str) -> str:
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    allowed = {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_policy(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="queues", PolicyDocument=_policy(allowed))
    return arn


def _policy(statement: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _zipped(code: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", code)
    return buffer.getvalue()
