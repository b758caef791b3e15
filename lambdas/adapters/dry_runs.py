"""EC2's word on whether a launch would be allowed, with DryRun: nothing is launched, made or remembered.

EC2 answers every such call with an error. `DryRunOperation` is its yes:

    ClientError: An error occurred (DryRunOperation) when calling the RunInstances operation: Request would have
    succeeded, but DryRun flag is set.

CreateFleet's dry run looks at the caller's right to make the fleet and no further. What a fleet's instances need
(image, subnet, group, key, profile, the right to pass its role and to tag) is RunInstances' dry run to check, one
offering each.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from lambdas import names
from lambdas.adapters.ec2 import Ec2, LaunchTemplate
from lambdas.domain.fleet.fleet import LaunchRequest, Override
from lambdas.domain.pools.pools import CapacityType
from lambdas.domain.refusals.refusals import Refusal

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

WOULD_HAVE_WORKED = "DryRunOperation"
Tags = Mapping[str, str]
_TAGGED = ("instance", "volume", "network-interface")
_OF_POOL = ("instance", "volume")
"""What a launch's own tags are on beside the stack's; the rest is tagged by the launch template."""


class DryRuns:
    """Every method's answer: None where EC2 would have carried it out, else why not."""

    def __init__(self, client: "EC2Client", stack: str) -> None:
        self._client: Any = client
        self._stack = stack
        self._requests = Ec2(client, stack)

    def rehearse_fleet(self, request: LaunchRequest, *, pool: str, decision: str) -> Refusal | None:
        asked = self._requests.fleet_request(request, pool, decision)
        return _refusal(lambda: self._client.create_fleet(**asked, DryRun=True), request.capacity_type)

    def rehearse_instance(
        self,
        override: Override,
        capacity_type: CapacityType,
        made_of: LaunchTemplate | Mapping[str, Any],
        *,
        pool: str,
        decision: str,
    ) -> Refusal | None:
        """One instance of an offering, of a launch template or of the data of one that does not exist yet."""
        tags = {names.TAG_STACK: self._stack, names.TAG_POOL: pool, names.TAG_DECISION: decision}
        asked = _instance_request(override, capacity_type, made_of, tags)
        return _refusal(lambda: self._client.run_instances(**asked, DryRun=True), capacity_type, override)

    def rehearse_template(self, name: str, data: Mapping[str, Any], capacity_type: CapacityType) -> Refusal | None:
        tags = [{"ResourceType": "launch-template", "Tags": [{"Key": names.TAG_STACK, "Value": self._stack}]}]
        return _refusal(
            lambda: self._client.create_launch_template(
                LaunchTemplateName=name, LaunchTemplateData=dict(data), TagSpecifications=tags, DryRun=True
            ),
            capacity_type,
        )


def _refusal(call: Callable[[], object], capacity_type: CapacityType, of: Override | None = None) -> Refusal | None:
    """A call without an answer is a refusal too: nothing says that it would have worked."""
    try:
        call()
    except ClientError as error:
        details = error.response.get("Error", {})
        code, message = details.get("Code", "Unknown"), details.get("Message", str(error))
    except (ConnectionError, HTTPClientError) as error:
        code, message = "RequestTimeout", f"{type(error).__name__}: {error}"
    else:
        return None
    if code == WOULD_HAVE_WORKED:
        return None
    return Refusal(
        code=code,
        message=message,
        capacity_type=capacity_type,
        instance_type=of and of.instance_type,
        zone=of and of.zone,
    )


def _instance_request(
    override: Override, capacity_type: CapacityType, made_of: LaunchTemplate | Mapping[str, Any], tags: Tags
) -> dict[str, Any]:
    spot = capacity_type is CapacityType.SPOT
    limit = {} if override.max_price is None else {"MaxPrice": format(override.max_price, "f")}
    market = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time", **limit}}
    return {
        **_made_of(made_of, override.subnet_id),
        **{"MinCount": 1, "MaxCount": 1, "InstanceType": override.instance_type, "ImageId": override.image_id},
        **({"InstanceMarketOptions": market} if spot else {}),
        "TagSpecifications": _tagged(made_of, (*_TAGGED, *(["spot-instances-request"] if spot else [])), tags),
    }


def _made_of(made_of: LaunchTemplate | Mapping[str, Any], subnet_id: str) -> dict[str, Any]:
    """Without user data: what it may say is a matter of the pool file, and EC2 looks at no more than its size."""
    if isinstance(made_of, LaunchTemplate):
        named = {"LaunchTemplateId": made_of.template_id, "Version": made_of.version}
        return {"LaunchTemplate": named, "SubnetId": subnet_id}
    data = {key: value for key, value in made_of.items() if key not in ("UserData", "TagSpecifications")}
    if interfaces := data.pop("NetworkInterfaces", None):
        # EC2 takes the subnet at the top of a request or in its interface, not in both
        return {**data, "NetworkInterfaces": [{**each, "SubnetId": subnet_id} for each in interfaces]}
    return {**data, "SubnetId": subnet_id}


def _tagged(made_of: LaunchTemplate | Mapping[str, Any], kinds: Sequence[str], tags: Tags) -> list[dict[str, Any]]:
    """A request's tags take the place of a template's, so the template's are said again."""
    given: Sequence[Mapping[str, Any]] = () if isinstance(made_of, LaunchTemplate) else made_of["TagSpecifications"]
    own = {each["ResourceType"]: {tag["Key"]: tag["Value"] for tag in each["Tags"]} for each in given}
    wanted = {
        kind: {**own.get(kind, {}), **(tags if kind in _OF_POOL else {names.TAG_STACK: tags[names.TAG_STACK]})}
        for kind in kinds
    }
    return [
        {"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in of_kind.items()]}
        for kind, of_kind in wanted.items()
    ]
