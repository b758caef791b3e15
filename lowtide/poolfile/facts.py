"""Asks AWS what resolving pool entries needs: instance types, on-demand prices, and what the entries name."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from lambdas import names
from lambdas.adapters.catalogue import Catalogue
from lambdas.names import PRICING_REGION
from lowtide.poolfile.resolve import PUBLIC_ROOT_DEVICE, Facts, ImageFacts, named_subnets, names_of, types_of
from lowtide.poolfile.schema import PoolEntry

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

    from lowtide.cli.connection import Deployment


def gather(deployment: "Deployment", entries: Sequence[PoolEntry]) -> Facts:
    """The facts for all entries at once: one listing of types, one price each, one look at the subnets."""
    ec2 = deployment.client("ec2")
    pricing = deployment.client("pricing", region_name=PRICING_REGION)
    catalogue = Catalogue(ec2, pricing, deployment.region)
    wanted = types_of(entries)
    listings = catalogue.listings(wanted)
    prices: dict[str, Decimal | None] = {name: catalogue.on_demand_price(name) for name in wanted if name in listings}
    subnets = sorted({subnet for entry in entries for _, subnet in named_subnets(entry.provider)})
    images, missing = _images(ec2, sorted({entry.provider.image_id for entry in entries if entry.provider.image_id}))
    named = sorted({name for entry in entries for name in names_of(entry.provider)})
    return Facts(
        region=deployment.region,
        listings=listings,
        prices=prices,
        zones_of_subnets=zones_of(ec2, subnets),
        images=images,
        job_roles=_job_roles(deployment) if any(entry.provider.job_role_arn for entry in entries) else None,
        missing=missing | {name for name in named if _is_missing(deployment, *name)},
    )


def _job_roles(deployment: "Deployment") -> frozenset[str] | None:
    """As the stack's output says; None for a stack that was deployed before it had that output."""
    said = deployment.outputs.get(names.OUTPUT_JOB_ROLES)
    return None if said is None else frozenset(said.split(",")) - {"none"}


def _images(ec2: "EC2Client", images: Sequence[str]) -> tuple[dict[str, ImageFacts], frozenset[tuple[str, str]]]:
    """Of those that can be looked up: the facts, and those that do not exist."""
    found: dict[str, ImageFacts] = {}
    missing: set[tuple[str, str]] = set()
    for image in images:
        try:
            rows = ec2.describe_images(ImageIds=[image])["Images"]
        except ClientError as error:
            if not _says_missing(error):
                continue
            rows = []
        for row in rows:
            device = row.get("RootDeviceName", PUBLIC_ROOT_DEVICE)
            found[image] = ImageFacts(architecture=row.get("Architecture", "x86_64"), root_device=device)
        if not rows:
            missing.add(("image_id", image))
    return found, frozenset(missing)


def _is_missing(deployment: "Deployment", key: str, value: str) -> bool:
    """Whether AWS says that it does not exist; what may not be asked is taken at the owner's word."""
    try:
        match key:
            case "ssh_key_name":
                deployment.client("ec2").describe_key_pairs(KeyNames=[value])
            case "iam_instance_profile_arn":
                deployment.client("iam").get_instance_profile(InstanceProfileName=value.rsplit("/", 1)[-1])
            case _:
                deployment.client("ec2").describe_security_groups(GroupIds=[value])
    except ClientError as error:
        return _says_missing(error)
    return False


def _says_missing(error: ClientError) -> bool:
    code = error.response.get("Error", {}).get("Code", "")
    return code.endswith((".NotFound", ".Malformed")) or code == "NoSuchEntity"


def zones_of(ec2: "EC2Client", subnets: Sequence[str]) -> dict[str, str]:
    """subnet id -> zone name of those that exist. Asked one by one: one unknown id makes EC2 refuse the whole call."""
    found: dict[str, str] = {}
    for subnet in subnets:
        try:
            answer = ec2.describe_subnets(SubnetIds=[subnet])
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "InvalidSubnetID.NotFound":
                raise
            continue
        found[subnet] = next((row.get("AvailabilityZone", "") for row in answer["Subnets"]), "")
    return found
