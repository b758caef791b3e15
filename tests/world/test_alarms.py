"""What a person is told through the topic: alarms when they begin and when they are over, shortages in words."""

import json
from datetime import datetime

import pytest

from lambdas import names
from lambdas.adapters.parked import Parked
from lambdas.domain.jobs.jobs import JobState
from lowtide.market.fleet import Refused, Request
from lowtide.market.market import Answer, Market
from tests.world.conftest import SCARCE_TYPE, Stack, scarce, steady, until


@pytest.fixture(scope="module")
def letters(stack: Stack) -> str:
    """The URL of a queue that gets what subscribers of the alarm topic get."""
    sqs, sns = stack.aws.world.client("sqs"), stack.aws.world.client("sns")
    url = sqs.create_queue(QueueName="subscriber")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    may_send(stack, "sns", url, arn)
    sns.subscribe(TopicArn=stack.outputs[names.OUTPUT_ALARM_TOPIC_ARN], Protocol="sqs", Endpoint=arn)
    return url


def may_send(stack: Stack, service: str, url: str, arn: str) -> None:
    allow = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sqs:SendMessage"}
    policy = {"Version": "2012-10-17", "Statement": [{**allow, "Resource": arn}]}
    stack.aws.world.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})


class Told:
    """What came through the topic about one alarm, in order; and every message in words: subject, text."""

    def __init__(self, stack: Stack, url: str, alarm: str) -> None:
        self._sqs, self._url, self._alarm = stack.aws.world.client("sqs"), url, alarm
        self.states: list[str] = []
        self.notices: list[tuple[str, str]] = []

    def __call__(self) -> list[str]:
        for message in self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages", []):
            envelope: dict[str, str] = json.loads(message["Body"])
            if not envelope["Message"].startswith("{"):
                self.notices.append((envelope["Subject"], envelope["Message"]))
            elif self._alarm in (letter := json.loads(envelope["Message"]))["AlarmName"]:
                self.states.append(letter["NewStateValue"])
            self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return self.states


def about(pool: str, told: Told) -> list[tuple[str, str]]:
    return [(subject, text) for subject, text in told.notices if f"pool {pool} " in subject]


@pytest.fixture(scope="module")
def bus(stack: Stack) -> str:
    """The URL of a queue that gets the events of shortages."""
    sqs, events = stack.aws.world.client("sqs"), stack.aws.world.client("events")
    url = sqs.create_queue(QueueName="shortages")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    may_send(stack, "events", url, arn)
    pattern = {"source": [names.EVENT_SOURCE], "detail-type": [names.EVENT_POOL_SHORTAGE]}
    events.put_rule(Name="shortages", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="shortages", Targets=[{"Id": "queue", "Arn": arn}])
    return url


def heard(stack: Stack, url: str, pool: str) -> list[str]:
    """What the events that have come since say of the pool's shortage."""
    sqs = stack.aws.world.client("sqs")
    found: list[str] = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
        details = [json.loads(message["Body"])["detail"] for message in messages]
        found += [detail["status"] for detail in details if detail["pool"] == pool]
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


@pytest.mark.long
def test_a_shortage_is_told_in_words_and_so_is_its_end(stack: Stack, letters: str, bus: str) -> None:
    told = Told(stack, letters, names.ALARM_UNFULFILLED)
    stack.apply(scarce(pool_name="short", unfulfilled_alarm_after="5s"))
    job_id = stack.send({"pool": "short", "command": "true"})
    until("ALARM", told, lambda states: states[-1:] == ["ALARM"])
    assert stack.reasons("short")[0]["class"] == "capacity"
    until("a beginning in words", lambda: (told(), about("short", told))[1])
    stack.aws.market.set_capacity(SCARCE_TYPE, "*", 40, lifecycle=None)
    try:
        assert stack.ended(job_id).state is JobState.SUCCEEDED
        until("OK", told, lambda states: states[-1:] == ["OK"])
        until("an end in words", lambda: (told(), about("short", told))[1], lambda found: len(found) > 1)
        (begun, why), (over, _) = about("short", told)
        assert (begun, over) == (
            "Lowtide: pool short lacks 1 instance: capacity",
            "Lowtide: pool short lacks nothing any more",
        )
        assert "lowtide why short" in why
        assert "What to do: Add instance types or zones" in why
        seen: list[str] = []
        until("an end on the bus", lambda: seen.extend(heard(stack, bus, "short")) or seen, lambda got: len(got) > 1)
        assert seen == ["lasts", "ended"]
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


