"""Permissions of EC2's API: what a launch takes, by action and kind of resource, and whose instances may be ended."""

import pytest
from botocore.exceptions import ClientError

from tests.market.ec2_calls import (
    TAGGED_BY_REQUEST,
    allow,
    arn,
    fleet_request,
    ids,
    launch,
    launching,
    on_demand_request,
    refused,
    visible,
)


def test_the_least_privilege_is_enough(local, as_role):
    answer = as_role(launching()).create_fleet(**on_demand_request(local))
    assert (answer["Errors"], len(ids(answer))) == ([], 1)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("Use", "ec2:CreateFleet"),
        ("Make", "ec2:CreateFleet"),
        ("Tag", "ec2:CreateTags"),
        ("Pass", "iam:PassRole"),
        ("Images", "ssm:GetParameters"),
    ],
)
def test_each_missing_statement_is_refused_and_the_action_named(local, as_role, statement, named):
    client = as_role([s for s in launching() if s["Sid"] != statement])
    code, message = answered(client, on_demand_request(local))
    assert code == "UnauthorizedOperation"
    assert "You are not authorized to perform this operation. User: arn:aws:iam::" in message
    assert f"is not authorized to perform: {named} on resource: arn:aws:" in message


@pytest.mark.parametrize("kind", ["instance", "volume", "network-interface", "subnet", "security-group", "image"])
def test_running_on_each_kind_of_resource_is_a_permission_of_its_own(local, as_role, kind):
    statements = launching()
    for statement in statements[:2]:
        statement["Resource"] = [r for r in statement["Resource"] if f":{kind}/" not in r]
    code, message = answered(as_role(statements), on_demand_request(local))
    assert code == "UnauthorizedOperation"
    assert "ec2:RunInstances on resource" in message
    assert f":{kind}/" in message


def test_spot_needs_the_spot_request_tagged_too(local, as_role):
    request = fleet_request(local, kinds=TAGGED_BY_REQUEST)
    code, message = answered(as_role(launching()), request)
    assert (code, ":spot-instances-request/" in message) == ("UnauthorizedOperation", True)


def test_an_untagged_launch_is_refused(local, as_role):
    code, message = answered(as_role(launching()), on_demand_request(local) | {"TagSpecifications": []})
    assert (code, "ec2:CreateFleet" in message) == ("UnauthorizedOperation", True)


def answered(client, request):
    """Code and message of the refusal, whether whole or of the override."""
    try:
        [error] = client.create_fleet(**request)["Errors"]
    except ClientError as refusal:
        return refusal.response["Error"]["Code"], refusal.response["Error"]["Message"]
    return error["ErrorCode"], error["ErrorMessage"]


def test_only_instances_with_the_tag_can_be_terminated(local, as_role):
    [ours] = launch(local)
    [other] = launch(local)
    local.ec2.create_tags(Resources=[other], Tags=[{"Key": "lowtide:stack", "Value": "Other"}])
    condition = {"StringEquals": {"ec2:ResourceTag/lowtide:stack": "T"}}
    client = as_role([allow("End", ["ec2:TerminateInstances"], [arn("instance")], condition)])
    code, message = refused(client.terminate_instances, InstanceIds=[ours, other])
    assert (code, f"instance/{other}" in message) == ("UnauthorizedOperation", True)
    assert visible(local, ours)["State"]["Name"] in ("pending", "running")
    client.terminate_instances(InstanceIds=[ours])
