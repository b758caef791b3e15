"""Launch templates of pools over real HTTP: made, launched from and deleted with no more than the stack's rights."""

import base64

import pytest
from botocore.exceptions import ClientError

from lambdas.adapters.ec2 import LaunchTemplate
from lambdas.adapters.launch_templates import LaunchTemplates
from lambdas.domain.pools.machine import Machine, template_data
from tests.market.ec2_calls import allow, arn, ids, launching, on_demand_request, visible

MINE = {"StringEquals": {"ec2:ResourceTag/lowtide:stack": "T"}}
TAGGED = {"aws:RequestTag/lowtide:stack": "T"}
TEMPLATE = [arn("launch-template")]


def keeping():
    """As infra/permissions.py grants it, the stack's own template left out."""
    used = [arn("subnet"), arn("security-group"), arn("key-pair"), arn("image", account="")]
    launches = ["ec2:CreateFleet", "ec2:RunInstances"]
    made_with = {"StringEquals": {**TAGGED, "ec2:CreateAction": "CreateLaunchTemplate"}}
    return [
        *(s for s in launching() if s["Sid"] != "Use"),
        allow("Use", launches, used),
        allow("UseTagged", launches, TEMPLATE, MINE),
        allow("MakeTemplates", ["ec2:CreateLaunchTemplate"], TEMPLATE, {"StringEquals": TAGGED}),
        allow("TagTemplates", ["ec2:CreateTags"], TEMPLATE, made_with),
        allow("DeleteTemplates", ["ec2:DeleteLaunchTemplate"], TEMPLATE, MINE),
        allow("Look", ["ec2:DescribeLaunchTemplates", "ec2:DescribeLaunchTemplateVersions"], ["*"]),
    ]


def from_template(local, template_id):
    request = on_demand_request(local)
    request["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"]["LaunchTemplateId"] = template_id
    return request


@pytest.fixture
def kept(local, as_role):
    client = as_role(keeping())
    base = LaunchTemplate(template_id=local.template, version="1")
    return client, LaunchTemplates(client, "T"), dict(LaunchTemplates(local.ec2, "T").data(base))


def test_what_a_pool_asks_for_reaches_its_instances(local, kept):
    client, templates, base = kept
    local.ec2.create_key_pair(KeyName="mine")
    base["UserData"] = base64.b64encode(b"#!/bin/sh\nexec true\n").decode()
    machine = Machine(tags=(("team", "vision"),), ssh_key_name="mine", root_volume_size=500, startup_script="echo a")
    made = templates.make("t-reaches", template_data(base, machine), pool="cpu")
    (instance_id,) = ids(client.create_fleet(**from_template(local, made.template_id)))
    described = visible(local, instance_id)
    assert {"Key": "team", "Value": "vision"} in described["Tags"]
    assert described["KeyName"] == "mine"
    (volume,) = local.ec2.describe_volumes(VolumeIds=[described["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]])[
        "Volumes"
    ]
    assert volume["Size"] == 500
    local.hosts.wait("launch", instance_id)
    assert b"echo a" in local.hosts.specs[instance_id].user_data
    templates.delete("t-reaches")
    templates.delete("t-reaches")
    assert templates.find("t-reaches") is None


def test_a_name_that_exists_is_used_again(kept):
    _, templates, base = kept
    first = templates.make("t-twice", template_data(base, Machine()), pool="cpu")
    assert templates.make("t-twice", template_data(base, Machine()), pool="cpu") == first
    assert templates.every() == ["t-twice"]
    templates.delete("t-twice")


def test_a_template_without_the_stacks_tag_is_neither_made_nor_used_nor_deleted(local, as_role):
    client = as_role(keeping())
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        LaunchTemplates(client, "Other").make("t-other", {"ImageId": "ami-1"}, pool="cpu")
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        client.create_fleet(**from_template(local, local.template))
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        LaunchTemplates(client, "T").delete("worker")
    assert local.ec2.describe_launch_templates(LaunchTemplateNames=["worker"])["LaunchTemplates"]
