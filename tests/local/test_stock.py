"""Stock ministack is still wrong in each place that is replaced: when one of these fails, its replacement can go."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lowtide.local import environment
from lowtide.local.contract import upstream
from tests.local.conftest import zipped

ARN = f"arn:aws:lambda:us-east-1:{environment.ACCOUNT}:function:f"


@pytest.fixture(autouse=True)
def stock(tmp_path: Path) -> Iterator[None]:
    told = environment.variables(port=1, region="us-east-1", secret_key="s", data_dir=tmp_path)
    with environment.told(told):
        with upstream("core.responses").request_scope(environment.ACCOUNT, "us-east-1"):
            yield
        upstream("core.lambda_runtime").reset()
        upstream("app")._reset_all_state()


def function(code: str = "") -> dict[str, Any]:
    config = {"FunctionName": "f", "FunctionArn": ARN, "Runtime": "python3.13", "Handler": "app.handler", "Timeout": 10}
    record = {"config": config, "code_zip": zipped(code), "policy": {"Statement": []}}
    upstream("services.lambda_svc")._functions["f"] = record
    return record


def test_a_function_sees_packages_that_are_not_in_its_zip() -> None:
    code = "def handler(event, context):\n    import moto\n    return moto.__name__\n"
    assert upstream("services.lambda_svc")._execute_function(function(code), {})["body"] == "moto"


def test_an_embedded_metric_stays_a_log_line() -> None:
    line = {
        "_aws": {"CloudWatchMetrics": [{"Namespace": "N", "Dimensions": [[]], "Metrics": [{"Name": "M"}]}]},
        "M": 1,
    }
    upstream("services.lambda_svc")._emit_lambda_logs(function(), "id", json.dumps(line), False, 1)
    assert list(upstream("services.cloudwatch")._metrics.items()) == []


def test_an_alarm_takes_the_metric_of_other_dimensions_for_its_own() -> None:
    cloudwatch = upstream("services.cloudwatch")
    cloudwatch.record_metric("N", "M", 9, "Count", {"Queue": "theirs"})
    alarm = {
        "AlarmName": "a",
        "Namespace": "N",
        "MetricName": "M",
        "Dimensions": [{"Name": "Queue", "Value": "ours"}],
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": 1,
        "StateValue": "OK",
    }
    cloudwatch._evaluate_alarm(alarm)
    assert alarm["StateValue"] == "ALARM"


def test_an_event_reaches_a_failing_function_once_and_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    functions, events = upstream("services.lambda_svc"), upstream("services.eventbridge")
    function()
    calls: list[Any] = []
    monkeypatch.setattr(functions, "_execute_function_with_config_scope", lambda *args: calls.append(args) or {})
    monkeypatch.setattr(functions, "invoke_async_with_retry", lambda *_: pytest.fail("it retries by itself now"))
    event = {"Source": "s", "DetailType": "d", "Detail": "{}", "Time": 1, "Resources": [], "EventId": "e"}
    event |= {"Account": environment.ACCOUNT, "Region": "us-east-1", "EventBusName": "default"}
    events._invoke_target({"Arn": ARN, "Id": "t"}, event, {"Arn": "arn:aws:events:us-east-1:0:rule/r"})
    deadline = time.monotonic() + 5
    while not calls and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(calls) == 1


def test_condition_keys_of_resources_namespaces_and_leading_keys_are_unknown() -> None:
    context = upstream("core.iam_actions").request_tag_context
    upstream("services.ec2")._tags["i-1"] = [{"Key": "lowtide:stack", "Value": "x"}]
    body = json.dumps({"TableName": "t", "Key": {"pk": {"S": "a"}}}).encode()
    assert context("ec2", "ec2:TerminateInstances", b"", {"InstanceId.1": ["i-1"]}) == {}
    assert context("monitoring", "cloudwatch:PutMetricData", b'{"Namespace": "N"}', {}) == {}
    assert context("dynamodb", "dynamodb:GetItem", body, {}) == {}


def test_a_batch_of_messages_needs_a_permission_that_iam_does_not_have() -> None:
    headers = {"x-amz-target": "AmazonSQS.SendMessageBatch"}
    action = upstream("core.iam_actions").extract_iam_action("sqs", "POST", "/", headers, b"{}", {})
    assert action == "sqs:SendMessageBatch"


def test_named_parameters_are_checked_as_every_resource() -> None:
    headers = {"x-amz-target": "AmazonSSM.GetParameters"}
    body = json.dumps({"Names": ["/aws/service/a"]}).encode()
    find = upstream("core.iam_actions").extract_resource_arn
    assert find("ssm", "POST", "/", headers, body, {}, "us-east-1", environment.ACCOUNT) == "*"


def test_a_parameter_named_by_its_arn_is_checked_as_one_of_that_name() -> None:
    arn = f"arn:aws:ssm:us-east-1:{environment.ACCOUNT}:parameter/a"
    find = upstream("core.iam_actions").extract_resource_arn
    headers, body = {"x-amz-target": "AmazonSSM.GetParameter"}, json.dumps({"Name": arn}).encode()
    found = find("ssm", "POST", "/", headers, body, {}, "us-east-1", environment.ACCOUNT)
    assert found == f"arn:aws:ssm:us-east-1:{environment.ACCOUNT}:parameter/{arn}"


def test_a_fifo_queue_is_worked_on_one_batch_at_a_time() -> None:
    functions = upstream("services.lambda_svc")
    mapping = {"ScalingConfig": {"MaximumConcurrency": 5}}
    assert functions._sqs_esm_concurrency(mapping, {}, {}, {"is_fifo": True}) == 1
    assert functions._ESM_BACKOFF_SECONDS == 1.0


def test_a_template_loses_concurrency_dead_letters_and_time_to_live() -> None:
    provisioners, functions = upstream("services.cloudformation.provisioners"), upstream("services.lambda_svc")
    dropped = {"ReservedConcurrentExecutions": 1, "DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:0:q"}}
    name, _ = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]["create"]("F", dropped, "stack")
    assert functions._functions[name]["concurrency"] is None
    assert "DeadLetterConfig" not in functions._functions[name]["config"]
    ttl = {"TimeToLiveSpecification": {"Enabled": True, "AttributeName": "ends"}}
    table, _ = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]["create"]("T", ttl, "stack")
    described = json.loads(upstream("services.dynamodb")._describe_ttl({"TableName": table})[2])
    assert described["TimeToLiveDescription"]["TimeToLiveStatus"] == "DISABLED"


def test_a_failed_custom_resource_is_not_reported() -> None:
    custom = upstream("services.cloudformation.custom_resource")
    answered = custom.register_token("token")
    event = {"ResponseURL": "http://127.0.0.1/_ministack/cfn-response/token", "StackId": "s"}
    result = upstream("services.lambda_svc")._execute_function_with_config_scope(function("raise ValueError"), event)
    assert result["error"]
    assert not answered.is_set()


def test_a_function_url_resolves_nowhere_and_names_no_caller() -> None:
    functions = upstream("services.lambda_svc")
    function()
    _, _, body = functions._create_function_url_config("f", {"AuthType": "AWS_IAM"}, None)
    assert ".on.aws" in json.loads(body)["FunctionUrl"]
    event = functions._build_function_url_event("id", environment.ACCOUNT, "us-east-1", "POST", "/", {}, b"", {})
    assert "authorizer" not in event["requestContext"]


def test_schedules_are_looked_at_every_ten_seconds() -> None:
    assert upstream("services.eventbridge")._SCHEDULER_TICK_INTERVAL == 10


def test_there_is_no_price_list() -> None:
    assert "pricing" not in upstream("app").SERVICE_HANDLERS


def test_there_are_no_quotas() -> None:
    assert "servicequotas" not in upstream("app").SERVICE_HANDLERS


def test_an_alarm_on_metric_math_cannot_be_deployed() -> None:
    properties = {"Metrics": [{"Id": "all", "Expression": "SUM(FILL(METRICS(), 0))"}], "Threshold": 1}
    with pytest.raises(ValueError, match="metric math"):
        upstream("services.cloudformation.provisioners")._cw_metric_alarm_record("a", properties)


def test_the_role_of_spot_has_another_name() -> None:
    iam = upstream("services.iam")
    iam._IAM_HANDLERS["CreateServiceLinkedRole"]({"AWSServiceName": ["spot.amazonaws.com"]})
    assert "AWSServiceRoleForEC2Spot" not in iam._roles


def test_a_policy_variable_is_plain_text_and_a_log_stream_is_its_group() -> None:
    evaluator, actions = upstream("core.iam_evaluator"), upstream("core.iam_actions")
    statement = {"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::b/${aws:PrincipalTag/pool}/x"}
    request = evaluator.EvalContext(
        principal_arn=ARN,
        principal_type="AssumedRole",
        principal_account=environment.ACCOUNT,
        action="s3:GetObject",
        resource_arn="arn:aws:s3:::b/gpu/x",
        region="us-east-1",
        principal_keys={"aws:principaltag/pool": "gpu"},
    )
    found = evaluator.evaluate(request, [evaluator.parse_policy_document({"Statement": [statement]})])
    assert found.decision == "ImplicitDeny"
    body = json.dumps({"logGroupName": "g", "logStreamName": "s"}).encode()
    headers = {"x-amz-target": "Logs_20140328.PutLogEvents"}
    arn = actions.extract_resource_arn("logs", "POST", "/", headers, body, {}, "us-east-1", environment.ACCOUNT)
    assert arn.endswith(":log-group:g")
    assert actions.request_tag_context("s3", "s3:ListBucket", b"", {"prefix": ["p/"]}) == {}
