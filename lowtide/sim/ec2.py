"""EC2 and SSM in memory: the calls that lambdas/adapters/ec2.py and ssm.py make, on the pure market, under a virtual
clock.

The market decides what a request gets, how late Describe is and when instances end; here its answers take EC2's shape.
What the local AWS answers over HTTP passes the same contract tests (tests/contract/test_ec2.py).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from lowtide.market import catalogue
from lowtide.market.fleet import Override, Refusal, Refused
from lowtide.market.fleet import Request as FleetRequest
from lowtide.market.instances import STATE_CODES, Instance
from lowtide.market.market import Answer, Market
from lowtide.market.model import Lifecycle, Offering
from lowtide.sim.calls import Hook, NotModelled, Request, Response, SimClient, aws_error
from lowtide.sim.templates import TemplateStore

Tags = Mapping[str, str]

MOST_RESULTS = 1000
"""Of one page, EC2's most. It may always answer with fewer."""
PRODUCT = "Linux/UNIX"
SPOT_TAGS_ON_DEMAND = (
    "InvalidParameterCombination",
    "You cannot specify tags for Spot instances requests if there are no Spot instances requests being created by the "
    "request.",
)
ARCHITECTURES = ("arm64", "x86_64")
PUBLIC_PARAMETERS: Mapping[str, str] = {
    **{f"/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{a}": f"ami-al2023-{a}" for a in ARCHITECTURES},
    **{
        f"/aws/service/deeplearning/ami/{a}/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id": f"ami-gpu-{a}"
        for a in ARCHITECTURES
    },
}
"""The public images by the SSM parameter that names them; an image's id ends with its architecture."""

_FLEET = frozenset(
    {
        *("Type", "ClientToken", "LaunchTemplateConfigs", "TargetCapacitySpecification", "SpotOptions"),
        *("OnDemandOptions", "TagSpecifications", "DryRun"),
    }
)
_REHEARSED = frozenset(
    {
        *("MinCount", "MaxCount", "InstanceType", "ImageId", "SubnetId", "LaunchTemplate", "InstanceMarketOptions"),
        *("TagSpecifications", "DryRun", "BlockDeviceMappings", "InstanceInitiatedShutdownBehavior", "KeyName"),
        *("MetadataOptions", "IamInstanceProfile", "SecurityGroupIds", "NetworkInterfaces"),
    }
)
_PRICES = frozenset({"InstanceTypes", "ProductDescriptions", "StartTime", "EndTime", "NextToken", "MaxResults"})


