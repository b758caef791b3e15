"""What stands in ministack already and market instances are made from: templates, subnets, groups, profiles, tags.

The one file of the local EC2 that reads or writes ministack's stores. Tags are kept in its store too, so that
CreateTags, DescribeTags and IAM's `ec2:ResourceTag` see market instances like everything else.
"""

import base64
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lowtide.local.contract import Name, upstream
from lowtide.local.ec2 import images
from lowtide.market.fleet import Refused

NAMES = (
    Name("services.ec2", "handle_request", "method path headers body query_params"),
    *(Name("services.ec2", store) for store in ("_launch_templates", "_subnets", "_security_groups", "_key_pairs")),
    *(Name("services.ec2", store) for store in ("_tags", "_volumes", "_images", "_STUB_AMIS", "_DEFAULT_SUBNET_ID")),
    Name("services.ec2", "_ensure_defaults_initialized", ""),
    Name("services.iam", "_roles"),
    Name("services.iam", "_lookup_instance_profile", "name arn"),
    Name("services.ssm", "_PUBLIC_AMI_PARAMETERS"),
    Name("services.ssm", "_select_parameter", "name_or_arn"),
    Name("core.iam_actions", "extract_iam_action", "service method path headers body query_params"),
    Name("core.responses", "request_scope", "account_id region"),
)
"""What this package rests on; `contract.check(NAMES)` says what is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    name: str
    arn: str
    profile_id: str
    role_name: str | None
    role_arn: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    subnet_id: str
    vpc_id: str
    zone: str
    public: bool
    """Whether instances in it get a public address by themselves."""
    full: bool = False
    """It has no free address."""


class Ground:
    def __init__(self, *, account: str, region: str) -> None:
        self._account = account
        self._region = region

    def scope(self) -> AbstractContextManager[None]:
        """For use outside a request: ministack's stores are those of one account and Region."""
        return upstream("core.responses").request_scope(self._account, self._region)

    def template(self, specification: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """Id and data of a launch template's version. Raises Refused as EC2 does for one that does not exist."""
        found = self._template(specification)
        return found["LaunchTemplateId"], _version(found, str(specification.get("Version") or "$Default"))

    def template_id(self, specification: Mapping[str, Any]) -> str:
        """Of a template by id or name. Raises Refused likewise."""
        return self._template(specification)["LaunchTemplateId"]

    def _template(self, specification: Mapping[str, Any]) -> Mapping[str, Any]:
        store: Mapping[str, Any] = upstream("services.ec2")._launch_templates
        wanted, name = specification.get("LaunchTemplateId"), specification.get("LaunchTemplateName")
        found = next((t for t in store.values() if wanted == t["LaunchTemplateId"] or name == _name(t)), None)
        if found is None and wanted:
            message = f"The specified launch template, with template ID {wanted}, does not exist."
            raise Refused("InvalidLaunchTemplateId.NotFound", message)
        if found is None:
            message = f"The specified launch template, with template name {name}, does not exist."
            raise Refused("InvalidLaunchTemplateName.NotFoundException", message)
        return found

    def subnet(self, subnet_id: str | None, zone: str | None) -> Subnet | None:
        """By id, else the default one of the zone, else the first default one; None: there is none."""
        ec2 = upstream("services.ec2")
        ec2._ensure_defaults_initialized()
        if subnet_id is None:
            defaults = [s for s in ec2._subnets.values() if s.get("DefaultForAz")]
            record = next((s for s in defaults if zone in (None, s["AvailabilityZone"])), None)
        else:
            record = ec2._subnets.get(subnet_id)
        if record is None:
            return None
        return Subnet(
            subnet_id=record["SubnetId"],
            vpc_id=record["VpcId"],
            zone=record["AvailabilityZone"],
            public=str(record.get("MapPublicIpOnLaunch", False)).lower() == "true",
            full=int(record["AvailableIpAddressCount"]) < 1,
        )

    def architecture(self, image_id: str) -> str | None:
        """Of an image that exists here; None: it does not."""
        ec2 = upstream("services.ec2")
        for image in images.public_images(self._region):
            if image.image_id == image_id:
                return image.architecture
        if any(stub[0] == image_id for stub in ec2._STUB_AMIS):
            return "x86_64"
        registered = ec2._images.get(image_id)
        return registered["Architecture"] if registered else None

    def parameter(self, name: str) -> str | None:
        """Value of an SSM parameter, public ones included; None: there is none."""
        record, _ = upstream("services.ssm")._select_parameter(name)
        return record["Value"] if record else None

    def profile(self, given: Mapping[str, str]) -> Profile | None:
        """Instance profile by name or ARN; None: it does not exist."""
        record = upstream("services.iam")._lookup_instance_profile(given.get("Name", ""), given.get("Arn", ""))
        if not record:
            return None
        role_name = next(iter(record["Roles"]), None)
        return Profile(
            name=record["InstanceProfileName"],
            arn=record["Arn"],
            profile_id=record["InstanceProfileId"],
            role_name=role_name,
            role_arn=role_name and upstream("services.iam")._roles[role_name]["Arn"],
        )

    def has_role(self, name: str) -> bool:
        return name in upstream("services.iam")._roles

    def missing_group(self, group_ids: Iterable[str]) -> str | None:
        """The first security group that does not exist."""
        store = upstream("services.ec2")._security_groups
        return next((group for group in group_ids if group not in store), None)

    def group_name(self, group_id: str) -> str:
        return upstream("services.ec2")._security_groups.get(group_id, {}).get("GroupName", group_id)

    def default_group(self, vpc_id: str) -> str | None:
        groups = upstream("services.ec2")._security_groups.values()
        return next((g["GroupId"] for g in groups if g["VpcId"] == vpc_id and g["GroupName"] == "default"), None)

    def has_key(self, key_name: str) -> bool:
        return key_name in upstream("services.ec2")._key_pairs

    def tags(self, resource_id: str) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in upstream("services.ec2")._tags.get(resource_id) or ()}

    def tag(self, resource_id: str, tags: Mapping[str, str]) -> None:
        if tags:
            upstream("services.ec2")._tags[resource_id] = [{"Key": k, "Value": v} for k, v in tags.items()]

    def forget(self, *resource_ids: str) -> None:
        """Their tags, and the volumes among them, are gone."""
        ec2 = upstream("services.ec2")
        for resource_id in resource_ids:
            for store in (ec2._tags, ec2._volumes):
                if resource_id in store:
                    del store[resource_id]

    def add_volume(self, volume_id: str, instance_id: str, zone: str, device: Mapping[str, Any], at: datetime) -> None:
        """A root volume, attached, gone with its instance."""
        ebs: Mapping[str, Any] = device.get("Ebs") or {}
        created = at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        attachment = {
            **{"VolumeId": volume_id, "InstanceId": instance_id, "Device": device["DeviceName"], "State": "attached"},
            **{"AttachTime": created, "DeleteOnTermination": True},
        }
        upstream("services.ec2")._volumes[volume_id] = {
            **{"VolumeId": volume_id, "Size": int(ebs.get("VolumeSize") or 8), "AvailabilityZone": zone},
            **{"State": "in-use", "VolumeType": ebs.get("VolumeType") or "gp3", "SnapshotId": "", "Iops": 3000},
            **{"Encrypted": str(ebs.get("Encrypted", False)).lower() == "true", "CreateTime": created},
            **{"Attachments": [attachment], "MultiAttachEnabled": False, "Throughput": 125},
        }


def user_data(data: Mapping[str, Any]) -> bytes:
    """Decoded. Raises Refused for what is not base64 or too long."""
    try:
        decoded = base64.b64decode(data.get("UserData") or "", validate=True)
    except ValueError as error:
        raise Refused("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.") from error
    if len(decoded) > 16 * 1024:
        raise Refused("InvalidUserData.Malformed", "User data is limited to 16384 bytes")
    return decoded


def _name(template: Mapping[str, Any]) -> str:
    return template["LaunchTemplateName"]


def _version(template: Mapping[str, Any], wanted: str) -> Mapping[str, Any]:
    spelled = {"$Default": "DefaultVersionNumber", "$Latest": "LatestVersionNumber"}
    number = str(template[spelled[wanted]]) if wanted in spelled else wanted
    for version in template["Versions"]:
        if str(version["VersionNumber"]) == number:
            return version.get("LaunchTemplateData") or {}
    raise Refused(
        "InvalidLaunchTemplateId.VersionNotFound",
        f"Could not find launch template version {number} of template {template['LaunchTemplateId']}.",
    )
