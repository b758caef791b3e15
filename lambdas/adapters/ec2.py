"""EC2: instant fleets, the stack's instances, instance types and spot prices. Requests and answers as plain values.

An instant fleet's answer, shortened (one instance came, one offering was refused):

    {"FleetId": "fleet-1",
     "Instances": [{"InstanceIds": ["i-1"], "InstanceType": "c7i.large", "Lifecycle": "spot",
       "LaunchTemplateAndOverrides": {"Overrides": {"InstanceType": "c7i.large", "SubnetId": "subnet-a"}}}],
     "Errors": [{"ErrorCode": "SpotMaxPriceTooLow", "ErrorMessage": "Your Spot request price of 0.03 is lower than …",
                 "Lifecycle": "spot",
                 "LaunchTemplateAndOverrides": {"Overrides": {"InstanceType": "m7i.large", "SubnetId": "subnet-a"}}}]}
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from lambdas import names
from lambdas.adapters.table import Unavailable
from lambdas.domain.fleet.fleet import LaunchRequest, Override
from lambdas.domain.fleet.snapshot import MarketPrice
from lambdas.domain.pools.pools import CapacityType
from lambdas.domain.refusals.refusals import Refusal

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

ONE_ATTEMPT = Config(connect_timeout=2, read_timeout=25, retries={"total_max_attempts": 1})
"""For the client that launches: the SDK repeats nothing by itself, since a repeat could leave after an intention's
`not_after`. Connecting may take 2 s beyond it, which `observation_margin` (60 s) covers. Instant fleets answer in some
2 to 20 s; what takes longer than 25 s counts as a lost answer and is asked for again with its token."""

PAGE = 1000
"""Instances a DescribeInstances page (EC2's most)."""
TERMINATION_BATCH = 100
"""Instances a TerminateInstances call. EC2 takes 1,000; an id that it does not know refuses the whole call, so a
smaller batch loses less."""
TYPES_A_CALL = 100
CONSOLE_TAIL = 2000
"""Characters: the last words of a boot, some 25 lines."""

TAGGED_IN_REQUEST = ("fleet", "instance", "volume")
"""What an instant fleet's own TagSpecifications accept: EC2 documents the first two, Karpenter sends all three. The
launch templates tag the rest with the stack, network interfaces among it. Spot requests are tagged by the spot launch
template alone: EC2 refuses such a template for on-demand ("You cannot specify tags for Spot instances requests if there
are no Spot instances requests being created by the request"), hence one template per capacity type."""

UNKNOWN_OUTCOME = {
    *("InternalError", "InternalFailure", "InternalServerError", "ServerInternal", "Server.InternalError"),
    *("Unavailable", "ServiceUnavailable", "RequestTimeout", "RequestTimeoutException"),
}
THROTTLED = {"RequestLimitExceeded", "Throttling", "ThrottlingException", "EC2ThrottledException"}
_NO_SUCH_INSTANCE = "InvalidInstanceID.NotFound"


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchTemplate:
    template_id: str
    version: str
    """A number, never `$Latest`: a repeated call must be the same call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    instance_id: str
    instance_type: str
    zone: str
    capacity_type: CapacityType
    """As EC2 answered; a request for spot has been seen to bring an on-demand instance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What EC2 said. Both may be filled (partial fulfilment) and several codes may come at once."""

    launched: tuple[Launched, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    whole: bool = False
    """True: the call itself was refused, so nothing was tried for any offering."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """No answer: the request may or may not have been carried out."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """EC2's code and message for a call that was not a launch."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The answer to a request to terminate."""

    accepted: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    """Ids that EC2 does not know: long gone, or launched a moment ago (eventual consistency)."""
    failures: tuple[Failure, ...] = ()
    """Why the others were not ended; each of them is still running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """An instance as DescribeInstances shows it."""

    instance_id: str
    state: str
    """pending, running, shutting-down, terminated, stopping or stopped."""
    instance_type: str
    zone: str
    capacity_type: CapacityType
    launched_at: datetime
    pool: str | None
    """Its `lowtide:pool` tag; None where it has none."""
    decision: str | None
    state_reason: str | None
    """EC2's code, for example `Server.SpotInstanceTermination`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    instances: tuple[Described, ...]
    next_token: str | None
    """Where the next page begins; None: this was the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeDescription:
    name: str
    vcpus: int
    memory_mib: int
    gpus: int
    architecture: str
    """`x86_64` or `arm64`."""
    bare_metal: bool


class Ec2:
    """`templates`: the stack's own, one per capacity type, for requests that were stored without one."""

    def __init__(
        self, client: "EC2Client", stack: str, templates: Mapping[CapacityType, LaunchTemplate] | None = None
    ) -> None:
        self._client: Any = client
        self._stack = stack
        self._templates = templates or {}

    def create_fleet(self, request: LaunchRequest, *, pool: str, decision: str) -> Answer | Lost:
        """One CreateFleet call; `decision` is its client token and a tag, so that the same request with the same
        decision launches once however often it is made. Never raises for what EC2 answers."""
        try:
            answer = self._client.create_fleet(**self.fleet_request(request, pool, decision))
        except ClientError as error:
            return _lost_or_refused(error, request.capacity_type)
        except (ConnectionError, HTTPClientError) as error:
            return Lost(why=f"{type(error).__name__}: {error}")
        zones = {override.subnet_id: override.zone for override in request.overrides}
        return Answer(
            launched=tuple(_launched(answer.get("Instances", []), zones)),
            refusals=tuple(dict.fromkeys(_refused(answer.get("Errors", []), zones, request.capacity_type))),
        )

    def fleet_request(self, request: LaunchRequest, pool: str, decision: str) -> dict[str, Any]:
        """What CreateFleet is called with."""
        template_id, version = request.template or self._of_the_stack(request.capacity_type)
        ranked = request.allocation_strategy.endswith("prioritized")
        options = "SpotOptions" if request.capacity_type is CapacityType.SPOT else "OnDemandOptions"
        tags = {names.TAG_STACK: self._stack, names.TAG_POOL: pool, names.TAG_DECISION: decision}
        return {
            "Type": "instant",
            "ClientToken": decision,
            "LaunchTemplateConfigs": [
                {
                    "LaunchTemplateSpecification": {
                        "LaunchTemplateId": template_id,
                        "Version": version,
                    },
                    "Overrides": [
                        _override(override, rank if ranked else None) for rank, override in enumerate(request.overrides)
                    ],
                }
            ],
            "TargetCapacitySpecification": {
                "TotalTargetCapacity": request.count,
                "DefaultTargetCapacityType": str(request.capacity_type),
            },
            options: {"AllocationStrategy": request.allocation_strategy},
            "TagSpecifications": [
                {"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}
                for kind in TAGGED_IN_REQUEST
            ],
        }

    def _of_the_stack(self, capacity_type: CapacityType) -> tuple[str, str]:
        template = self._templates[capacity_type]
        return template.template_id, template.version

    def terminate(self, instance_ids: Sequence[str]) -> Ended:
        """Ask EC2 to end these. May be repeated. Never raises for what EC2 answers: what could not be asked for is in
        `failures`, and the next pass asks again."""
        ended = Ended()
        for start in range(0, len(instance_ids), TERMINATION_BATCH):
            ended = _joined(ended, self._terminate_batch(instance_ids[start : start + TERMINATION_BATCH]))
        return ended

    def _terminate_batch(self, instance_ids: Sequence[str]) -> Ended:
        try:
            self._client.terminate_instances(InstanceIds=list(instance_ids))
        except ClientError as error:
            code, message = _code(error)
            if code != _NO_SUCH_INSTANCE:
                return Ended(failures=(Failure(code=code, message=message),))
            if len(instance_ids) == 1:
                return Ended(unknown=tuple(instance_ids))
            # one unknown id refuses the whole call: ask for each alone
            ended = Ended()
            for instance_id in instance_ids:
                ended = _joined(ended, self._terminate_batch([instance_id]))
            return ended
        except (ConnectionError, HTTPClientError) as error:
            return Ended(failures=(Failure(code="RequestTimeout", message=f"{type(error).__name__}: {error}"),))
        return Ended(accepted=tuple(instance_ids))

    def console(self, instance_id: str) -> str | None:
        """The end of what an instance wrote to its console, at most CONSOLE_TAIL characters; None: nothing, or it
        cannot be read. Only Nitro instances show it as it is now; of others EC2 has what they wrote minutes ago."""
        for latest in ({"Latest": True}, {}):
            try:
                answer = self._client.get_console_output(InstanceId=instance_id, **latest)
            except ClientError as error:
                if _code(error)[0] != "UnsupportedOperation":
                    return None
            except (ConnectionError, HTTPClientError):
                return None
            else:
                return _console_text(answer.get("Output", ""))
        return None

    def pages(self, start: str | None = None) -> Iterator[Page]:
        """The stack's instances, terminated ones included for as long as EC2 lists them, page by page from `start`
        (a page's `next_token`). Raises Unavailable."""
        token = start
        while True:
            answer = self._asked(
                "describe_instances",
                Filters=[{"Name": f"tag:{names.TAG_STACK}", "Values": [self._stack]}],
                MaxResults=PAGE,
                **({"NextToken": token} if token else {}),
            )
            token = answer.get("NextToken") or None
            found = (i for reservation in answer.get("Reservations", []) for i in reservation.get("Instances", []))
            # the filter is EC2's; what is ended for want of a pool rests on it, so the tag itself is looked at too
            ours = filter(self._is_ours, found)
            yield Page(instances=tuple(map(_described, ours)), next_token=token)
            if token is None:
                return

    def _is_ours(self, entry: Mapping[str, Any]) -> bool:
        return {"Key": names.TAG_STACK, "Value": self._stack} in entry.get("Tags", [])

    def spot_prices(self, instance_types: Sequence[str], since: datetime, now: datetime) -> list[MarketPrice]:
        """The Linux spot price in force at `now` for each of these types in each zone that has one, and from when on it
        was, as far back as `since`. Raises Unavailable.

        EC2 publishes prices late; what a launch meets may differ."""
        latest: dict[tuple[str, str], MarketPrice] = {}
        request = {
            "InstanceTypes": list(instance_types),
            "ProductDescriptions": ["Linux/UNIX"],
            "StartTime": since,
            "EndTime": now,
        }
        for entry in self._all("describe_spot_price_history", "SpotPriceHistory", **request):
            price = MarketPrice(
                instance_type=entry["InstanceType"],
                zone=entry["AvailabilityZone"],
                price=Decimal(entry["SpotPrice"]),
                seen_at=entry["Timestamp"].astimezone(UTC),
            )
            key = (price.instance_type, price.zone)
            if key not in latest or latest[key].seen_at < price.seen_at:
                latest[key] = price
        return list(latest.values())

    def instance_types(self, wanted: Sequence[str]) -> dict[str, TypeDescription]:
        """By name, those of the wanted types that the Region has. Raises Unavailable."""
        found: dict[str, TypeDescription] = {}
        for start in range(0, len(wanted), TYPES_A_CALL):
            only = [{"Name": "instance-type", "Values": list(wanted[start : start + TYPES_A_CALL])}]
            for entry in self._all("describe_instance_types", "InstanceTypes", Filters=only):
                found[entry["InstanceType"]] = _type_description(entry)
        return found

    def _all(self, operation: str, member: str, **request: Any) -> Iterator[dict[str, Any]]:
        token: str | None = None
        while True:
            answer = self._asked(operation, **request, **({"NextToken": token} if token else {}))
            yield from answer.get(member, [])
            token = answer.get("NextToken") or None
            if token is None:
                return

    def _asked(self, operation: str, **request: Any) -> dict[str, Any]:
        try:
            return getattr(self._client, operation)(**request)
        except ClientError as error:
            if _code(error)[0] in THROTTLED | UNKNOWN_OUTCOME:
                raise Unavailable(str(error)) from error
            raise
        except (ConnectionError, HTTPClientError) as error:
            raise Unavailable(str(error)) from error


def _console_text(encoded: str) -> str | None:
    """EC2 sends what the machine wrote, whatever it was, in base64; boto3 has undone that already."""
    return encoded.strip()[-CONSOLE_TAIL:] or None


def _override(override: Override, rank: int | None) -> dict[str, Any]:
    return {
        "InstanceType": override.instance_type,
        "SubnetId": override.subnet_id,
        "ImageId": override.image_id,
        **({} if override.max_price is None else {"MaxPrice": format(override.max_price, "f")}),
        **({} if rank is None else {"Priority": float(rank)}),
    }


def _launched(entries: Sequence[Mapping[str, Any]], zones: Mapping[str, str]) -> Iterator[Launched]:
    for entry in entries:
        offering = _offering(entry)
        for instance_id in entry.get("InstanceIds", []):
            yield Launched(
                instance_id=instance_id,
                instance_type=entry.get("InstanceType") or offering["InstanceType"],
                zone=_zone(offering, zones),
                capacity_type=_capacity_type(entry.get("Lifecycle")),
            )


def _refused(
    entries: Sequence[Mapping[str, Any]], zones: Mapping[str, str], capacity_type: CapacityType
) -> Iterator[Refusal]:
    for entry in entries:
        offering = _offering(entry)
        yield Refusal(
            code=entry.get("ErrorCode", ""),
            message=entry.get("ErrorMessage", ""),
            capacity_type=capacity_type,
            instance_type=offering.get("InstanceType"),
            zone=_zone(offering, zones) or None,
        )


def _offering(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    return entry.get("LaunchTemplateAndOverrides", {}).get("Overrides", {})


def _zone(offering: Mapping[str, Any], zones: Mapping[str, str]) -> str:
    return offering.get("AvailabilityZone") or zones.get(offering.get("SubnetId", ""), "")


def _lost_or_refused(error: ClientError, capacity_type: CapacityType) -> Answer | Lost:
    """EC2 throttles with status 503, so the code decides before the status does."""
    code, message = _code(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in UNKNOWN_OUTCOME or (status >= 500 and code not in THROTTLED):
        return Lost(why=f"{code}: {message}")
    return Answer(refusals=(Refusal(code=code, message=message, capacity_type=capacity_type),), whole=True)


def _code(error: ClientError) -> tuple[str, str]:
    details = error.response.get("Error", {})
    return details.get("Code", "Unknown"), details.get("Message", str(error))


def _joined(one: Ended, other: Ended) -> Ended:
    return Ended(
        accepted=one.accepted + other.accepted,
        unknown=one.unknown + other.unknown,
        failures=one.failures + other.failures,
    )


def _described(entry: Mapping[str, Any]) -> Described:
    tags = {tag["Key"]: tag["Value"] for tag in entry.get("Tags", [])}
    return Described(
        instance_id=entry["InstanceId"],
        state=entry["State"]["Name"],
        instance_type=entry["InstanceType"],
        zone=entry.get("Placement", {}).get("AvailabilityZone", ""),
        capacity_type=_capacity_type(entry.get("InstanceLifecycle")),
        launched_at=entry["LaunchTime"].astimezone(UTC),
        pool=tags.get(names.TAG_POOL),
        decision=tags.get(names.TAG_DECISION),
        state_reason=entry.get("StateReason", {}).get("Code"),
    )


def _capacity_type(lifecycle: str | None) -> CapacityType:
    """Absent, `on-demand`, `scheduled` and `capacity-block` are all not spot."""
    return CapacityType.SPOT if lifecycle == CapacityType.SPOT else CapacityType.ON_DEMAND


def _type_description(entry: Mapping[str, Any]) -> TypeDescription:
    architectures = entry["ProcessorInfo"]["SupportedArchitectures"]
    return TypeDescription(
        name=entry["InstanceType"],
        vcpus=entry["VCpuInfo"]["DefaultVCpus"],
        memory_mib=entry["MemoryInfo"]["SizeInMiB"],
        gpus=sum(gpu.get("Count", 0) for gpu in entry.get("GpuInfo", {}).get("Gpus", [])),
        architecture="arm64" if "arm64" in architectures else "x86_64",
        bare_metal=entry.get("BareMetal", False),
    )
