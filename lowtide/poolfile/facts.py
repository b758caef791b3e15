"""Asks AWS what resolving pool entries needs: instance types, on-demand prices, the zones of named subnets."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from lambdas.adapters.catalogue import PRICING_REGION, Catalogue
from lowtide.poolfile.resolve import Facts, types_of
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
    subnets = sorted({subnet for entry in entries for subnet in entry.provider.subnet_ids or []})
    return Facts(region=deployment.region, listings=listings, prices=prices, zones_of_subnets=zones_of(ec2, subnets))


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
