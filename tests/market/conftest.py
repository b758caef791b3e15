"""One local AWS for all tests of EC2's API: real HTTP, real signatures, IAM enforced, hosts that only record."""

import json
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace

import boto3
import pytest

from lowtide.local import ec2
from lowtide.local.ec2.images import public_images
from lowtide.local.world import World
from lowtide.market import catalogue
from lowtide.market.unkindness import Unkindness
from tests.market.worlds import REGION, Steady

PACE = 60.0
PLAIN = Unkindness(
    **{"boot_failure": 0.0, "unwarned": 0.0, "late": 0.0, "doubled": 0.0, "rebalance": 0.0, "unfulfillable": 0.0},
    **{"bucket": 1e9, "other_quota": 10**6, "spot_quotas": {}, "on_demand_quotas": {}},
)
"""Prompt enough for tests of the API; what is unkind is tested on the market itself."""


@dataclass
class RecordingHosts:
    """Every call in order, and something to wait on."""

    calls: list[tuple] = field(default_factory=list)
    specs: dict = field(default_factory=dict)
    working: set[str] = field(default_factory=set)
    on_shutdown: object = None
    heard: threading.Condition = field(default_factory=threading.Condition)

    def launch(self, spec):
        self.specs[spec.instance_id] = spec
        self._hear("launch", spec.instance_id)

    def terminate(self, instance_id):
        self._hear("terminate", instance_id)

    def notice(self, instance_id, action, at):
        self._hear("notice", instance_id, action, at)

    def rebalance(self, instance_id, at):
        self._hear("rebalance", instance_id, at)

    def console(self, instance_id):
        return f"console of {instance_id}"

    def busy(self, instance_id):
        return instance_id in self.working

    def of(self, instance_id):
        return [call[0] for call in self.calls if call[1] == instance_id]

    def wait(self, *call, timeout=10):
        with self.heard:
            assert self.heard.wait_for(lambda: any(c[: len(call)] == call for c in self.calls), timeout), self.calls

    def _hear(self, *call):
        with self.heard:
            self.calls.append(call)
            self.heard.notify_all()


@pytest.fixture(scope="package")
def local():
    """World, hosts, control and clients; a launch template, its subnets and an instance role."""
    hosts, made = RecordingHosts(), SimpleNamespace()

    def part(world):
        made.control = ec2.install(world, hosts, unkindness=PLAIN, conditions=Steady())

    with World(pace=PACE, random=Random(5), on_demand_price=catalogue.on_demand_price, parts=[part]) as world:
        yield SimpleNamespace(world=world, hosts=hosts, control=made.control, **_furnish(world))


def _furnish(world):
    client, iam = world.client("ec2"), world.client("iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}],
    }
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=json.dumps(trust))
    profile = iam.create_instance_profile(InstanceProfileName="worker")["InstanceProfile"]
    iam.add_role_to_instance_profile(InstanceProfileName="worker", RoleName="worker")
    subnets = {s["AvailabilityZone"]: s["SubnetId"] for s in client.describe_subnets()["Subnets"]}
    images = {image.architecture: image.image_id for image in public_images(REGION) if "al2023" in image.parameter}
    template = client.create_launch_template(
        LaunchTemplateName="worker",
        LaunchTemplateData={
            "ImageId": images["arm64"],
            "UserData": "IyEvYmluL3NoCg==",
            "IamInstanceProfile": {"Arn": profile["Arn"]},
            "MetadataOptions": {"HttpTokens": "required"},
            "InstanceInitiatedShutdownBehavior": "terminate",
            "BlockDeviceMappings": [
                {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 200, "VolumeType": "gp3", "Encrypted": True}}
            ],
            "TagSpecifications": [
                {"ResourceType": kind, "Tags": [{"Key": "lowtide:stack", "Value": "T"}, {"Key": "from", "Value": "lt"}]}
                for kind in ("instance", "volume", "network-interface")
            ],
        },
    )["LaunchTemplate"]["LaunchTemplateId"]
    return {"ec2": client, "iam": iam, "subnets": subnets, "images": images, "template": template}


@pytest.fixture
def as_role(local):
    """A client of EC2 that may do only what the given statements allow."""
    count = defaultdict(int)

    def client(statements):
        count["role"] += 1
        name = f"user-{id(statements)}-{count['role']}"
        local.iam.create_user(UserName=name)
        policy = {"Version": "2012-10-17", "Statement": statements}
        local.iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
        key = local.iam.create_access_key(UserName=name)["AccessKey"]
        return boto3.client(
            "ec2",
            region_name=REGION,
            endpoint_url=local.world.endpoint,
            aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"],
        )

    return client
