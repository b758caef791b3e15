"""The Pricing API's GetProducts, as far as an EC2 user asks it: the Linux on-demand price of one instance type.

Prices come from whoever installs this (the market's catalogue), so that a price asked for and a price charged agree.
ministack has no Pricing service; its gateway still authenticates the call and checks pricing:GetProducts.
"""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from lowtide.local.contract import upstream
from lowtide.local.replacements import Replacements
from lowtide.market.price_list import BadQuestion, products

_SCOPE = "/pricing/aws4_request"


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
        try:
            return _answer(200, products(json.loads(body), price, region))
        except BadQuestion as error:
            return _error("InvalidParameterException", str(error))

    replacements.replace(app, "detect_service", detect_service)
    replacements.add(app.SERVICE_HANDLERS, "pricing", handle)
    replacements.add(actions.SERVICE_TO_IAM_NAMESPACE, "pricing", "pricing")


def _answer(status: int, document: Mapping[str, Any]) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(document).encode()


def _error(code: str, message: str) -> tuple[int, dict[str, str], bytes]:
    return _answer(400, {"__type": code, "message": message})
