"""From CreateFleet and RunInstances, with their launch templates, to a request of the market."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from lowtide.local import spot_role
from lowtide.local.ec2 import permissions
from lowtide.local.ec2.ground import Ground, Profile, Subnet, user_data
from lowtide.local.ec2.permissions import Caller
from lowtide.market import catalogue
from lowtide.market.fleet import Override, Refused, Request
from lowtide.market.model import Lifecycle, Offering

RESOLVE = "resolve:ssm:"
FLEET_TAGGABLE = frozenset({"fleet", "instance", "volume"})
"""EC2 documents the first two for instant fleets and is known to take the third; nobody should rest on more."""
TEMPLATE_TAGGABLE = frozenset({"instance", "volume", "network-interface", "spot-instances-request"})
ROOT = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8, "VolumeType": "gp3"}}
"""The root volume of the images here, where a template says nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that instances of one override will have: template and override merged."""

    override: Override
    subnet: Subnet | None
    image_id: str
    architecture: str | None
    template: Mapping[str, Any] | None
    """The launch template specification as EC2 repeats it in answers; None: none was used."""
    as_given: Mapping[str, Any]
    """The override as the request gave it."""
    key_name: str | None = None
    group_ids: tuple[str, ...] = ()
    profile: Profile | None = None
    user_data: bytes = b""
    root: Mapping[str, Any] = field(default_factory=lambda: ROOT)
    public_ip: bool = False
    metadata_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    """By resource type; what the request asks for wins over the template."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A request as the market takes it, and a plan for each of its overrides, in the same order."""

    request: Request
    plans: tuple[Plan, ...]
    fleet_tags: Mapping[str, str]


