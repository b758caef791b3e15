"""A deployment for the command line to talk to: the pass's world in memory, beneath the clients that verbs make."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import NoCredentialsError

from lambdas import names
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.parked import Parked
from lambdas.adapters.queues import Doorbell, Queue
from lambdas.control.intake import Intake, Message
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

    def describe_instance_types(self, **request: Any) -> dict[str, Any]:
        (wanted,) = request["Filters"]
        return {
            "InstanceTypes": [
                {
                    "InstanceType": name,
                    "VCpuInfo": {"DefaultVCpus": vcpus},
                    "MemoryInfo": {"SizeInMiB": 2048 * vcpus},
                    "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
                }
                for name, vcpus in self.types.items()
                if name in wanted["Values"]
            ]
        }

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
class Uploads:
    """S3, as far as an upload asks it; objects by bucket and key."""

    clock: Callable[[], datetime]
    objects: dict[tuple[str, str], tuple[bytes, datetime]] = field(
        default_factory=dict[tuple[str, str], tuple[bytes, datetime]]
    )

    def head_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        if (Bucket, Key) not in self.objects:
            raise aws_error("HeadObject", "404", "Not Found", status=404)
        return {"LastModified": self.objects[Bucket, Key][1]}

    def put_object(self, Bucket: str, Key: str, Body: bytes) -> dict[str, Any]:
        self.objects[Bucket, Key] = (Body, self.clock())
        return {}


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
        self.jobs_url: str = self.sqs.create_queue(QueueName="jobs")["QueueUrl"]
        self.s3 = Uploads(self.clock)
        outputs = {
            names.OUTPUT_TABLE_NAME: "t",
            names.OUTPUT_JOB_QUEUE_URL: self.jobs_url,
            names.OUTPUT_BUCKET_NAME: "bucket",
        }
        self.stacks = {names.STACK: outputs}
        clients = {
            **{"dynamodb": self.dynamodb, "ec2": self.lists, "pricing": self.lists, "ssm": self.ssm},
            **{"cloudformation": FakeCloudFormation(self.stacks), "sts": FakeSts(), "sqs": self.sqs},
            "s3": self.s3,
        }
        monkeypatch.setattr(boto3, "Session", lambda: Session(clients))
        monkeypatch.setattr(connection, "utc_now", self.clock)
        monkeypatch.delenv(connection.ENV_STACK, raising=False)
        monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)

    def jobs_sent(self) -> list[dict[str, Any]]:
        """The bodies on the job queue, oldest first."""
        return [json.loads(body) for body in self.sqs.bodies(self.jobs_url)]

    def take_in(self) -> None:
        """What is on the job queue becomes jobs, or is parked, as intake does it."""
        queue = self.sqs.queues[self.jobs_url]
        messages = [
            Message(message_id=message.message_id, body=message.body, sent_at=message.sent_at)
            for message in queue.messages
        ]
        queue.messages.clear()
        parked_url: str = self.sqs.create_queue(QueueName="parked")["QueueUrl"]
        Intake(
            config=self.config,
            ledger=self.jobs,
            parked=Parked(self.table),
            parked_queue=Queue(self.sqs, parked_url),
            doorbell=Doorbell(self.table, self.sqs, self.queue, self.clock),
            now=self.clock,
        ).take(messages)

    @property
    def jobs(self) -> Ledger:
        return Ledger(self.table, jobs_kept=self.settings.jobs_kept)

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
