"""From SendMessage to the CreateFleet call, beside what the local AWS itself takes for as many hops."""

import io
import json
import time
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from lambdas import names
from lowtide.bench.results import Result, middle_and_tail
from lowtide.bench.stage import Stage
from lowtide.local.deploy import RuntimeTarget

SAMPLES = 50
WARM_UP = 3
"""Samples that are thrown away: functions start, images and prices are read for the first time."""
_POOL = "latency"
_GIVE_UP_SECONDS = 30.0

_EMPTY = "def handler(event, context):\n    return None\n"
_FORWARD = """import os
import boto3
sqs = boto3.client("sqs")
def handler(event, context):
    for record in event["Records"]:
        fifo = {"MessageGroupId": "one", "MessageDeduplicationId": record["messageId"]} if "FIFO" in os.environ else {}
        sqs.send_message(QueueUrl=os.environ["NEXT"], MessageBody=record["body"], **fifo)
"""


def latency(stage: Stage) -> Result:
    stage.apply_pool(_POOL, most=SAMPLES + WARM_UP)
    stage.hosts.asleep = True
    chain = _Chain(stage)
    ours: list[float] = []
    hops: list[float] = []
    bare: list[float] = []
    try:
        for number in range(SAMPLES + WARM_UP):
            # A pause of chance, so that no sample meets the pollers of the queues at the same moment of their rounds,
            # and long enough for the stack's share of CreateFleet's rate (2 a second).
            time.sleep(stage.random.uniform(0.3, 0.7))
            found = _launch(stage, number), chain.hops(), chain.bare()
            if number >= WARM_UP:
                for samples, seconds in zip((ours, hops, bare), found, strict=True):
                    samples.append(seconds)
    finally:
        stage.hosts.asleep = False
    base = middle_and_tail(hops)[0]
    told = {
        "SendMessage to CreateFleet": ours,
        "as many hops of empty functions": hops,
        "one call of an empty function": bare,
    }
    return Result(
        name="latency",
        title="From SendMessage to CreateFleet",
        about=f"{SAMPLES} jobs, one after the other, each of which needs an instance of its own. The hops: a queue, a "
        "function that sends to a FIFO queue, a function that sends to a last queue; what the local AWS needs for that "
        "is in every figure of the first row. Ratios travel between machines, milliseconds do not.",
        columns=("what", "median ms", "95th percentile ms", "median, in hops"),
        rows=tuple(_row(what, samples, base) for what, samples in told.items()),
    )


def _row(what: str, samples: list[float], base: float) -> tuple[str, ...]:
    middle, tail = middle_and_tail(samples)
    return what, f"{middle * 1000:.0f}", f"{tail * 1000:.0f}", f"{middle / base:.2f}"


def _launch(stage: Stage, number: int) -> float:
    """Seconds from the message to the market's record of the launch."""
    _, seen = stage.market.history_page(0)
    url = stage.outputs[names.OUTPUT_JOB_QUEUE_URL]
    body = json.dumps({"pool": _POOL, "command": ["true"], "id": f"latency-{number}"})
    sqs = stage.world.client("sqs")
    began = datetime.now(UTC)
    sqs.send_message(QueueUrl=url, MessageBody=body)
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    while time.monotonic() < deadline:
        launched = [line for line in stage.market.history(seen) if line.what == "launched"]
        if launched:
            return (launched[0].at - began).total_seconds()
        time.sleep(0.01)
    raise RuntimeError(f"no CreateFleet within {_GIVE_UP_SECONDS:.0f} s: {stage.state(_POOL).get('reasons')}")


class _Chain:
    """Queue, function, FIFO queue, function, queue: the way of a job to CreateFleet with nothing done on it."""

    def __init__(self, stage: Stage) -> None:
        self._sqs, self._functions = stage.world.client("sqs"), stage.world.client("lambda")
        self._role = _role(stage.world.client("iam"))
        self._first = self._queue("bench-first")
        middle = self._queue("bench-middle.fifo", FifoQueue="true")
        self._last = self._queue("bench-last")
        self._empty = self._function("bench-empty", _EMPTY, {})
        self._feed(self._first, self._function("bench-to-middle", _FORWARD, {"NEXT": middle, "FIFO": "yes"}), 10)
        self._feed(middle, self._function("bench-to-last", _FORWARD, {"NEXT": self._last}), 1)

    def hops(self) -> float:
        began = time.time()
        self._sqs.send_message(QueueUrl=self._first, MessageBody="-")
        deadline = time.monotonic() + _GIVE_UP_SECONDS
        while time.monotonic() < deadline:
            answer = self._sqs.receive_message(
                QueueUrl=self._last, WaitTimeSeconds=5, MessageSystemAttributeNames=["SentTimestamp"]
            )
            for message in answer.get("Messages", []):
                self._sqs.delete_message(QueueUrl=self._last, ReceiptHandle=message["ReceiptHandle"])
                return int(message["Attributes"]["SentTimestamp"]) / 1000 - began
        raise RuntimeError("the empty functions forwarded nothing")

    def bare(self) -> float:
        began = time.monotonic()
        self._functions.invoke(FunctionName=self._empty, Payload=b"{}")["Payload"].read()
        return time.monotonic() - began

    def _queue(self, name: str, **attributes: str) -> str:
        return self._sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    def _function(self, name: str, code: str, variables: Mapping[str, str]) -> str:
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


def _role(iam: Any) -> str:
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    allowed = {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}
    arn: str = iam.create_role(RoleName="bench", AssumeRolePolicyDocument=_policy(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName="bench", PolicyName="queues", PolicyDocument=_policy(allowed))
    return arn


def _policy(statement: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _zipped(code: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", code)
    return buffer.getvalue()
