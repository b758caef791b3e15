"""The Pricing API's GetProducts, as far as an EC2 user asks it: the Linux on-demand price of one instance type.

Prices come from whoever installs this (the market's catalogue), so that a price asked for and a price charged agree.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from lowtide.local import added_service
from lowtide.local.added_service import Refused
from lowtide.local.replacements import Replacements
from lowtide.market.price_list import BadQuestion, products

_WRONG = "InvalidParameterException"


def install(replacements: Replacements, *, price: Callable[[str], Decimal | None], region: str) -> None:
    """`price` gives USD per hour of an instance type, None for one that does not exist."""

    def answered(action: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if action != "GetProducts":
            raise Refused(_WRONG, f"The local price list has GetProducts only, not {action}.")
        try:
            return products(request, price, region)
        except BadQuestion as error:
            raise Refused(_WRONG, str(error)) from error

    added_service.install(replacements, "pricing", answered)