def through(stack: Stack, letters: str, alarm: str, states: list[str]) -> None:
    """The alarm has come into each of these states, in this order; what was told before of it does not matter."""
    told = Told(stack, letters, alarm)
    until(f"{alarm}: {states}", told, lambda seen: seen[-len(states) :] == states)


@pytest.mark.long
def test_a_pool_that_waits_for_a_persons_act_is_told_and_so_is_its_end(stack: Stack, letters: str) -> None:
    """192 vCPUs of an on-demand quota of 128."""
    quick = {"pool_name": "blocked", "min_instances": 0, "max_instances": 1, "max_idle_agent_period": "2s"}
    stack.apply(steady(**quick, instance_type="c7i.48xlarge"))
    job_id = stack.send({"pool": "blocked", "command": "true"})
    through(stack, letters, names.ALARM_BLOCKED, ["ALARM"])
    assert stack.reasons("blocked")[0]["class"] == "quota"
    stack.apply(steady(**quick))
    assert stack.ended(job_id).state is JobState.SUCCEEDED
    through(stack, letters, names.ALARM_BLOCKED, ["OK"])


@pytest.mark.long
def test_a_code_that_nobody_has_met_is_told_until_it_is_gone(
    stack: Stack, letters: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = Market.create_fleet

    def odd(market: Market, request: Request, now: datetime) -> Answer:
        if {each.offering.instance_type for each in request.overrides} == {SCARCE_TYPE}:
            raise Refused("SolarFlareExpected", "Instances of this family are being carried to the cellar.")
        return launch(market, request, now)

    stack.apply(scarce(pool_name="odd"))
    with monkeypatch.context() as changed:
        changed.setattr(Market, "create_fleet", odd)
        job_id = stack.send({"pool": "odd", "command": "true"})
        through(stack, letters, names.ALARM_UNKNOWN_ERRORS, ["ALARM"])
        first = stack.reasons("odd")[0]
        assert (first["class"], first["code"]) == ("transient", "SolarFlareExpected")
    stack.aws.market.set_capacity(SCARCE_TYPE, "*", 40, lifecycle=None)
    try:
        assert stack.ended(job_id).state is JobState.SUCCEEDED
        through(stack, letters, names.ALARM_UNKNOWN_ERRORS, ["OK"])
    finally:
        stack.aws.market.set_capacity(SCARCE_TYPE, "*", 0, lifecycle=None)


@pytest.mark.long
def test_a_control_loop_that_stands_still_is_told_until_it_goes_on(stack: Stack, letters: str) -> None:
    events = stack.aws.world.client("events")
    (tick,) = [each["Name"] for each in events.list_rules()["Rules"] if "EveryMinute" in each["Name"]]
    events.disable_rule(Name=tick)
    try:
        through(stack, letters, names.ALARM_SILENT, ["ALARM"])
    finally:
        events.enable_rule(Name=tick)
    through(stack, letters, names.ALARM_SILENT, ["OK"])


@pytest.mark.long
def test_a_function_that_aws_throttles_is_told_until_it_is_free(stack: Stack, letters: str) -> None:
    functions = stack.aws.world.client("lambda")
    name = stack.function("ControlIntake")["FunctionName"]
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    try:
        with pytest.raises(functions.exceptions.TooManyRequestsException):
            functions.invoke(FunctionName=name, Payload="{}")
        through(stack, letters, names.ALARM_THROTTLES, ["ALARM"])
    finally:
        functions.delete_function_concurrency(FunctionName=name)
    through(stack, letters, names.ALARM_THROTTLES, ["OK"])
