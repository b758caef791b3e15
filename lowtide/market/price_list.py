"""A price list in the shape of the Pricing API's GetProducts: the Linux on-demand price of one instance type."""

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Any

_ON_DEMAND_TERM = "JRTCKXETXF"
_HOURLY_DIMENSION = "6YS6EN2CT7"
"""AWS's own codes for "on demand" and "per hour"; clients look terms up by any key, dumps carry these."""
_FIXED = {
    "capacitystatus": "Used",
    "licenseModel": "No License required",
    "marketoption": "OnDemand",
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "tenancy": "Shared",
}


class BadQuestion(ValueError):
    """What this price list does not know how to answer."""


def products(request: Mapping[str, Any], price: Callable[[str], Decimal | None], region: str) -> dict[str, Any]:
    """The answer to GetProducts. `price` gives USD per hour of an instance type, None for one that does not exist.
    Raises BadQuestion."""
    filters: Sequence[Mapping[str, str]] = request.get("Filters") or []
    wanted = {entry["Field"]: entry["Value"] for entry in filters}
    name = wanted.get("instanceType")
    if request.get("ServiceCode") != "AmazonEC2" or name is None:
        raise BadQuestion("The local price list knows AmazonEC2, by a filter on one instanceType.")
    amount = price(name)
    attributes = {**_FIXED, "instanceType": name, "regionCode": region}
    fits = all(attributes.get(field, value) == value for field, value in wanted.items())
    found = [_product(attributes, amount)] if amount is not None and fits else []
    return {"FormatVersion": "aws_v1", "PriceList": [json.dumps(product) for product in found]}


def _product(attributes: Mapping[str, str], amount: Decimal) -> dict[str, Any]:
    """One entry of a price list, in the shape of AWS's offer files."""
    sku = sha256(attributes["instanceType"].encode()).hexdigest()[:16].upper()
    term, dimension = f"{sku}.{_ON_DEMAND_TERM}", f"{sku}.{_ON_DEMAND_TERM}.{_HOURLY_DIMENSION}"
    rate = {
        "unit": "Hrs",
        "beginRange": "0",
        "endRange": "Inf",
        "description": f"${amount} per On Demand Linux {attributes['instanceType']} Instance Hour",
        "rateCode": dimension,
        "appliesTo": [],
        "pricePerUnit": {"USD": f"{amount:.10f}"},
    }
    offer = {"offerTermCode": _ON_DEMAND_TERM, "sku": sku, "priceDimensions": {dimension: rate}}
    return {
        "serviceCode": "AmazonEC2",
        "product": {"productFamily": "Compute Instance", "attributes": dict(attributes), "sku": sku},
        "terms": {"OnDemand": {term: offer}},
    }
