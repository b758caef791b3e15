"""EC2's reading calls as far as the market answers them. Each takes the parsed request and gives the parsed answer."""

import base64
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from lowtide.local.ec2 import images, paging, records
from lowtide.local.ec2.ground import Ground
from lowtide.local.ec2.hosts import Hosts
from lowtide.local.ec2.records import Record
from lowtide.market import catalogue
from lowtide.market.fleet import Refused
from lowtide.market.instances import State
from lowtide.market.market import Market
from lowtide.market.model import Lifecycle, Offering

Params = Mapping[str, Any]
PRICE_HISTORY = timedelta(days=2)
"""How far back price history goes, in AWS time (EC2: 90 days)."""
PRODUCT = "Linux/UNIX"

_INSTANCE_FILTERS: Mapping[str, paging.Values[Mapping[str, Any]]] = {
    "architecture": lambda i: [i["Architecture"]],
    "availability-zone": lambda i: [i["Placement"]["AvailabilityZone"]],
    "iam-instance-profile.arn": lambda i: [i["IamInstanceProfile"]["Arn"]] if "IamInstanceProfile" in i else [],
    "image-id": lambda i: [i["ImageId"]],
    "instance-id": lambda i: [i["InstanceId"]],
    "instance-lifecycle": lambda i: [i["InstanceLifecycle"]] if "InstanceLifecycle" in i else [],
    "instance-state-code": lambda i: [str(i["State"]["Code"])],
    "instance-state-name": lambda i: [i["State"]["Name"]],
    "instance-type": lambda i: [i["InstanceType"]],
    "instance.group-id": lambda i: [g["GroupId"] for g in i.get("SecurityGroups", ())],
    "ip-address": lambda i: [i["PublicIpAddress"]] if "PublicIpAddress" in i else [],
    "key-name": lambda i: [i["KeyName"]] if "KeyName" in i else [],
    "private-ip-address": lambda i: [i["PrivateIpAddress"]] if "PrivateIpAddress" in i else [],
    "reservation-id": lambda i: [i["ReservationId"]],
    "spot-instance-request-id": lambda i: [i["SpotInstanceRequestId"]] if "SpotInstanceRequestId" in i else [],
    "state-reason-code": lambda i: [i["StateReason"]["Code"]] if "StateReason" in i else [],
    "subnet-id": lambda i: [i["SubnetId"]] if "SubnetId" in i else [],
    "vpc-id": lambda i: [i["VpcId"]] if "VpcId" in i else [],
}
_TYPE_FILTERS: Mapping[str, paging.Values[Mapping[str, Any]]] = {
    "bare-metal": lambda t: [str(t["BareMetal"]).lower()],
    "current-generation": lambda t: [str(t["CurrentGeneration"]).lower()],
    "instance-type": lambda t: [t["InstanceType"]],
    "memory-info.size-in-mib": lambda t: [str(t["MemoryInfo"]["SizeInMiB"])],
    "processor-info.supported-architecture": lambda t: t["ProcessorInfo"]["SupportedArchitectures"],
    "supported-usage-class": lambda t: t["SupportedUsageClasses"],
    "vcpu-info.default-vcpus": lambda t: [str(t["VCpuInfo"]["DefaultVCpus"])],
}
_OFFERING_FILTERS: Mapping[str, paging.Values[Mapping[str, Any]]] = {
    "instance-type": lambda o: [o["InstanceType"]],
    "location": lambda o: [o["Location"]],
}
_STATUS_FILTERS: Mapping[str, paging.Values[Mapping[str, Any]]] = {
    "availability-zone": lambda s: [s["AvailabilityZone"]],
    "instance-state-code": lambda s: [str(s["InstanceState"]["Code"])],
    "instance-state-name": lambda s: [s["InstanceState"]["Name"]],
    "instance-status.status": lambda s: [s["InstanceStatus"]["Status"]],
    "system-status.status": lambda s: [s["SystemStatus"]["Status"]],
}
_REQUEST_FILTERS: Mapping[str, paging.Values[Mapping[str, Any]]] = {
    "instance-id": lambda r: [r["InstanceId"]],
    "launched-availability-zone": lambda r: [r["LaunchedAvailabilityZone"]],
    "spot-instance-request-id": lambda r: [r["SpotInstanceRequestId"]],
    "state": lambda r: [r["State"]],
    "status-code": lambda r: [r["Status"]["Code"]],
}
_PRICE_FILTERS: Mapping[str, paging.Values[Mapping[str, Any]]] = {
    "availability-zone": lambda p: [p["AvailabilityZone"]],
    "instance-type": lambda p: [p["InstanceType"]],
    "product-description": lambda p: [p["ProductDescription"]],
    "spot-price": lambda p: [p["SpotPrice"]],
}
_IMAGE_FILTERS: Mapping[str, paging.Values[Mapping[str, Any]]] = {
    "architecture": lambda i: [i["Architecture"]],
    "description": lambda i: [i["Description"]],
    "image-id": lambda i: [i["ImageId"]],
    "image-type": lambda i: [i["ImageType"]],
    "is-public": lambda i: [str(i["Public"]).lower()],
    "name": lambda i: [i["Name"]],
    "owner-alias": lambda i: [i["ImageOwnerAlias"]],
    "owner-id": lambda i: [i["OwnerId"]],
    "root-device-name": lambda i: [i["RootDeviceName"]],
    "root-device-type": lambda i: [i["RootDeviceType"]],
    "state": lambda i: [i["State"]],
    "virtualization-type": lambda i: [i["VirtualizationType"]],
}


