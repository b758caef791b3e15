"""An EC2 client that lists and ends what a test gives it, in boto3's shapes. It plays no market."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lambdas import names
from lowtide.sim.calls import Hook, Request, Response, SimClient, aws_error
from lowtide.sim.templates import TemplateStore

ENDED = "terminated"


@dataclass
class Machine:
    instance_id: str
    tags: dict[str, str]
    launched_at: datetime
    state: str = "running"
    lifecycle: str | None = "spot"
    instance_type: str = "c7i.large"
    zone: str = "us-east-1a"
    listed: bool = True
    """False: Describe does not show it (yet), and Terminate does not know it."""
    state_reason: str | None = None
    ends_after: int = 0
    """Describe calls that still show it shutting down after it was asked to end."""


class ScriptedEc2(SimClient):
    service = "ec2"

    def __init__(self, clock: Callable[[], datetime], *, hook: Hook | None = None) -> None:
        super().__init__(hook)
        self.clock = clock
        self.machines: dict[str, Machine] = {}
        self.templates = TemplateStore()
        self.page_size: int | None = None
        """Smaller pages than asked for, as EC2 may give."""
        self.terminated: list[str] = []
        """Every id that Terminate accepted, in order."""
        self.refuse_to_end: str | None = None
        """Error code of every TerminateInstances."""
        self.refuse_tokens = False
        """Every NextToken is refused, as EC2 does with what is too old."""
        self.on_describe: Callable[[], None] = lambda: None
        """What happens in the world while Describe answers."""

    def describe_launch_templates(self, **request: Any) -> Response:
        return self._call(
            "describe_launch_templates", request, frozenset({"Filters", "MaxResults"}), self.templates.describe
        )

    def delete_launch_template(self, **request: Any) -> Response:
        return self._call("delete_launch_template", request, frozenset({"LaunchTemplateName"}), self.templates.delete)

    def describe_instances(self, **request: Any) -> Response:
        known = frozenset({"Filters", "MaxResults", "NextToken"})
        return self._call("describe_instances", request, known, self._describe)

    def terminate_instances(self, **request: Any) -> Response:
        return self._call("terminate_instances", request, frozenset({"InstanceIds"}), self._terminate)

    def _describe(self, request: Request) -> Response:
        if self.refuse_tokens and "NextToken" in request:
            raise aws_error("DescribeInstances", "InvalidNextToken", "The token is not valid")
        wanted = {f["Name"].removeprefix("tag:"): f["Values"] for f in request["Filters"]}
        found = [
            machine
            for _, machine in sorted(self.machines.items())
            if machine.listed and all(machine.tags.get(tag) in values for tag, values in wanted.items())
        ]
        start = int(request.get("NextToken", "0"))
        end = start + min(request["MaxResults"], self.page_size or request["MaxResults"])
        answer: Response = {"Reservations": [{"Instances": [_shown(machine)]} for machine in found[start:end]]}
        if end < len(found):
            answer["NextToken"] = str(end)
        for machine in found[start:end]:
            self._age(machine)
        self.on_describe()
        return answer

    def _age(self, machine: Machine) -> None:
        if machine.state != "shutting-down":
            return
        machine.ends_after -= 1
        if machine.ends_after < 0:
            machine.state = ENDED

    def _terminate(self, request: Request) -> Response:
        if self.refuse_to_end:
            raise aws_error("TerminateInstances", self.refuse_to_end, "You are not authorized.")
        for instance_id in request["InstanceIds"]:
            if instance_id not in self.machines or not self.machines[instance_id].listed:
                message = f"The instance ID '{instance_id}' does not exist"
                raise aws_error("TerminateInstances", "InvalidInstanceID.NotFound", message)
        for instance_id in request["InstanceIds"]:
            self.terminated.append(instance_id)
            machine = self.machines[instance_id]
            if machine.state != ENDED:
                machine.state = "shutting-down" if machine.ends_after else ENDED
        return {"TerminatingInstances": []}


def _shown(machine: Machine) -> dict[str, Any]:
    return {
        "InstanceId": machine.instance_id,
        "State": {"Name": machine.state},
        "InstanceType": machine.instance_type,
        "Placement": {"AvailabilityZone": machine.zone},
        "LaunchTime": machine.launched_at,
        "Tags": [{"Key": key, "Value": value} for key, value in machine.tags.items()],
        **({"InstanceLifecycle": machine.lifecycle} if machine.lifecycle else {}),
        **({"StateReason": {"Code": machine.state_reason}} if machine.state_reason else {}),
    }


def tags(pool: str, decision: str = "d-1", stack: str = names.STACK) -> dict[str, str]:
    return {names.TAG_STACK: stack, names.TAG_POOL: pool, names.TAG_DECISION: decision}