class Planner:
    def __init__(self, ground: Ground, region: str) -> None:
        self._ground = ground
        self._region = region

    def fleet(self, params: Mapping[str, Any], caller: Caller) -> Launch:
        """Raises Refused for what EC2 refuses whole; what is wrong with one override is in that override."""
        if params.get("Type", "maintain") != "instant":
            raise Refused("UnsupportedOperation", "The local EC2 has fleets of type instant only.")
        capacity = params.get("TargetCapacitySpecification") or {}
        lifecycle = Lifecycle(capacity.get("DefaultTargetCapacityType") or "on-demand")
        options = params.get("SpotOptions" if lifecycle is Lifecycle.SPOT else "OnDemandOptions") or {}
        if options.get("MaxTotalPrice"):
            raise Refused("UnsupportedOperation", "The local EC2 does not know MaxTotalPrice; give MaxPrice.")
        tags = _tags(params.get("TagSpecifications"), FLEET_TAGGABLE)
        configs = [
            (*self._ground.template(c.get("LaunchTemplateSpecification") or {}), c)
            for c in params.get("LaunchTemplateConfigs") or []
        ]
        templates = {template_id: self._ground.tags(template_id) for template_id, _, _ in configs}
        permissions.require_fleet(caller, templates, tags)
        plans = [
            self._plan(data, given, _specification(template_id, config), tags, lifecycle, caller, "CreateFleet")
            for template_id, data, config in configs
            for given in config.get("Overrides") or [{}]
        ]
        request = Request(
            lifecycle=lifecycle,
            target=capacity.get("TotalTargetCapacity", 0),
            overrides=tuple(plan.override for plan in plans),
            strategy=options.get("AllocationStrategy") or "lowest-price",
            minimum=options.get("MinTargetCapacity") or 0,
            client_token=params.get("ClientToken"),
            everything=_canonical(params),
        )
        return Launch(request=request, plans=tuple(plans), fleet_tags=tags.get("fleet", {}))

    def instances(self, params: Mapping[str, Any], caller: Caller) -> Launch:
        """RunInstances: one override, and whatever is wrong with it refuses the request."""
        specification: Mapping[str, Any] = params.get("LaunchTemplate") or {}
        template_id, data = self._ground.template(specification) if specification else ("", {})
        market = params.get("InstanceMarketOptions") or data.get("InstanceMarketOptions") or {}
        lifecycle = Lifecycle.SPOT if market.get("MarketType") == "spot" else Lifecycle.ON_DEMAND
        given = {
            **{k: params[k] for k in ("InstanceType", "ImageId", "SubnetId", "Placement") if params.get(k)},
            "MaxPrice": (market.get("SpotOptions") or {}).get("MaxPrice"),
        }
        plan = self._plan(
            {**data, **_own(params)},
            given,
            _specification(template_id, {"LaunchTemplateSpecification": specification}) if template_id else None,
            _tags(params.get("TagSpecifications"), TEMPLATE_TAGGABLE),
            *(lifecycle, caller, "RunInstances"),
        )
        if plan.override.denied:
            code, message = plan.override.denied
            raise Refused(code, message, status=403 if code == permissions.UNAUTHORIZED else 400)
        request = Request(
            lifecycle=lifecycle,
            target=params.get("MaxCount", 1),
            minimum=params.get("MinCount", 1),
            overrides=(plan.override,),
            client_token=params.get("ClientToken"),
            everything=_canonical(params),
        )
        return Launch(request=request, plans=(plan,), fleet_tags={})

    def _plan(
        self,
        data: Mapping[str, Any],
        given: Mapping[str, Any],
        template: Mapping[str, Any] | None,
        request_tags: permissions.Tags,
        lifecycle: Lifecycle,
        caller: Caller,
        create_action: str,
    ) -> Plan:
        interface: Mapping[str, Any] = next(iter(data.get("NetworkInterfaces") or ()), {})
        zone = given.get("AvailabilityZone") or (given.get("Placement") or {}).get("AvailabilityZone")
        subnet = self._ground.subnet(given.get("SubnetId") or interface.get("SubnetId") or data.get("SubnetId"), zone)
        profile_given = data.get("IamInstanceProfile") or {}
        profile = self._ground.profile(profile_given) if profile_given else None
        image, parameter = self._image(given.get("ImageId") or data.get("ImageId") or "")
        groups = self._groups(data, interface, subnet)
        tags = _merged(_tags(data.get("TagSpecifications"), TEMPLATE_TAGGABLE), request_tags)
        instance_type = given.get("InstanceType") or data.get("InstanceType") or "m1.small"
        needs = {
            **{"instance_type": instance_type, "spot": lifecycle is Lifecycle.SPOT, "image": image},
            **{"subnet": subnet.subnet_id if subnet else "", "groups": groups, "key": data.get("KeyName")},
            **{"template": template and template["LaunchTemplateId"], "parameter": parameter},
            "template_tags": self._ground.tags(template["LaunchTemplateId"]) if template else {},
            "role_arn": profile and profile.role_arn,
        }
        architecture = self._ground.architecture(image)
        wrong = (
            self._wrong(data, given, subnet, image, architecture, groups, profile_given, profile)
            or _wrong_tags(tags, lifecycle)
            or self._no_spot_role(caller, lifecycle)
            or self._unauthorized(caller, needs, tags, create_action)
        )
        override = Override(
            offering=Offering(instance_type, subnet.zone if subnet else zone or ""),
            subnet_id=subnet.subnet_id if subnet else given.get("SubnetId", ""),
            image_id=image,
            image_architecture=architecture,
            max_price=_price(given.get("MaxPrice")),
            weight=int(given.get("WeightedCapacity") or 1),
            priority=float(given.get("Priority") or 0),
            denied=wrong,
        )
        return Plan(
            override=override,
            subnet=subnet,
            image_id=image,
            architecture=architecture,
            template=template,
            as_given=given,
            key_name=data.get("KeyName"),
            group_ids=tuple(groups),
            profile=profile,
            user_data=user_data(data),
            root=next(iter(data.get("BlockDeviceMappings") or ()), ROOT),
            public_ip=_public(interface, subnet),
            metadata_options=data.get("MetadataOptions") or {},
            tags=tags,
        )

    def _image(self, image_id: str) -> tuple[str, str | None]:
        """The image, and the SSM parameter that named it where one did."""
        if not image_id.startswith(RESOLVE):
            return image_id, None
        name = image_id.removeprefix(RESOLVE)
        return self._ground.parameter(name) or "", name

    def _groups(self, data: Mapping[str, Any], interface: Mapping[str, Any], subnet: Subnet | None) -> list[str]:
        given = interface.get("Groups") or data.get("SecurityGroupIds") or []
        default = self._ground.default_group(subnet.vpc_id) if subnet and not given else None
        return [default] if default else list(given)

    def _wrong(
        self,
        data: Mapping[str, Any],
        given: Mapping[str, Any],
        subnet: Subnet | None,
        image: str,
        architecture: str | None,
        groups: Sequence[str],
        profile_given: Mapping[str, str],
        profile: Profile | None,
    ) -> tuple[str, str] | None:
        """What does not exist among that which the launch names: code and message."""
        if subnet is None:
            return "InvalidSubnetID.NotFound", f"The subnet ID '{given.get('SubnetId')}' does not exist"
        if subnet.full:
            said = f"There are not enough free addresses in subnet '{subnet.subnet_id}' to satisfy the requested number"
            return "InsufficientFreeAddressesInSubnet", f"{said} of instances."
        if not image:
            return "MissingParameter", "The request must contain the parameter ImageId"
        if architecture is None:
            return "InvalidAMIID.NotFound", f"The image id '[{image}]' does not exist"
        if missing := self._ground.missing_group(groups):
            return "InvalidGroup.NotFound", f"The security group '{missing}' does not exist"
        if data.get("KeyName") and not self._ground.has_key(data["KeyName"]):
            return "InvalidKeyPair.NotFound", f"The key pair '{data['KeyName']}' does not exist"
        if profile_given and profile is None:
            which = "name" if profile_given.get("Name") else "arn"
            value = profile_given.get("Name") or profile_given.get("Arn")
            spelled = "Name" if which == "name" else "ARN"
            return (
                "InvalidParameterValue",
                f"Value ({value}) for parameter iamInstanceProfile.{which} is invalid. "
                f"Invalid IAM Instance Profile {spelled}",
            )
        return None

    def _no_spot_role(self, caller: Caller, lifecycle: Lifecycle) -> tuple[str, str] | None:
        """EC2 makes the role that spot needs for whoever may make it, and refuses everybody else."""
        if lifecycle is not Lifecycle.SPOT or self._ground.has_role(spot_role.ROLE):
            return None
        if caller.denied("iam:CreateServiceLinkedRole", "*", {"iam:AWSServiceName": spot_role.SERVICE}) is None:
            return None
        return (
            "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
            "The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances.",
        )

    def _unauthorized(
        self, caller: Caller, needs: Mapping[str, Any], tags: permissions.Tags, create_action: str
    ) -> tuple[str, str] | None:
        denied = permissions.denied_launch(caller, needs, tags, create_action)
        return (permissions.UNAUTHORIZED, denied.message) if denied else None