class Reading:
    def __init__(
        self,
        *,
        market: Market,
        ground: Ground,
        hosts: Hosts,
        records_: Mapping[str, Record],
        fleets: Mapping[str, Params],
        now: Callable[[], datetime],
        account: str,
        pace: float,
    ) -> None:
        self._market = market
        self._ground = ground
        self._hosts = hosts
        self._records = records_
        self._fleets = fleets
        self._now = now
        self._account = account
        self._history = PRICE_HISTORY / pace

    def describe_instances(self, params: Params) -> dict[str, Any]:
        ids: list[str] = params.get("InstanceIds") or []
        if ids and params.get("MaxResults"):
            raise Refused(
                "InvalidParameterCombination",
                "The parameter instancesSet cannot be used with the parameter maxResults",
            )
        entries = [
            {**records.described(record, self._ground), "ReservationId": record.reservation_id, "Order": record.order}
            for record in self._listed(ids)
        ]
        kept = paging.filtered(entries, params.get("Filters") or (), _INSTANCE_FILTERS, _tags)
        shown, token = paging.page(kept, params, lambda entry: entry["Order"])
        return {"Reservations": [self._reservation(entry) for entry in shown], **_next(token)}

    def describe_instance_status(self, params: Params) -> dict[str, Any]:
        every = params.get("IncludeAllInstances") is True
        entries = [
            _status(record)
            for record in self._listed(params.get("InstanceIds") or [])
            if every or record.instance.state is State.RUNNING
        ]
        kept = paging.filtered(entries, params.get("Filters") or (), _STATUS_FILTERS)
        shown, token = paging.page(kept, params, lambda entry: entry["Order"])
        return {"InstanceStatuses": shown, **_next(token)}

    def get_console_output(self, params: Params) -> dict[str, Any]:
        instance = self._market.known(params["InstanceId"], self._now())
        text = self._hosts.console(instance.instance_id)
        # EC2 keeps the last 64 KiB.
        output = base64.b64encode(text.encode()[-65536:]).decode()
        return {"InstanceId": instance.instance_id, "Timestamp": self._now(), "Output": output}

    def describe_spot_instance_requests(self, params: Params) -> dict[str, Any]:
        ids: list[str] = params.get("SpotInstanceRequestIds") or []
        entries = [
            {**records.spot_request(record, self._ground), "Order": record.order}
            for record in self._listed([])
            if record.instance.lifecycle is Lifecycle.SPOT
        ]
        known = {entry["SpotInstanceRequestId"] for entry in entries}
        if missing := [i for i in ids if i not in known]:
            message = f"The spot instance request ID '{missing[0]}' does not exist"
            raise Refused("InvalidSpotInstanceRequestID.NotFound", message)
        kept = paging.filtered(entries, params.get("Filters") or (), _REQUEST_FILTERS, _tags)
        wanted = [entry for entry in kept if not ids or entry["SpotInstanceRequestId"] in ids]
        shown, token = paging.page(wanted, params, lambda entry: entry["Order"])
        return {"SpotInstanceRequests": shown, **_next(token)}

    def describe_spot_price_history(self, params: Params) -> dict[str, Any]:
        now = self._now()
        end = params.get("EndTime") or now
        start = max(params.get("StartTime") or now - self._history, now - self._history)
        entries: list[dict[str, Any]] = [
            {
                **{"InstanceType": offering.instance_type, "AvailabilityZone": offering.zone},
                **{"ProductDescription": PRODUCT, "SpotPrice": f"{point.price:.6f}", "Timestamp": point.at},
            }
            for offering in self._priced(params)
            for point in reversed(self._market.spot_prices(offering, min(start, end), end, now))
        ]
        kept = paging.filtered(entries, params.get("Filters") or (), _PRICE_FILTERS)
        numbered: list[dict[str, Any]] = [{**entry, "Order": f"{index:09d}"} for index, entry in enumerate(kept)]
        shown, token = paging.page(numbered, params, lambda entry: entry["Order"], least=1)
        return {"SpotPriceHistory": shown, "NextToken": token or ""}

    def _priced(self, params: Params) -> list[Offering]:
        """The offerings that are asked about. A filter on type narrows them before any price is worked out."""
        if PRODUCT not in (params.get("ProductDescriptions") or [PRODUCT]):
            return []
        offered = catalogue.offered(self._market.region)
        by_filter = [f["Values"] for f in params.get("Filters") or () if f.get("Name") == "instance-type"]
        types = params.get("InstanceTypes") or next(iter(by_filter), None) or offered
        zone = params.get("AvailabilityZone")
        return [
            Offering(name, place)
            for name in types
            if (facts := catalogue.facts(name)) and facts.spot
            for place in offered.get(name, ())
            if zone in (None, place)
        ]

    def describe_instance_types(self, params: Params) -> dict[str, Any]:
        offered = catalogue.offered(self._market.region)
        ids: list[str] = params.get("InstanceTypes") or []
        if missing := [name for name in ids if name not in offered]:
            message = f"The following supplied instance types do not exist: [{', '.join(missing)}]"
            raise Refused("InvalidInstanceType", message)
        entries = [record for name in (ids or offered) if (record := catalogue.described(name))]
        kept = paging.filtered(entries, params.get("Filters") or (), _TYPE_FILTERS)
        shown, token = paging.page(sorted(kept, key=_type_name), params, _type_name)
        return {"InstanceTypes": shown, **_next(token)}

    def describe_instance_type_offerings(self, params: Params) -> dict[str, Any]:
        kind = params.get("LocationType") or "region"
        entries = [
            {"InstanceType": name, "LocationType": kind, "Location": place}
            for name, zones in catalogue.offered(self._market.region).items()
            for place in (zones if kind == "availability-zone" else (self._market.region,))
        ]
        kept = paging.filtered(entries, params.get("Filters") or (), _OFFERING_FILTERS)
        numbered = [{**entry, "Order": f"{entry['InstanceType']}/{entry['Location']}"} for entry in kept]
        shown, token = paging.page(numbered, params, lambda entry: entry["Order"])
        return {"InstanceTypeOfferings": shown, **_next(token)}

    def describe_images(self, params: Params) -> dict[str, Any]:
        ids: list[str] = params.get("ImageIds") or []
        entries = [_image(image) for image in images.public_images(self._market.region)]
        owners: list[str] = params.get("Owners") or []
        owned = [e for e in entries if not owners or {e["OwnerId"], e["ImageOwnerAlias"]} & set(owners)]
        kept = paging.filtered(owned, params.get("Filters") or (), _IMAGE_FILTERS)
        return {"Images": [entry for entry in kept if not ids or entry["ImageId"] in ids]}

    def describe_fleets(self, params: Params) -> dict[str, Any]:
        """EC2 lists instant fleets only to whoever names them."""
        ids: list[str] = params.get("FleetIds") or []
        if missing := [i for i in ids if i not in self._fleets]:
            raise Refused("InvalidFleetId.NotFound", f"The fleet ID '{missing[0]}' does not exist")
        return {"Fleets": [self._fleet(fleet_id) for fleet_id in ids]}

    def _fleet(self, fleet_id: str) -> dict[str, Any]:
        given = self._market.answers[fleet_id]
        alive = [i for _, instances in given.granted for i in instances if i.alive]
        return {
            **self._fleets[fleet_id],
            "Type": "instant",
            "FleetState": "active",
            "ActivityStatus": "fulfilled",
            "CreateTime": given.created_at,
            "FulfilledCapacity": float(len(alive)),
            "Tags": records.tag_list(self._ground.tags(fleet_id)),
        }

    def _listed(self, ids: list[str]) -> list[Record]:
        """Those that Describe knows of; raises Refused for an id that it does not know (yet)."""
        now = self._now()
        listed = [i.instance_id for i in self._market.listed(now)]
        if missing := [i for i in ids if i not in listed]:
            plural = "s" if len(missing) > 1 else ""
            verb = "do" if plural else "does"
            named = ", ".join(missing)
            raise Refused("InvalidInstanceID.NotFound", f"The instance ID{plural} '{named}' {verb} not exist")
        return sorted((self._records[i] for i in (ids or listed)), key=lambda record: record.order)

    def _reservation(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        return {"ReservationId": entry["ReservationId"], "OwnerId": self._account, "Instances": [entry]}


def _tags(entry: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in entry["Tags"]}


def _next(token: str | None) -> dict[str, str]:
    return {"NextToken": token} if token else {}


def _type_name(entry: Mapping[str, Any]) -> str:
    return entry["InstanceType"]


def _status(record: Record) -> dict[str, Any]:
    instance = record.instance
    checks = "ok" if instance.state is State.RUNNING else "not-applicable"
    return {
        "InstanceId": instance.instance_id,
        "AvailabilityZone": instance.offering.zone,
        "InstanceState": records.state(instance.state),
        "InstanceStatus": {"Status": checks},
        "SystemStatus": {"Status": checks},
        "Order": record.order,
    }


def _image(image: images.Image) -> dict[str, Any]:
    return {
        "ImageId": image.image_id,
        "Name": image.name,
        "Description": image.description,
        "Architecture": image.architecture,
        "OwnerId": image.owner_id,
        "ImageOwnerAlias": "amazon",
        "ImageLocation": f"amazon/{image.name}",
        "ImageType": "machine",
        "Public": True,
        "State": "available",
        "Hypervisor": "xen",
        "VirtualizationType": "hvm",
        "RootDeviceType": "ebs",
        "RootDeviceName": image.root_device,
        "EnaSupport": True,
        "PlatformDetails": PRODUCT,
        "BlockDeviceMappings": [
            {
                "DeviceName": image.root_device,
                "Ebs": {"VolumeSize": 8, "VolumeType": "gp3", "DeleteOnTermination": True, "Encrypted": False},
            }
        ],
    }
