"""Alarms that a person is told of through the topic, when they begin and when they are over."""

import json
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters.parked import Parked
from lambdas.domain.jobs import JobState
from tests.world.conftest import SCARCE_TYPE, Stack, scarce, until


@pytest.fixture(scope="module")
def letters(stack: Stack) -> str:
    """The URL of a queue that gets what subscribers of the alarm topic get."""
    sqs, sns = stack.aws.world.client("sqs"), stack.aws.world.client("sns")
    url = sqs.create_queue(QueueName="subscriber")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    policy = {"Version": "2012-10-17", "Statement": [{**allow, "Resource": arn}]}
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    sns.subscribe(TopicArn=stack.outputs[names.OUTPUT_ALARM_TOPIC_ARN], Protocol="sqs", Endpoint=arn)
    return url


class Told:
    """What came through the topic about one alarm, in order."""

    def __init__(self, stack: Stack, url: str, alarm: str) -> None:
        self._sqs, self._url, self._alarm = stack.aws.world.client("sqs"), url, alarm
        self.states: list[str] = []

    def __call__(self) -> list[str]:
        for message in self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages", []):
            letter: dict[str, Any] = json.loads(json.loads(message["Body"])["Message"])
            if self._alarm in letter["AlarmName"]:
                self.states.append(letter["NewStateValue"])
            self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return self.states


def test_unfulfilled_capacity_is_told_and_so_is_its_end(stack: Stack, letters: str) -> None:
    told = Told(stack, letters, names.ALARM_UNFULFILLED)
    stack.apply(scarce(pool_name="short", unfulfilled_alarm_after="1s"))
    job_id = stack.send({"pool": "short", "command": "true"})
    until("ALARM", told, lambda states: states[-1:] == ["ALARM"])
    assert stack.reasons("short")[0]["class"] == "capacity"
    stack.aws.market.set_capacity(SCARCE_TYPE, "*", 40, lifecycle=None)
    try:
        assert stack.ended(job_id).state is JobState.SUCCEEDED
        until("OK", told, lambda states: states[-1:] == ["OK"])
    finally:
        stack.aws.market.set_capacity(SCARCE_TYPE, "*", 0, lifecycle=None)


def test_a_function_that_fails_is_told_and_so_is_that_it_has_ceased_to(stack: Stack, letters: str) -> None:
    told = Told(stack, letters, names.ALARM_FUNCTIONS)
    name = stack.function("ControlReconcile")["FunctionName"]
    answer = stack.aws.world.client("lambda").invoke(FunctionName=name, Payload='{"an event": "of nobody\'s"}')
    assert "FunctionError" in answer
    until("ALARM", told, lambda states: states[-1:] == ["ALARM"])
    until("OK", told, lambda states: states[-1:] == ["OK"])


def test_a_parked_message_is_told_until_it_is_dealt_with(stack: Stack, letters: str) -> None:
    told = Told(stack, letters, names.ALARM_PARKED)
    stack.send("no job")
    until("ALARM", told, lambda states: states[-1:] == ["ALARM"])
    for record in stack.parked():
        Parked(stack.table).delete(record.parked_id)
    until("OK", told, lambda states: states[-1:] == ["OK"])
