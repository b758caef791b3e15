"""The Pricing API's GetProducts, as far as an EC2 user asks it: the Linux on-demand price of one instance type.

Prices come from whoever installs this (the market's catalogue), so that a price asked for and a price charged agree.
ministack has no Pricing service; its gateway still authenticates the call and checks pricing:GetProducts.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Any

from lowtide.local.contract import upstream
from lowtide.local.replacements import Replacements

_SCOPE = "/pricing/aws4_request"
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


def install(replacements: Replacements, *, price: Callable[[str], Decimal | None], region: str) -> None:
    """`price` gives USD per hour of an instance type, None for one that does not exist."""
    app, actions = upstream("app"), upstream("core.iam_actions")
    detect = app.detect_service

    def detect_service(method: str, path: str, headers: Mapping[str, str], query_params: Any) -> str:
        if _SCOPE in headers.get("authorization", ""):
            return "pricing"
        return detect(method, path, headers, query_params)

    async def handle(_: str, __: str, headers: Mapping[str, str], body: bytes, ___: Any) -> tuple[int, Any, bytes]:
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        if action != "GetProducts":
            return _error("InvalidParameterException", f"The local price list has GetProducts only, not {action}.")
        return _products(json.loads(body), price, region)

    replacements.replace(app, "detect_service", detect_service)
    replacements.add(app.SERVICE_HANDLERS, "pricing", handle)
    replacements.add(actions.SERVICE_TO_IAM_NAMESPACE, "pricing", "pricing")


def _products(
    request: Mapping[str, Any], price: Callable[[str], Decimal | None], region: str
) -> tuple[int, Any, bytes]:
    filters: Sequence[Mapping[str, str]] = request.get("Filters") or []
    wanted = {entry["Field"]: entry["Value"] for entry in filters}
    name = wanted.get("instanceType")
    if request.get("ServiceCode") != "AmazonEC2" or name is None:
        return _error(
            "InvalidParameterException", "The local price list knows AmazonEC2, by a filter on one instanceType."
        )
    amount = price(name)
    attributes = {**_FIXED, "instanceType": name, "regionCode": region}
    fits = all(attributes.get(field, value) == value for field, value in wanted.items())
    found = [_product(attributes, amount)] if amount is not None and fits else []
    return _answer(200, {"FormatVersion": "aws_v1", "PriceList": [json.dumps(product) for product in found]})


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


def _answer(status: int, document: Mapping[str, Any]) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(document).encode()


def _error(code: str, message: str) -> tuple[int, dict[str, str], bytes]:
    return _answer(400, {"__type": code, "message": message})
