"""Calls of EC2's API for tests: requests of fleets, what came of them, and statements that allow them."""

import time
from itertools import count

import pytest
from botocore.exceptions import ClientError

from tests.market.worlds import REGION, TYPE, A

TOKENS = (f"token-{n}" for n in count())
STACK = {"Key": "lowtide:stack", "Value": "T"}


def fleet_request(local, *zones, lifecycle="spot", target=1, override=None, kinds=("fleet", "instance"), **more):
    strategy = {"AllocationStrategy": "lowest-price"}
    return {
        "Type": "instant",
        "ClientToken": next(TOKENS),
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {"LaunchTemplateId": local.template, "Version": "1"},
                "Overrides": [
                    {"InstanceType": TYPE, "SubnetId": local.subnets[zone], **(override or {})}
                    for zone in (zones or (A,))
                ],
            }
        ],
        "TargetCapacitySpecification": {"TotalTargetCapacity": target, "DefaultTargetCapacityType": lifecycle},
        ("SpotOptions" if lifecycle == "spot" else "OnDemandOptions"): strategy,
        "TagSpecifications": [{"ResourceType": kind, "Tags": [STACK]} for kind in kinds],
        **more,
    }


def ids(answer):
    return [i for entry in answer["Instances"] for i in entry["InstanceIds"]]


def refused(call, **request):
    with pytest.raises(ClientError) as error:
        call(**request)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def eventually(answer, timeout=15):
    """Polls until `answer()` is true, and returns it."""
    deadline = time.monotonic() + timeout
    while not (found := answer()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
    return found


def visible(local, instance_id):
    """The instance as Describe has it once it does."""

    def described():
        found = local.ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": [instance_id]}])["Reservations"]
        return found[0]["Instances"][0] if found else None

    return eventually(described)


def launch(local, *zones, **more):
    found = ids(local.ec2.create_fleet(**fleet_request(local, *zones, **more)))
    for instance_id in found:
        visible(local, instance_id)
    return found


MADE = ("fleet", "instance", "volume", "network-interface", "spot-instances-request")


def arn(kind, identity="*", account="000000000000"):
    return f"arn:aws:ec2:{REGION}:{account}:{kind}/{identity}"


def allow(name, actions, resources, condition=None):
    statement = {"Sid": name, "Effect": "Allow", "Action": actions, "Resource": resources}
    return {**statement, "Condition": condition} if condition else statement


def launching():
    tagged = {"aws:RequestTag/lowtide:stack": "T"}
    made, launches = [arn(kind) for kind in MADE], ["ec2:CreateFleet", "ec2:RunInstances"]
    used = [arn("subnet"), arn("security-group"), arn("launch-template"), arn("image", account="")]
    creating = {"StringEquals": {**tagged, "ec2:CreateAction": ["CreateFleet", "RunInstances"]}}
    return [
        allow("Make", launches, made, {"StringEquals": tagged}),
        allow("Use", launches, used),
        allow("Tag", ["ec2:CreateTags"], made, creating),
        allow(
            "Pass",
            ["iam:PassRole"],
            ["arn:aws:iam::000000000000:role/worker"],
            {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
        ),
        allow("Images", ["ssm:GetParameters"], [f"arn:aws:ssm:{REGION}::parameter/aws/service/*"]),
    ]


TAGGED_BY_REQUEST = ("fleet", "instance", "volume")
"""The template tags the network interface."""
RESOLVED = {"ImageId": "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"}


def on_demand_request(local, **more):
    return fleet_request(local, lifecycle="on-demand", kinds=TAGGED_BY_REQUEST, override=RESOLVED, **more)
