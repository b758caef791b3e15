"""What a template says reaches the resources, custom resources answer, and a function URL can be called as printed."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lowtide.local.world import World
from tests.local.conftest import role, zipped

CODE = "def handler(event, context):\n    return event.get('requestContext', {}).get('authorizer')\n"
FAILING = "raise ValueError('nothing here works')\n"
ANSWERING = """
import json, urllib.request
def handler(event, context):
    copied = {name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")}
    answer = {"Status": "SUCCESS", "PhysicalResourceId": "x", "Data": {"Said": event["RequestType"]}, **copied}
    request = urllib.request.Request(event["ResponseURL"], data=json.dumps(answer).encode(), method="PUT")
    urllib.request.urlopen(request)
"""


def function(world: World, code: str, **more: Any) -> dict[str, Any]:
    properties = {
        "Runtime": "python3.13",
        "Handler": "index.handler",
        "Role": role(world),
        "Code": {"ZipFile": code},
        "Timeout": 10,
        **more,
    }
    return {"Type": "AWS::Lambda::Function", "Properties": properties}


def deployed(world: World, resources: Mapping[str, Any], outputs: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The name and the outputs of a new stack."""
    cloudformation, name = world.client("cloudformation"), f"s-{uuid4().hex[:8]}"
    template = {"Resources": resources, "Outputs": {key: {"Value": value} for key, value in outputs.items()}}
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(template))
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )
    found = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["Outputs"]
    return name, {output["OutputKey"]: output["OutputValue"] for output in found}


def test_concurrency_dead_letters_and_time_to_live_reach_what_is_deployed(world: World) -> None:
    queue_arn = {"Fn::GetAtt": ["Q", "Arn"]}
    table = {
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
        "TimeToLiveSpecification": {"Enabled": True, "AttributeName": "ends"},
    }
    more = {"ReservedConcurrentExecutions": 3, "DeadLetterConfig": {"TargetArn": queue_arn}}
    _, outputs = deployed(
        world,
        {
            "Q": {"Type": "AWS::SQS::Queue"},
            "F": function(world, CODE, **more),
            "T": {"Type": "AWS::DynamoDB::Table", "Properties": table},
        },
        {"F": {"Ref": "F"}, "T": {"Ref": "T"}, "Q": queue_arn},
    )
    functions, dynamodb = world.client("lambda"), world.client("dynamodb")
    assert functions.get_function_concurrency(FunctionName=outputs["F"])["ReservedConcurrentExecutions"] == 3
    config = functions.get_function_configuration(FunctionName=outputs["F"])
    assert config["DeadLetterConfig"] == {"TargetArn": outputs["Q"]}
    ttl = dynamodb.describe_time_to_live(TableName=outputs["T"])["TimeToLiveDescription"]
    assert ttl == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ends"}


def custom(world: World, code: str) -> dict[str, Any]:
    token = {"ServiceToken": {"Fn::GetAtt": ["F", "Arn"]}}
    return {"F": function(world, code), "C": {"Type": "Custom::Thing", "Properties": token}}


def test_a_custom_resource_answers_through_its_response_url(world: World) -> None:
    _, outputs = deployed(world, custom(world, ANSWERING), {"Said": {"Fn::GetAtt": ["C", "Said"]}})
    assert outputs["Said"] == "Create"


def test_a_custom_resource_whose_function_fails_fails_the_stack_at_once_with_its_words(world: World) -> None:
    cloudformation, name = world.client("cloudformation"), f"s-{uuid4().hex[:8]}"
    cloudformation.create_stack(
        StackName=name, TemplateBody=json.dumps({"Resources": custom(world, FAILING)}), OnFailure="DO_NOTHING"
    )
    with pytest.raises(Exception, match="Waiter StackCreateComplete failed"):
        cloudformation.get_waiter("stack_create_complete").wait(
            StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
        )
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    assert any("nothing here works" in event.get("ResourceStatusReason", "") for event in events)


def signed(url: str, keys: Mapping[str, str]) -> dict[str, str]:
    request = AWSRequest("POST", url, data=b"{}", headers={"content-type": "application/json"})
    credentials = Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["Token"])
    SigV4Auth(credentials, "lambda", "us-east-1").add_auth(request)
    return dict(request.headers.items())


def test_a_function_url_answers_as_printed_and_tells_the_function_which_instance_called(world: World) -> None:
    url = {"TargetFunctionArn": {"Fn::GetAtt": ["F", "Arn"]}, "AuthType": "AWS_IAM"}
    _, outputs = deployed(
        world,
        {"F": function(world, CODE), "U": {"Type": "AWS::Lambda::Url", "Properties": url}},
        {"Url": {"Fn::GetAtt": ["U", "FunctionUrl"]}},
    )
    both = {"Action": ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"], "Resource": "*"}
    keys = world.role_credentials(role(world, both), "i-0abc")
    answer = httpx.post(outputs["Url"], content=b"{}", headers=signed(outputs["Url"], dict(keys)))
    caller = answer.json()["iam"]
    assert caller["accessKey"] == keys["AccessKeyId"]
    assert caller["accountId"] == world.account
    assert caller["userArn"].endswith("/i-0abc")
    assert caller["userId"] == caller["callerId"]
    assert caller["userId"].endswith(":i-0abc")


@pytest.mark.parametrize("action", ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"])
def test_a_function_url_needs_both_rights(world: World, action: str) -> None:
    functions = world.client("lambda")
    name = f"f-{uuid4().hex[:8]}"
    functions.create_function(
        FunctionName=name, Runtime="python3.13", Handler="app.handler", Role=role(world), Code={"ZipFile": zipped(CODE)}
    )
    url = functions.create_function_url_config(FunctionName=name, AuthType="AWS_IAM")["FunctionUrl"]
    keys = world.role_credentials(role(world, {"Action": action, "Resource": "*"}), "i-1")
    assert httpx.post(url, content=b"{}", headers=signed(url, dict(keys))).status_code == 403
    assert httpx.post(url, content=b"{}").status_code == 403, "and a signature"
