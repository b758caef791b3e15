"""A deployment for the command line to talk to: the pass's world in memory, beneath the clients that verbs make."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.exceptions import NoCredentialsError

from lambdas import names
from lowtide.cli import connection, main
from lowtide.sim.calls import aws_error
from tests.passes.world import World


@dataclass
class TypeAndPriceLists:
    """What EC2 and the price list say of types; `ec2` is the pass's EC2 for everything else."""

    ec2: Any
    stack: str = names.STACK
    types: dict[str, int] = field(default_factory=lambda: {"c7i.large": 2, "c7i.xlarge": 4})
    """name -> vCPUs"""
    subnets: dict[str, str] = field(default_factory=lambda: {"subnet-a": "us-west-2a"})
    prices: dict[str, str] = field(default_factory=lambda: {"c7i.large": "0.10", "c7i.xlarge": "0.20"})
    console: str = "cloud-init: started"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ec2, name)

    def get_paginator(self, operation: str) -> Any:
        return _Pages(self, operation)

    def get_products(self, **request: Any) -> dict[str, Any]:
        wanted = next(f["Value"] for f in request["Filters"] if f["Field"] == "instanceType")
        price = self.prices.get(wanted)
        dimension = {"unit": "Hrs", "pricePerUnit": {"USD": price}}
        product = {"terms": {"OnDemand": {"x": {"priceDimensions": {"y": dimension}}}}}
        return {"PriceList": [json.dumps(product)] if price else []}

    def describe_subnets(self, SubnetIds: list[str]) -> dict[str, Any]:
        if SubnetIds[0] not in self.subnets:
            raise aws_error("DescribeSubnets", "InvalidSubnetID.NotFound", "no such subnet")
        return {"Subnets": [{"AvailabilityZone": self.subnets[SubnetIds[0]]}]}

    def describe_instances(self, **request: Any) -> dict[str, Any]:
        tags = {f["Name"].removeprefix("tag:"): f["Values"] for f in request["Filters"] if f["Name"].startswith("tag:")}
        ids = next(f["Values"] for f in request["Filters"] if f["Name"] == "instance-id")
        found = [
            m
            for m in self.ec2.machines.values()
            if m.instance_id in ids and all(m.tags.get(k) in v for k, v in tags.items())
        ]
        rows = [
            {"InstanceId": m.instance_id, "Tags": [{"Key": k, "Value": v} for k, v in m.tags.items()]} for m in found
        ]
        return {"Reservations": [{"Instances": rows}]}

    def get_console_output(self, **_: Any) -> dict[str, Any]:
        return {"Output": self.console}


@dataclass
class _Pages:
    lists: TypeAndPriceLists
    operation: str

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        assert self.operation == "describe_instance_types"
        (wanted,) = request["Filters"]
        yield {
            "InstanceTypes": [
                {
                    "InstanceType": name,
                    "VCpuInfo": {"DefaultVCpus": vcpus},
                    "MemoryInfo": {"SizeInMiB": 2048 * vcpus},
                    "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
                }
                for name, vcpus in self.lists.types.items()
                if name in wanted["Values"]
            ]
        }


@dataclass
class FakeCloudFormation:
    stacks: dict[str, dict[str, str]]

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        if StackName not in self.stacks:
            raise aws_error("DescribeStacks", "ValidationError", f"Stack with id {StackName} does not exist")
        outputs = [{"OutputKey": k, "OutputValue": v} for k, v in self.stacks[StackName].items()]
        return {"Stacks": [{"Outputs": outputs}]}


class FakeSts:
    def get_caller_identity(self) -> dict[str, str]:
        return {"Account": "123456789012"}


class NobodysSession:
    """No credentials anywhere."""

    region_name = "us-west-2"

    def client(self, *_: Any, **__: Any) -> Any:
        raise NoCredentialsError


@dataclass
class Session:
    clients: dict[str, Any]
    region_name: str = "us-west-2"

    def client(self, service: str, **_: Any) -> Any:
        return self.clients[service]


@dataclass
class Said:
    """How one command ended."""

    code: int
    out: str
    err: str


class Deployed(World):
    """A world with a command line in front of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **ec2: Any) -> None:
        super().__init__(**ec2)
        self.lists = TypeAndPriceLists(self.ec2)
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self.stacks = {names.STACK: {names.OUTPUT_TABLE_NAME: "t"}}
        clients = {
            **{"dynamodb": self.dynamodb, "ec2": self.lists, "pricing": self.lists, "ssm": self.ssm},
            **{"cloudformation": FakeCloudFormation(self.stacks), "sts": FakeSts(), "sqs": self.sqs},
        }
        monkeypatch.setattr(boto3, "Session", lambda: Session(clients))
        monkeypatch.setattr(connection, "utc_now", self.clock)
        monkeypatch.delenv(connection.ENV_STACK, raising=False)
        monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)

    def say(self, *words: str) -> Said:
        """`lowtide words…`, as a person's shell runs it."""
        return said(self._monkeypatch, self._capsys, *words)


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> Said:
    monkeypatch.setattr(sys, "argv", ["lowtide", *words])
    capsys.readouterr()
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    told = capsys.readouterr()
    return Said(code, told.out, told.err)
