"""The way of a job through queues and functions with nothing done on it: what the local AWS itself takes for it."""

import io
import json
import time
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

from lambdas import names
from lowtide.bench.functions import switched_off
from lowtide.bench.stage import Stage
from lowtide.local.deploy import RuntimeTarget

GIVE_UP_SECONDS = 120.0
_MARK = "the one that is waited for"
_BEFORE = "before"
"""Body of the messages that go no further than their first function: of jobs of a paused pool nobody is told twice."""
_EMPTY = "def handler(event, context):\n    return None\n"
_FORWARD = """import os
import boto3
sqs, table = boto3.client("sqs"), boto3.client("dynamodb")
def handler(event, context):
    for record in event["Records"]:
        if record["body"] == "before":
            continue
        for _ in range(int(os.environ["READS"])):
            table.get_item(TableName=os.environ["TABLE"], Key={"pk": {"S": "BENCH"}, "sk": {"S": "POOL"}})
        fifo = {"MessageGroupId": "one", "MessageDeduplicationId": record["messageId"]} if "FIFO" in os.environ else {}
        sqs.send_message(QueueUrl=os.environ["NEXT"], MessageBody=record["body"], **fifo)
"""
_STORE = """import os
import boto3
table, own = boto3.client("dynamodb"), os.environ["TABLE"]
def put(pk, sk, body):
    item = {"pk": {"S": pk}, "sk": {"S": sk}, "body": {"S": body}}
    return {"Put": {"TableName": own, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}}
def handler(event, context):
    batch = [("BENCH#" + record["messageId"], record["body"]) for record in event["Records"]]
    table.get_item(TableName=own, Key={"pk": {"S": "BENCH"}, "sk": {"S": "POOL"}}, ConsistentRead=True)
    table.transact_write_items(TransactItems=[put(pk, sk, body) for pk, body in batch for sk in "012"])
    table.update_item(
        TableName=own,
        Key={"pk": {"S": "BENCH"}, "sk": {"S": "STATE"}},
        UpdateExpression="SET cause = :cause",
        ExpressionAttributeValues={":cause": {"S": batch[0][0]}},
    )
"""
"""What intake asks of the table for a batch of jobs of one pool, with nothing read, checked or decided."""


class Chain:
    """Queue, function, FIFO queue, function, queue: the way of a job to CreateFleet with nothing done on it."""

    def __init__(self, stage: Stage, prefix: str, reads: tuple[int, int] = (0, 0)) -> None:
        """`prefix`: of the names of all that it makes. `reads`: how often its two functions read an item of Lowtide's
        table that is not there, the cheapest call there is, before they send."""
        self._stage, self._prefix = stage, prefix
        self._sqs, self._functions = stage.world.client("sqs"), stage.world.client("lambda")
        self._role = _role(stage.world.client("iam"), prefix)
        self._first = self._queue("first")
        middle = self._queue("middle.fifo", FifoQueue="true")
        self._last = self._queue("last")
        self._empty = self._function("empty", _EMPTY, {})
        table = stage.outputs[names.OUTPUT_TABLE_NAME]
        ways = [{"NEXT": middle, "FIFO": "yes"}, {"NEXT": self._last}]
        first, second = ({**way, "TABLE": table, "READS": str(n)} for way, n in zip(ways, reads, strict=True))
        self._feed(self._first, self._function("to-middle", _FORWARD, first), 10)
        self._feed(middle, self._function("to-last", _FORWARD, second), 1)

    def hops(self, before: int) -> float:
        """Seconds from a message, with so many before it, until it is in the last queue."""
        began = sent(self._stage, self._first, _MARK, behind=[_BEFORE] * before).timestamp()
        deadline = time.monotonic() + GIVE_UP_SECONDS
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

    def storing_queue(self, batch: int) -> str:
        """The URL of a queue whose function stores each message as three bare items of Lowtide's own table, a batch in
        one transaction, after one read and before one update, as intake does."""
        url = self._queue("storing")
        table = {"TABLE": self._stage.outputs[names.OUTPUT_TABLE_NAME]}
        self._feed(url, self._function("storing", _STORE, table), batch)
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
    allowed = {"Effect": "Allow", "Action": ["sqs:*", "dynamodb:*"], "Resource": "*"}
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_policy(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=_policy(allowed))
    return arn


def _policy(statement: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _zipped(code: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", code)
    return buffer.getvalue()


def sent(stage: Stage, url: str, body: str, *, behind: Sequence[str]) -> datetime:
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
