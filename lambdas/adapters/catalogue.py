"""What EC2 and the price list say of instance types: facts and on-demand prices, read through their APIs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.domain.pools.pools import TypeFacts

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_pricing import PricingClient

_ASKED_AT_ONCE = 100
"""DescribeInstanceTypes takes at most 100 names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeListing:
    """An instance type as EC2 lists it, before a pool gives it slots."""

    name: str
    vcpus: int
    memory_mib: int
    gpus: int
    architecture: str
    """`x86_64` or `arm64`; the first that EC2 names for types with several."""
    bare_metal: bool

    def renew(self, known: TypeFacts, price: Decimal | None) -> TypeFacts:
        """What a pool knows of the type, as it is now. Its slots stay as the owner had them; a price of None (it cannot
        be read now) stays as it was."""
        return replace(
            known,
            vcpus=self.vcpus,
            memory_mib=self.memory_mib,
            gpus=self.gpus,
            architecture=self.architecture,
            bare_metal=self.bare_metal,
            on_demand_price=known.on_demand_price if price is None else price,
        )


class Catalogue:
    """`pricing` is a client in names.PRICING_REGION, whatever Region the stack is in."""

    def __init__(self, ec2: "EC2Client", pricing: "PricingClient", region: str) -> None:
        self._ec2 = ec2
        self._pricing = pricing
        self._region = region

    def listings(self, names: Sequence[str]) -> dict[str, TypeListing]:
        """Those of the named types that EC2 has in this Region. Raises ClientError for anything but an unknown name."""
        found: dict[str, TypeListing] = {}
        for first in range(0, len(names), _ASKED_AT_ONCE):
            # A filter: an unknown name in InstanceTypes would make EC2 refuse the whole call (InvalidInstanceType).
            asked = [{"Name": "instance-type", "Values": list(names[first : first + _ASKED_AT_ONCE])}]
            for kind in self._described(asked):
                found[kind["InstanceType"]] = _listing(kind)
        return found

    def _described(self, filters: Any) -> Iterator[Mapping[str, Any]]:
        following: dict[str, str] = {}
        while True:
            page = self._ec2.describe_instance_types(Filters=filters, **following)  # type: ignore[arg-type]
            yield from page["InstanceTypes"]
            if not (token := page.get("NextToken")):
                return
            following = {"NextToken": token}

    def on_demand_price(self, instance_type: str) -> Decimal | None:
        """USD per hour for Linux, shared tenancy, in this Region; None where the list has no price or cannot be read
        (a pool works without it: the limit is then EC2's own)."""
        filters = {
            **{"instanceType": instance_type, "regionCode": self._region, "operatingSystem": "Linux"},
            **{"tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used"},
        }
        try:
            answer = self._pricing.get_products(
                ServiceCode="AmazonEC2",
                Filters=[{"Type": "TERM_MATCH", "Field": k, "Value": v} for k, v in filters.items()],
            )
        except (ClientError, BotoCoreError):
            return None
        prices = [price for product in answer["PriceList"] for price in _hourly_prices(json.loads(product))]
        return min(prices, default=None)


def _listing(kind: Mapping[str, Any]) -> TypeListing:
    architectures = kind.get("ProcessorInfo", {}).get("SupportedArchitectures", ["x86_64"])
    return TypeListing(
        name=kind["InstanceType"],
        vcpus=kind["VCpuInfo"]["DefaultVCpus"],
        memory_mib=kind["MemoryInfo"]["SizeInMiB"],
        gpus=sum(gpu.get("Count", 0) for gpu in kind.get("GpuInfo", {}).get("Gpus", [])),
        architecture="arm64" if "arm64" in architectures else "x86_64",
        bare_metal=bool(kind.get("BareMetal", False)),
    )


def _hourly_prices(product: Mapping[str, Any]) -> list[Decimal]:
    """The hourly US dollar prices of one product of the price list, free ones left out.

    `{"terms": {"OnDemand": {"X": {"priceDimensions": {"Y": {"unit": "Hrs", "pricePerUnit": {"USD": "7.824"}}}}}}}`
    """
    dimensions = [
        dimension
        for term in product.get("terms", {}).get("OnDemand", {}).values()
        for dimension in term["priceDimensions"].values()
    ]
    hourly = [
        Decimal(d["pricePerUnit"]["USD"]) for d in dimensions if d["unit"] == "Hrs" and "USD" in d["pricePerUnit"]
    ]
    return [price for price in hourly if price > 0]