class FakeEC2(SimClient):
    service = "ec2"

    def __init__(
        self,
        market: Market,
        clock: Callable[[], datetime],
        *,
        subnets: Mapping[str, str],
        templates: Mapping[str, Lifecycle],
        hook: Hook | None = None,
    ) -> None:
        """`subnets`: zone by subnet id. `templates`: by launch template id the lifecycle it is for; one for spot tags
        the spot request, which EC2 refuses for on-demand."""
        super().__init__(hook)
        self.pool_templates = TemplateStore()
        self.market = market
        self.slips = 0
        """So many of the next requests for spot are answered with on-demand instances, as has been seen to happen."""
        self.page = MOST_RESULTS
        """The most instances in one page of Describe."""
        self._clock = clock
        self._subnets = subnets
        self._templates = templates
        self._tags: dict[str, Tags] = {}

    # --- the client's methods -----------------------------------------------------------------------------------------

    def create_fleet(self, **request: Any) -> Response:
        return self._answered("create_fleet", request, _FLEET, self._create_fleet)

    def run_instances(self, **request: Any) -> Response:
        """Dry runs only: nothing here launches so."""
        return self._answered("run_instances", request, _REHEARSED, self._run_instances)

    def terminate_instances(self, **request: Any) -> Response:
        return self._answered("terminate_instances", request, frozenset({"InstanceIds"}), self._terminate)

    def describe_instances(self, **request: Any) -> Response:
        known = frozenset({"Filters", "MaxResults", "NextToken"})
        return self._answered("describe_instances", request, known, self._describe)

    def describe_spot_price_history(self, **request: Any) -> Response:
        return self._answered("describe_spot_price_history", request, _PRICES, self._prices)

    def describe_instance_types(self, **request: Any) -> Response:
        return self._answered("describe_instance_types", request, frozenset({"Filters", "NextToken"}), self._types)

    def create_launch_template(self, **request: Any) -> Response:
        known = frozenset({"LaunchTemplateName", "LaunchTemplateData", "TagSpecifications", "DryRun"})
        return self._answered("create_launch_template", request, known, self._create_launch_template)

    def describe_launch_templates(self, **request: Any) -> Response:
        known = frozenset({"Filters", "MaxResults", "NextToken"})
        return self._answered("describe_launch_templates", request, known, self.pool_templates.describe)

    def describe_launch_template_versions(self, **request: Any) -> Response:
        known = frozenset({"LaunchTemplateId", "Versions"})
        return self._answered("describe_launch_template_versions", request, known, self.pool_templates.versions)

    def delete_launch_template(self, **request: Any) -> Response:
        known = frozenset({"LaunchTemplateName"})
        return self._answered("delete_launch_template", request, known, self.pool_templates.delete)

    def get_console_output(self, **request: Any) -> Response:
        known = frozenset({"InstanceId", "Latest"})
        return self._answered("get_console_output", request, known, lambda _: {"Output": ""})

    # --- what tests and worlds ask beside the client ------------------------------------------------------------------

    def tags(self, instance_id: str) -> Tags:
        return self._tags.get(instance_id, {})

    def strange(self, instance_id: str, tags: Tags) -> None:
        """Give an instance other tags than its launch did: somebody else's, or a pool's that is gone."""
        self._tags[instance_id] = dict(tags)

    # --- effects ------------------------------------------------------------------------------------------------------

    def _answered(
        self, method: str, request: dict[str, Any], known: frozenset[str], effect: Callable[[Request], Response]
    ) -> Response:
        def refusing(given: Request) -> Response:
            try:
                return effect(given)
            except Refused as refused:
                name = "".join(part.capitalize() for part in method.split("_"))
                raise aws_error(name, refused.code, refused.message, status=refused.status) from refused

        return self._call(method, request, known, refusing)

    def _create_fleet(self, request: Request) -> Response:
        self.market.admit(self._clock())
        capacity = request["TargetCapacitySpecification"]
        lifecycle = Lifecycle(capacity["DefaultTargetCapacityType"])
        options = request.get("SpotOptions" if lifecycle is Lifecycle.SPOT else "OnDemandOptions", {})
        [config] = request["LaunchTemplateConfigs"]
        template: str = config["LaunchTemplateSpecification"]["LaunchTemplateId"]
        if template not in self._templates and not self.pool_templates.has(template):
            message = f"The launch template ID '{template}' does not exist"
            raise Refused("InvalidLaunchTemplateId.NotFound", message)
        if request.get("DryRun"):
            raise _dry_run()
        wrong = lifecycle is Lifecycle.ON_DEMAND and self._templates.get(template) is Lifecycle.SPOT
        given: list[dict[str, Any]] = config["Overrides"]
        wanted = FleetRequest(
            lifecycle=lifecycle,
            target=capacity["TotalTargetCapacity"],
            overrides=tuple(self._override(each, denied=SPOT_TAGS_ON_DEMAND if wrong else None) for each in given),
            strategy=options.get("AllocationStrategy", "lowest-price"),
            client_token=request["ClientToken"],
            everything=_canonical(request),
        )
        answer = self.market.create_fleet(self._slipped(wanted), self._clock())
        self._tag(answer, request)
        return _fleet_answer(answer, lifecycle, dict(zip(wanted.overrides, given, strict=True)))

    def _run_instances(self, request: Request) -> Response:
        self.market.admit(self._clock())
        lifecycle = Lifecycle.SPOT if "InstanceMarketOptions" in request else Lifecycle.ON_DEMAND
        interfaces: list[Mapping[str, Any]] = request.get("NetworkInterfaces", [])
        subnet = next((each["SubnetId"] for each in interfaces), request.get("SubnetId", ""))
        override = self._override({**request, "SubnetId": subnet}, denied=None)
        if wrong := self.market.unfit(override, lifecycle):
            raise Refused(*wrong)
        if not request.get("DryRun"):
            raise NotModelled("run_instances in memory knows dry runs only")
        raise _dry_run()

    def _create_launch_template(self, request: Request) -> Response:
        if request.get("DryRun"):
            raise _dry_run()
        return self.pool_templates.create(request)

    def _slipped(self, wanted: FleetRequest) -> FleetRequest:
        if not self.slips or wanted.lifecycle is Lifecycle.ON_DEMAND:
            return wanted
        self.slips -= 1
        return replace(wanted, lifecycle=Lifecycle.ON_DEMAND, strategy="lowest-price")

    def _override(self, given: Mapping[str, Any], *, denied: tuple[str, str] | None) -> Override:
        subnet, image = given["SubnetId"], given["ImageId"]
        if subnet not in self._subnets:
            denied = "InvalidSubnetID.NotFound", f"The subnet ID '{subnet}' does not exist"
        architecture = next((a for a in ARCHITECTURES if image.endswith(a)), None)
        if architecture is None:
            denied = "InvalidAMIID.NotFound", f"The image id '[{image}]' does not exist"
        return Override(
            offering=Offering(given["InstanceType"], self._subnets.get(subnet, "")),
            subnet_id=subnet,
            image_id=image,
            image_architecture=architecture,
            max_price=None if given.get("MaxPrice") is None else Decimal(given["MaxPrice"]),
            priority=float(given.get("Priority", 0)),
            denied=denied,
        )

    def _tag(self, answer: Answer, request: Request) -> None:
        asked = [s for s in request.get("TagSpecifications", []) if s["ResourceType"] == "instance"]
        tags = {tag["Key"]: tag["Value"] for specification in asked for tag in specification["Tags"]}
        for _, instances in answer.granted:
            for instance in instances:
                self._tags.setdefault(instance.instance_id, tags)

    def _terminate(self, request: Request) -> Response:
        ended = self.market.terminate(list(dict.fromkeys(request["InstanceIds"])), self._clock())
        return {
            "TerminatingInstances": [
                {
                    "InstanceId": instance.instance_id,
                    "PreviousState": {"Code": STATE_CODES[before], "Name": str(before)},
                    "CurrentState": {"Code": STATE_CODES[instance.state], "Name": str(instance.state)},
                }
                for instance, before in ended
            ]
        }

    def _describe(self, request: Request) -> Response:
        listed = sorted(self.market.listed(self._clock()), key=_order)
        wanted = [i for i in listed if all(self._passes(i, each) for each in request.get("Filters", []))]
        rest = [i for i in wanted if _order(i) > request.get("NextToken", "")]
        size = min(request.get("MaxResults", MOST_RESULTS), self.page)
        token = {"NextToken": _order(rest[size - 1])} if len(rest) > size else {}
        return {"Reservations": [{"Instances": [self._described(i)]} for i in rest[:size]], **token}

    def _passes(self, instance: Instance, wanted: Mapping[str, Any]) -> bool:
        kind, _, key = wanted["Name"].partition(":")
        if kind != "tag":
            raise Refused("InvalidParameterValue", f"The filter '{wanted['Name']}' is invalid")
        return self.tags(instance.instance_id).get(key) in wanted["Values"]

    def _described(self, instance: Instance) -> dict[str, Any]:
        spot = instance.lifecycle is Lifecycle.SPOT
        reason = instance.state_reason
        return {
            "InstanceId": instance.instance_id,
            "InstanceType": instance.offering.instance_type,
            "State": {"Code": STATE_CODES[instance.state], "Name": str(instance.state)},
            "Placement": {"AvailabilityZone": instance.offering.zone},
            "LaunchTime": instance.launched_at,
            "Tags": [{"Key": k, "Value": v} for k, v in self.tags(instance.instance_id).items()],
            **({"InstanceLifecycle": "spot"} if spot else {}),
            **({"StateReason": {"Code": reason[0], "Message": reason[1]}} if reason else {}),
        }

    def _prices(self, request: Request) -> Response:
        now = self._clock()
        start, end = request.get("StartTime", now), request.get("EndTime", now)
        offered = catalogue.offered(self.market.region)
        offerings = [Offering(name, zone) for name in request["InstanceTypes"] for zone in offered.get(name, ())]
        history = [
            {
                **{"InstanceType": offering.instance_type, "AvailabilityZone": offering.zone},
                **{"ProductDescription": PRODUCT, "SpotPrice": f"{point.price:.6f}", "Timestamp": point.at},
            }
            for offering in offerings
            for point in reversed(self.market.spot_prices(offering, min(start, end), end, now))
        ]
        return {"SpotPriceHistory": history, "NextToken": ""}

    def _types(self, request: Request) -> Response:
        names = [name for each in request["Filters"] for name in each["Values"] if each["Name"] == "instance-type"]
        known = [found for name in sorted(names) if (found := catalogue.described(name))]
        first = int(request.get("NextToken", "0"))
        following = {"NextToken": str(first + self.page)} if first + self.page < len(known) else {}
        return {"InstanceTypes": known[first : first + self.page], **following}


