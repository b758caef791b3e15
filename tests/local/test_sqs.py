"""FIFO groups side by side, each in order."""

import json
import time
from uuid import uuid4

import pytest

from lowtide.local.world import World
from tests.local.conftest import eventually, function, queue

SLOW_GROUP = """
import boto3, json, os, time
def handler(event, context):
    for record in event["Records"]:
        if record["attributes"]["MessageGroupId"] == "slow":
            time.sleep(4)
        boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE"], MessageBody=record["body"])
"""


def test_a_slow_group_holds_up_no_other_and_each_keeps_its_order(world: World) -> None:
    out, _ = queue(world)
    fifo, arn = queue(world, f"{uuid4().hex[:8]}.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    allowed = {"Action": "sqs:*", "Resource": "*"}
    name = function(world, SLOW_GROUP, policy=allowed, Environment={"Variables": {"QUEUE": out}})
    world.client("lambda").create_event_source_mapping(FunctionName=name, EventSourceArn=arn, BatchSize=1)
    sqs = world.client("sqs")
    for group, body in [("slow", "slow-1"), ("slow", "slow-2"), *(("fast", f"fast-{n}") for n in range(4))]:
        sqs.send_message(QueueUrl=fifo, MessageGroupId=group, MessageBody=json.dumps(body))
    got: list[str] = []

    def fast_are_through() -> bool:
        got.extend(json.loads(m["Body"]) for m in sqs.receive_message(QueueUrl=out).get("Messages", []))
        return sum(body.startswith("fast") for body in got) == 4

    began = time.monotonic()
    assert eventually(fast_are_through, seconds=20)
    assert "slow-2" not in got, "its own group waits for the first"
    assert [body for body in got if body.startswith("fast")] == [f"fast-{n}" for n in range(4)]
    assert time.monotonic() - began < 15


def test_a_message_may_be_a_mebibyte_and_no_more(world: World) -> None:
    url, _ = queue(world)
    sqs = world.client("sqs")
    sqs.send_message(QueueUrl=url, MessageBody="x" * 1024 * 1024)
    with pytest.raises(sqs.exceptions.ClientError, match="shorter than 1048576"):
        sqs.send_message(QueueUrl=url, MessageBody="x" * (1024 * 1024 + 1))