def _specification(template_id: str, config: Mapping[str, Any]) -> dict[str, Any]:
    given = config.get("LaunchTemplateSpecification") or {}
    return {"LaunchTemplateId": template_id, "Version": str(given.get("Version") or "$Default")}


def _own(params: Mapping[str, Any]) -> dict[str, Any]:
    """What RunInstances itself says of what a template could say too."""
    names = (
        *("KeyName", "SecurityGroupIds", "IamInstanceProfile", "BlockDeviceMappings", "NetworkInterfaces"),
        *("UserData", "MetadataOptions"),
    )
    return {name: params[name] for name in names if params.get(name)}


def _tags(specifications: Sequence[Mapping[str, Any]] | None, taggable: frozenset[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for entry in specifications or ():
        kind = entry.get("ResourceType", "")
        if kind not in taggable:
            message = f"'{kind}' is not a valid taggable resource type for this operation."
            raise Refused("InvalidParameterValue", message)
        found[kind] = {tag["Key"]: str(tag.get("Value", "")) for tag in entry.get("Tags") or ()}
    return found


def _merged(template: permissions.Tags, request: permissions.Tags) -> dict[str, Mapping[str, str]]:
    kinds = dict.fromkeys([*template, *(kind for kind in request if kind != "fleet")])
    return {kind: {**template.get(kind, {}), **request.get(kind, {})} for kind in kinds}


def _wrong_tags(tags: permissions.Tags, lifecycle: Lifecycle) -> tuple[str, str] | None:
    if lifecycle is Lifecycle.SPOT or "spot-instances-request" not in tags:
        return None
    return (
        "InvalidParameterCombination",
        "You cannot specify tags for Spot instances requests if there are no Spot instances requests being created by "
        "the request.",
    )


def _price(given: Any) -> Decimal | None:
    if given in (None, ""):
        return None
    try:
        price = Decimal(str(given))
    except InvalidOperation:
        price = Decimal("NaN")
    if not price.is_finite():
        raise Refused("InvalidParameterValue", f"Value ({given}) for parameter maxPrice is invalid.")
    return price


def _public(interface: Mapping[str, Any], subnet: Subnet | None) -> bool:
    said = interface.get("AssociatePublicIpAddress")
    return str(said).lower() == "true" if said is not None else bool(subnet and subnet.public)


def _canonical(params: Mapping[str, Any]) -> str:
    asked = {k: v for k, v in params.items() if k not in ("ClientToken", "DryRun")}
    return json.dumps(asked, sort_keys=True, default=str)


def facts_of(plan: Plan) -> catalogue.TypeFacts:
    """Of a plan that was granted, so its type exists."""
    facts = catalogue.facts(plan.override.offering.instance_type)
    if facts is None:
        raise LookupError(f"{plan.override.offering.instance_type} was launched and does not exist")
    return facts
