"""What EC2 says of one launched instance, beyond what the market knows: addresses, volume, reservation, tags."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lowtide.local.ec2.ground import Ground
from lowtide.local.ec2.launch import Plan
from lowtide.market.instances import STATE_CODES, Instance, State
from lowtide.market.model import Lifecycle
from lowtide.market.reclaim import SPOT_STATUS

AUTO_STOPPED = {"Client.UserInitiatedShutdown": "User initiated"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    instance: Instance
    plan: Plan
    reservation_id: str
    volume_id: str
    interface_id: str
    private_ip: str
    public_ip: str | None
    index: int
    """Among those launched by the same request."""

    @property
    def order(self) -> str:
        """Ascends with the time of launching; never changes."""
        return f"{self.instance.launched_at:%Y%m%d%H%M%S.%f}/{self.instance.instance_id}"


def made(instance: Instance, plan: Plan, reservation_id: str, index: int, chance: random.Random) -> Record:
    return Record(
        instance=instance,
        plan=plan,
        reservation_id=reservation_id,
        volume_id=f"vol-0{chance.getrandbits(64):016x}",
        interface_id=f"eni-0{chance.getrandbits(64):016x}",
        private_ip=f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(4, 255)}",
        public_ip=f"203.0.113.{chance.randrange(1, 255)}" if plan.public_ip else None,
        index=index,
    )


def described(record: Record, ground: Ground) -> dict[str, Any]:
    """One member of DescribeInstances' `Instances`."""
    instance, plan = record.instance, record.plan
    entry: dict[str, Any] = {
        "InstanceId": instance.instance_id,
        "ImageId": plan.image_id,
        "InstanceType": instance.offering.instance_type,
        "State": state(instance.state),
        "LaunchTime": instance.launched_at,
        "Placement": {"AvailabilityZone": instance.offering.zone, "Tenancy": "default", "GroupName": ""},
        "AmiLaunchIndex": record.index,
        "Architecture": plan.architecture,
        "Hypervisor": "xen",
        "VirtualizationType": "hvm",
        "EbsOptimized": False,
        "Monitoring": {"State": "disabled"},
        "RootDeviceType": "ebs",
        "RootDeviceName": plan.root["DeviceName"],
        "StateTransitionReason": transition(instance),
        "Tags": tag_list(ground.tags(instance.instance_id)),
    }
    if instance.lifecycle is Lifecycle.SPOT:
        entry |= {"InstanceLifecycle": "spot", "SpotInstanceRequestId": instance.spot_request_id}
    if instance.state_reason:
        entry["StateReason"] = {"Code": instance.state_reason[0], "Message": instance.state_reason[1]}
    if plan.key_name:
        entry["KeyName"] = plan.key_name
    if plan.profile:
        entry["IamInstanceProfile"] = {"Arn": plan.profile.arn, "Id": plan.profile.profile_id}
    # EC2 drops what the instance no longer has once it is terminated.
    return entry if instance.state is State.TERMINATED else entry | _attached(record, ground)


def _attached(record: Record, ground: Ground) -> dict[str, Any]:
    plan, at = record.plan, record.instance.launched_at
    groups = [{"GroupId": g, "GroupName": ground.group_name(g)} for g in plan.group_ids]
    network: dict[str, Any] = {"PrivateIpAddress": record.private_ip, "SecurityGroups": groups, "SourceDestCheck": True}
    if plan.subnet:
        network |= {"SubnetId": plan.subnet.subnet_id, "VpcId": plan.subnet.vpc_id}
    if record.public_ip:
        network["PublicIpAddress"] = record.public_ip
    volume = {"VolumeId": record.volume_id, "Status": "attached", "AttachTime": at, "DeleteOnTermination": True}
    return network | {
        "BlockDeviceMappings": [{"DeviceName": plan.root["DeviceName"], "Ebs": volume}],
        "MetadataOptions": {
            "State": "applied",
            "HttpTokens": plan.metadata_options.get("HttpTokens", "optional"),
            "HttpEndpoint": plan.metadata_options.get("HttpEndpoint", "enabled"),
            "HttpPutResponseHopLimit": int(plan.metadata_options.get("HttpPutResponseHopLimit") or 1),
            "InstanceMetadataTags": plan.metadata_options.get("InstanceMetadataTags", "disabled"),
        },
    }


def transition(instance: Instance) -> str:
    """`User initiated (2026-11-23 12:00:00 GMT)`; empty while it lives and where EC2 says nothing."""
    if instance.ended_at is None or instance.state_reason is None:
        return ""
    said = AUTO_STOPPED.get(instance.state_reason[0])
    return f"{said} ({instance.ended_at:%Y-%m-%d %H:%M:%S} GMT)" if said else ""


def state(of: State) -> dict[str, Any]:
    return {"Code": STATE_CODES[of], "Name": str(of)}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": k, "Value": v} for k, v in tags.items()]


def spot_request(record: Record, ground: Ground) -> dict[str, Any]:
    """One member of DescribeSpotInstanceRequests, of a spot instance."""
    instance = record.instance
    ended = not instance.alive
    end = instance.interruption
    code = "fulfilled"
    if ended:
        code = SPOT_STATUS[end.cause] if end and end.ends_at == instance.ended_at else "instance-terminated-by-user"
    elif end and end.warned_at:
        code = "marked-for-termination"
    entry = {
        "SpotInstanceRequestId": instance.spot_request_id,
        "InstanceId": instance.instance_id,
        "State": "closed" if ended else "active",
        "Status": {"Code": code, "UpdateTime": instance.ended_at or instance.launched_at},
        "Type": "one-time",
        "InstanceInterruptionBehavior": "terminate",
        "CreateTime": instance.launched_at,
        "LaunchedAvailabilityZone": instance.offering.zone,
        "ProductDescription": "Linux/UNIX",
        "Tags": tag_list(ground.tags(instance.spot_request_id or "")),
    }
    if instance.price_limit is not None:
        entry["SpotPrice"] = f"{instance.price_limit:.6f}"
    return entry
