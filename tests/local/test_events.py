"""Schedules on the world's pace, events of AWS services, and what becomes of an event that cannot be delivered."""

import json
from typing import Any
from uuid import uuid4

from lowtide.local.world import World
from tests.local.conftest import eventually, function, queue, received

SENDS = """
import boto3, json, os
def handler(event, context):
    boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE"], MessageBody=json.dumps(event))
    if os.environ.get("FAIL"):
        raise ValueError("asked for")
"""
TO_ANY_QUEUE = {"Action": "sqs:SendMessage", "Resource": "*"}


def rule(world: World, target: str, *, allowed: bool = True, target_settings: Any = None, **settings: Any) -> str:
    """A new rule with the function of this name, or any ARN, as its target; the rule's name."""
    events, functions = world.client("events"), world.client("lambda")
    name = f"r-{uuid4().hex[:8]}"
    arn = events.put_rule(Name=name, **settings)["RuleArn"]
    if not target.startswith("arn:"):
        if allowed:
            functions.add_permission(
                FunctionName=target,
                StatementId=name,
                Action="lambda:InvokeFunction",
                Principal="events.amazonaws.com",
                SourceArn=arn,
            )
        target = functions.get_function_configuration(FunctionName=target)["FunctionArn"]
    events.put_targets(Rule=name, Targets=[{"Id": "t", "Arn": target, **(target_settings or {})}])
    return name


def sender(world: World, url: str, **more: str) -> str:
    return function(world, SENDS, policy=TO_ANY_QUEUE, Environment={"Variables": {"QUEUE": url, **more}})


def drained(world: World, url: str, count: int, seconds: float = 15.0) -> list[Any]:
    """What a queue got, once it got `count`, or all there was in time."""
    found: list[Any] = []

    def enough() -> bool:
        found.extend(received(world, url))
        return len(found) >= count

    eventually(enough, seconds)
    return found


def test_a_rule_of_a_minute_fires_every_paced_minute(world: World) -> None:
    url, _ = queue(world)
    name = rule(world, sender(world, url), ScheduleExpression="rate(1 minute)")
    assert len(drained(world, url, 3, seconds=12)) >= 3, "a minute lasts a second here"
    world.client("events").disable_rule(Name=name)


def test_a_cron_rule_follows_a_calendar_of_the_same_pace(world: World) -> None:
    url, arn = queue(world)
    name = rule(world, arn, ScheduleExpression="cron(* * * * ? *)")
    assert len(drained(world, url, 2, seconds=12)) >= 2
    world.client("events").disable_rule(Name=name)


def test_an_event_of_ec2_reaches_the_function_that_waits_for_it(world: World) -> None:
    url, _ = queue(world)
    pattern = {"source": ["aws.ec2"], "detail-type": ["EC2 Spot Instance Interruption Warning"]}
    rule(world, sender(world, url), EventPattern=json.dumps(pattern))
    detail = {"instance-id": "i-1", "instance-action": "terminate"}
    resources = ["arn:aws:ec2:us-east-1a:instance/i-1"]
    world.emit("aws.ec2", "EC2 Spot Instance Interruption Warning", detail, resources)
    world.emit("aws.ec2", "EC2 Instance Rebalance Recommendation", {"instance-id": "i-1"})
    (event,) = drained(world, url, 1)
    assert event["detail"] == detail
    assert event["resources"] == resources
    assert event["account"] == world.account


def test_a_failing_function_gets_an_event_three_times_and_then_its_dead_letter_queue(world: World) -> None:
    url, _ = queue(world)
    dead, dead_arn = queue(world)
    name = sender(world, url, FAIL="1")
    world.client("lambda").update_function_configuration(FunctionName=name, DeadLetterConfig={"TargetArn": dead_arn})
    rule(world, name, EventPattern=json.dumps({"source": ["aws.thrice"]}))
    world.emit("aws.thrice", "d", {})
    assert len(drained(world, dead, 1)) == 1
    assert len(drained(world, url, 3)) == 3


def test_an_event_is_not_delivered_to_a_function_that_never_allowed_it(world: World) -> None:
    url, _ = queue(world)
    dead, dead_arn = queue(world)
    rule(
        world,
        sender(world, url),
        allowed=False,
        target_settings={"DeadLetterConfig": {"Arn": dead_arn}},
        EventPattern=json.dumps({"source": ["aws.barred"]}),
    )
    world.emit("aws.barred", "d", {})
    (letter,) = drained(world, dead, 1)
    assert letter["ERROR_CODE"] == "NO_PERMISSIONS"
    assert received(world, url) == []
