"""EC2 as a pass meets it, in memory and by script: instant fleets with client tokens, terminations, price history.

Every request is checked against boto3's own model of EC2, so a request that EC2 could not parse fails a test.
"""

import threading
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

from lowtide.sim.calls import SimClient, aws_error
from lowtide.sim.templates import TemplateStore

MODEL = botocore.session.get_session().get_service_model("ec2")
OPERATIONS = {
    "create_fleet": "CreateFleet",
    "run_instances": "RunInstances",
    "terminate_instances": "TerminateInstances",
    "get_console_output": "GetConsoleOutput",
    "describe_spot_price_history": "DescribeSpotPriceHistory",
    "create_launch_template": "CreateLaunchTemplate",
    "describe_launch_templates": "DescribeLaunchTemplates",
    "describe_launch_template_versions": "DescribeLaunchTemplateVersions",
    "delete_launch_template": "DeleteLaunchTemplate",
}


@dataclass
class Machine:
    instance_id: str
    instance_type: str
    subnet: str
    lifecycle: str
    tags: dict[str, str]
    ended: bool = False


@dataclass
class ScriptedEc2(SimClient):
    clock: Any
    hook: Any = None
    errors: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """(instance type, subnet) -> the code and message with which the offering is refused."""
    capacity: int | None = None
    """Instances that can be had in all; None: any number. EC2 names no error for what is missing."""
    comes_as: str | None = None
    """The lifecycle that every instance comes with, whatever was asked for."""
    prices: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    most_at_once: int = 0
    fleets: list[dict[str, Any]] = field(default_factory=list)
    """Every CreateFleet request that was carried out, repeated ones too."""
    unknown: set[str] = field(default_factory=set)
    """Ids that TerminateInstances does not know."""
    console: str = "boot: no network\n"
    """What every instance has written."""
    templates: TemplateStore = field(default_factory=TemplateStore)
    rehearsed: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Every dry run: the operation and its request."""
    forbidden: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Operation -> the code and message with which its dry run is refused."""
    service = "ec2"

    def __post_init__(self) -> None:
        self._answers: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def create_fleet(self, **request: Any) -> dict[str, Any]:
        return self._checked("create_fleet", request, self._create_fleet)

    def run_instances(self, **request: Any) -> dict[str, Any]:
        return self._checked("run_instances", request, self._run_instances)

    def terminate_instances(self, **request: Any) -> dict[str, Any]:
        return self._checked("terminate_instances", request, self._terminate)

    def describe_spot_price_history(self, **request: Any) -> dict[str, Any]:
        return self._checked("describe_spot_price_history", request, self._history)

    def get_console_output(self, **request: Any) -> dict[str, Any]:
        return self._checked("get_console_output", request, lambda _: {"Output": self.console})

    def create_launch_template(self, **request: Any) -> dict[str, Any]:
        return self._checked("create_launch_template", request, self.templates.create)

    def describe_launch_templates(self, **request: Any) -> dict[str, Any]:
        return self._checked("describe_launch_templates", request, self.templates.describe)

    def describe_launch_template_versions(self, **request: Any) -> dict[str, Any]:
        return self._checked("describe_launch_template_versions", request, self.templates.versions)

    def delete_launch_template(self, **request: Any) -> dict[str, Any]:
        return self._checked("delete_launch_template", request, self.templates.delete)

    def running(self) -> list[Machine]:
        return [machine for machine in self.machines.values() if not machine.ended]

    def _checked(self, method: str, request: dict[str, Any], effect: Any) -> dict[str, Any]:
        shape = MODEL.operation_model(OPERATIONS[method]).input_shape
        report = ParamValidator().validate(request, shape)
        assert not report.has_errors(), report.generate_report()
        return self._call(
            method, request, frozenset(request), self._rehearse(method) if "DryRun" in request else effect
        )

    def _rehearse(self, method: str) -> Any:
        def refuse(request: Any) -> None:
            operation = OPERATIONS[method]
            self.rehearsed.append((operation, dict(request)))
            interfaces = request.get("NetworkInterfaces") or [request]
            offering = (request.get("InstanceType", ""), interfaces[0].get("SubnetId", ""))
            yes = ("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
            code, message = self.forbidden.get(operation) or self.errors.get(offering) or yes
            raise aws_error(operation, code, message, status=412)

        return refuse

    def _run_instances(self, request: Any) -> dict[str, Any]:
        raise AssertionError("nothing launches with RunInstances")

    def _create_fleet(self, request: Any) -> dict[str, Any]:
        with self._lock:
            self.fleets.append(dict(request))
            token = request["ClientToken"]
            if token in self._answers:
                before, answer = self._answers[token]
                if before != request:
                    raise aws_error("CreateFleet", "IdempotentParameterMismatch", "The request differs")
                return answer
            answer = self._launched(request)
            self._answers[token] = (dict(request), answer)
            self.most_at_once = max(self.most_at_once, len(self.running()))
            return answer

    def _launched(self, request: Any) -> dict[str, Any]:
        target = request["TargetCapacitySpecification"]
        lifecycle = target["DefaultTargetCapacityType"]
        config = request["LaunchTemplateConfigs"][0]
        offered, errors = [], []
        for override in config["Overrides"]:
            offering = (override["InstanceType"], override["SubnetId"])
            if offering in self.errors:
                code, message = self.errors[offering]
                errors.append(
                    {
                        "ErrorCode": code,
                        "ErrorMessage": message,
                        "Lifecycle": lifecycle,
                        "LaunchTemplateAndOverrides": {"Overrides": override},
                    }
                )
            else:
                offered.append(override)
        room = 10**6 if self.capacity is None else self.capacity - len(self.running())
        count = min(target["TotalTargetCapacity"], room) if offered else 0
        tags = {t["Key"]: t["Value"] for s in request["TagSpecifications"] for t in s["Tags"]}
        instances = []
        for _ in range(count):
            machine = Machine(
                f"i-{len(self.machines):017x}",
                offered[0]["InstanceType"],
                offered[0]["SubnetId"],
                self.comes_as or lifecycle,
                tags,
            )
            self.machines[machine.instance_id] = machine
            instances.append(
                {
                    "InstanceIds": [machine.instance_id],
                    "InstanceType": machine.instance_type,
                    "Lifecycle": machine.lifecycle,
                    "LaunchTemplateAndOverrides": {"Overrides": offered[0]},
                }
            )
        return {"FleetId": f"fleet-{len(self._answers)}", "Instances": instances, "Errors": errors}

    def _terminate(self, request: Any) -> dict[str, Any]:
        wanted = request["InstanceIds"]
        if missing := [i for i in wanted if i in self.unknown or i not in self.machines]:
            message = f"The instance IDs '{', '.join(missing)}' do not exist"
            raise aws_error("TerminateInstances", "InvalidInstanceID.NotFound", message)
        for instance_id in wanted:
            self.machines[instance_id].ended = True
        return {"TerminatingInstances": [{"InstanceId": i} for i in wanted]}

    def _history(self, request: Any) -> dict[str, Any]:
        since: datetime = request["StartTime"]
        return {
            "SpotPriceHistory": [
                {"InstanceType": t, "AvailabilityZone": z, "SpotPrice": str(p), "Timestamp": since}
                for (t, z), p in self.prices.items()
                if t in request["InstanceTypes"]
            ],
            "NextToken": "",
        }


@dataclass
class ScriptedSsm(SimClient):
    hook: Any = None
    missing: set[str] = field(default_factory=set)
    asked: list[list[str]] = field(default_factory=list)
    service = "ssm"

    def get_parameters(self, **request: Any) -> dict[str, Any]:
        return self._call("get_parameters", request, frozenset({"Names"}), self._get)

    def _get(self, request: Any) -> dict[str, Any]:
        self.asked.append(list(request["Names"]))
        known = [name for name in request["Names"] if name not in self.missing]
        return {"Parameters": [{"Name": n, "Value": f"ami-{'arm' if 'arm64' in n else 'x86'}"} for n in known]}