class FakeSSM(SimClient):
    service = "ssm"

    def __init__(self, parameters: Mapping[str, str] = PUBLIC_PARAMETERS, *, hook: Hook | None = None) -> None:
        super().__init__(hook)
        self.parameters = dict(parameters)

    def get_parameters(self, **request: Any) -> Response:
        return self._call("get_parameters", request, frozenset({"Names"}), self._get_parameters)

    def _get_parameters(self, request: Request) -> Response:
        names: Sequence[str] = request["Names"]
        found = [{"Name": name, "Value": self.parameters[name]} for name in names if name in self.parameters]
        return {"Parameters": found, "InvalidParameters": [name for name in names if name not in self.parameters]}


def _dry_run() -> Refused:
    """EC2's yes to what is not to be done."""
    return Refused("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", status=412)


def _order(instance: Instance) -> str:
    """Ascends with the time of launching and never changes, so that no page skips or doubles anything."""
    return f"{instance.launched_at:%Y%m%d%H%M%S.%f}/{instance.instance_id}"


def _canonical(request: Request) -> str:
    return json.dumps({k: v for k, v in request.items() if k != "ClientToken"}, sort_keys=True, default=str)


def _fleet_answer(answer: Answer, asked: Lifecycle, given: Mapping[Override, Mapping[str, Any]]) -> Response:
    return {
        "FleetId": answer.fleet_id,
        "Instances": [
            {
                **_repeated(override, given),
                "Lifecycle": str(instances[0].lifecycle),
                "InstanceIds": [instance.instance_id for instance in instances],
                "InstanceType": override.offering.instance_type,
            }
            for override, instances in answer.granted
        ],
        "Errors": [_error(refusal, asked, given) for refusal in answer.refusals],
    }


def _error(refusal: Refusal, asked: Lifecycle, given: Mapping[Override, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        **_repeated(refusal.override, given),
        "Lifecycle": str(asked),
        "ErrorCode": refusal.code,
        "ErrorMessage": refusal.message,
    }


def _repeated(override: Override, given: Mapping[Override, Mapping[str, Any]]) -> dict[str, Any]:
    """The override as EC2 says it again beside each result."""
    zone = {"AvailabilityZone": override.offering.zone}
    return {"LaunchTemplateAndOverrides": {"Overrides": {**given[override], **zone}}}
