"""One small world for each test module: no market, no stack; a test makes the function or queue that it is about."""

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from lowtide.local.world import World

PACE = 60.0
"""A minute of AWS is one second."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(pace=PACE) as world:
        yield world


def zipped(code: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", code)
    return buffer.getvalue()


def role(world: World, policy: dict[str, Any] | None = None, *, service: str = "lambda.amazonaws.com") -> str:
    """A new role with this one statement; its ARN."""
    iam = world.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    name = f"role-{uuid4().hex[:8]}"
    document = {"Version": "2012-10-17", "Statement": [trust]}
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(document))["Role"]["Arn"]
    if policy is not None:
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **policy}]}
        iam.put_role_policy(RoleName=name, PolicyName="only", PolicyDocument=json.dumps(document))
    return arn


def function(world: World, code: str, *, policy: dict[str, Any] | None = None, **settings: Any) -> str:
    """A new function of this code, whose handler is `handler`; its name."""
    name = f"f-{uuid4().hex[:8]}"
    world.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.13",
        Handler="app.handler",
        Role=role(world, policy),
        Code={"ZipFile": zipped(code)},
        **{"Timeout": 10, **settings},
    )
    return name


def invoke(world: World, name: str, event: Any = None) -> dict[str, Any]:
    answer = world.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event or {}))
    return json.loads(answer["Payload"].read())


def queue(world: World, name: str | None = None, **attributes: str) -> tuple[str, str]:
    """A new queue; its URL and ARN."""
    sqs = world.client("sqs")
    url = sqs.create_queue(QueueName=name or f"q-{uuid4().hex[:8]}", Attributes=attributes)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def received(world: World, url: str) -> list[Any]:
    """The bodies of what waits in a queue, taken out of sight for a minute."""
    messages = world.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=60)
    return [json.loads(message["Body"]) for message in messages.get("Messages", [])]


def eventually(look: Callable[[], Any], seconds: float = 10.0) -> Any:
    """The first truthy answer; the last one after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found
