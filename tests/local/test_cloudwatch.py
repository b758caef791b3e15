"""Metrics and alarms of a running world, where a minute is a second."""

import json
import time
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from lowtide.local.cloudwatch import embedded
from lowtide.local.world import World
from tests.local.conftest import eventually, function, invoke, queue, received

EMITS = """
import json
def handler(event, context):
    directive = {"Namespace": "Ours", "Dimensions": [["Stack"]], "Metrics": [{"Name": "Waiting", "Unit": "Count"}]}
    print(json.dumps({"_aws": {"CloudWatchMetrics": [directive]}, "Stack": event["stack"], "Waiting": event["value"]}))
    if event.get("fail"):
        raise ValueError("asked for")
"""


def alarm(world: World, name: str, **settings: Any) -> None:
    world.client("cloudwatch").put_metric_alarm(
        **{
            "AlarmName": name,
            "Namespace": "Ours",
            "MetricName": "Waiting",
            "Statistic": "Maximum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 1,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            **settings,
        }
    )


def state(world: World, name: str) -> str:
    return world.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["StateValue"]


def by_stack(stack: str) -> list[dict[str, str]]:
    return [{"Name": "Stack", "Value": stack}]


def test_a_metric_in_a_log_line_raises_its_alarm_and_clears_it_and_each_is_told(world: World) -> None:
    allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:*", "Resource": "*"}
    url, arn = queue(world, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    topic = world.client("sns").create_topic(Name="alarms")["TopicArn"]
    raw = {"RawMessageDelivery": "true"}
    world.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=raw)
    alarm(world, "told", Dimensions=by_stack("a"), AlarmActions=[topic], OKActions=[topic])
    name = function(world, EMITS)
    invoke(world, name, {"stack": "a", "value": 3})
    assert eventually(lambda: state(world, "told") == "ALARM")
    invoke(world, name, {"stack": "a", "value": 0})
    assert eventually(lambda: state(world, "told") == "OK")
    told = [body["NewStateValue"] for body in eventually(lambda: received(world, url))]
    assert told[0] == "ALARM"
    history = world.client("cloudwatch").describe_alarm_history(AlarmName="told", HistoryItemType="StateUpdate")
    summaries = [item["HistorySummary"] for item in history["AlarmHistoryItems"]]
    assert {"Alarm updated from ALARM to OK", "Alarm updated from INSUFFICIENT_DATA to ALARM"} <= set(summaries)


def test_an_alarm_hears_its_own_dimensions_only(world: World) -> None:
    alarm(world, "ours", Dimensions=by_stack("mine"))
    alarm(world, "theirs", Dimensions=by_stack("theirs"))
    invoke(world, function(world, EMITS), {"stack": "theirs", "value": 3})
    assert eventually(lambda: state(world, "theirs") == "ALARM")
    assert state(world, "ours") == "INSUFFICIENT_DATA"


def test_silence_alone_moves_an_alarm(world: World) -> None:
    alarm(
        world,
        "silent",
        Dimensions=by_stack("silent"),
        ComparisonOperator="LessThanThreshold",
        EvaluationPeriods=2,
        TreatMissingData="breaching",
    )
    assert eventually(lambda: state(world, "silent") == "ALARM")
    name = function(world, EMITS)

    def speaks() -> bool:
        invoke(world, name, {"stack": "silent", "value": 1})
        return state(world, "silent") == "OK"

    assert eventually(speaks)
    assert eventually(lambda: state(world, "silent") == "ALARM"), "it went quiet again"


def test_a_functions_errors_count_whoever_calls_it(world: World) -> None:
    name = function(world, EMITS)
    alarm(
        world,
        "errors",
        Namespace="AWS/Lambda",
        MetricName="Errors",
        Statistic="Sum",
        Dimensions=[{"Name": "FunctionName", "Value": name}],
    )
    world.client("lambda").invoke(
        FunctionName=name, InvocationType="Event", Payload=json.dumps({"stack": "x", "value": 0, "fail": True})
    )
    assert eventually(lambda: state(world, "errors") == "ALARM")


def faults_of(*functions: str) -> dict[str, Any]:
    """A template of one alarm on their errors and throttles together."""
    watched = [
        {
            "Id": f"{kind.lower()}{number}",
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/Lambda",
                    "MetricName": kind,
                    "Dimensions": [{"Name": "FunctionName", "Value": name}],
                },
                "Period": 60,
                "Stat": "Sum",
            },
            "ReturnData": False,
        }
        for kind in ("Errors", "Throttles")
        for number, name in enumerate(functions)
    ]
    alarm = {
        "AlarmName": f"faults-{functions[0]}",
        "Metrics": [{"Id": "all", "Expression": "SUM(FILL(METRICS(), 0))"}, *watched],
        "Threshold": 1,
        "EvaluationPeriods": 2,
        "DatapointsToAlarm": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "notBreaching",
    }
    return {"Resources": {"Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": alarm}}}


def stack(world: World, template: dict[str, Any]) -> str:
    """The state of a new stack once it is made or rolled back."""
    cloudformation, name = world.client("cloudformation"), f"s-{uuid4().hex[:8]}"
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(template))

    def status() -> str:
        return cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]

    eventually(lambda: not status().endswith("IN_PROGRESS"))
    return status()


def test_an_alarm_on_several_functions_hears_an_error_of_one_and_a_throttle_of_another(world: World) -> None:
    fails, throttled = function(world, EMITS), function(world, EMITS)
    name = f"faults-{fails}"
    assert stack(world, faults_of(fails, throttled)) == "CREATE_COMPLETE"
    assert eventually(lambda: state(world, name) == "OK"), "what nobody called is no fault"
    invoke(world, fails, {"stack": "x", "value": 0, "fail": True})
    assert eventually(lambda: state(world, name) == "ALARM")
    assert eventually(lambda: state(world, name) == "OK")
    world.client("lambda").put_function_concurrency(FunctionName=throttled, ReservedConcurrentExecutions=0)
    with pytest.raises(ClientError, match="TooManyRequests"):
        invoke(world, throttled, {"stack": "x", "value": 0})
    assert eventually(lambda: state(world, name) == "ALARM")


def test_an_expression_that_cannot_be_decided_fails_the_deployment(world: World) -> None:
    template = faults_of("nobody")
    template["Resources"]["Alarm"]["Properties"]["Metrics"][0]["Expression"] = "errors0 / throttles0"
    assert stack(world, template) in ("ROLLBACK_COMPLETE", "CREATE_FAILED")


def test_a_queues_depth_is_a_metric(world: World) -> None:
    url, _ = queue(world, "deep")
    alarm(
        world,
        "deep",
        Namespace="AWS/SQS",
        MetricName="ApproximateNumberOfMessagesVisible",
        Dimensions=[{"Name": "QueueName", "Value": "deep"}],
        Threshold=2,
    )
    for n in range(2):
        world.client("sqs").send_message(QueueUrl=url, MessageBody=str(n))
    assert eventually(lambda: state(world, "deep") == "ALARM")
    world.client("sqs").purge_queue(QueueUrl=url)
    assert eventually(lambda: state(world, "deep") == "OK")


def test_what_is_not_an_embedded_metric_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    text = 'plain\n{"a": 1}\n{"_aws": {"CloudWatchMetrics": [{"Namespace": "N"}]}}\n{"_aws": nothing}'
    assert list(embedded(text, default_time=time.time())) == []
    assert caplog.text.count("not in the embedded metric format") == 2
