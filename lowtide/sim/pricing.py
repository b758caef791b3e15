"""The price list in memory: the call that lambdas/adapters/catalogue.py makes, on the market's catalogue."""

from typing import Any

from lowtide.market import catalogue
from lowtide.market.price_list import products
from lowtide.sim.calls import Hook, Request, Response, SimClient


class FakePricing(SimClient):
    service = "pricing"

    def __init__(self, region: str, *, hook: Hook | None = None) -> None:
        super().__init__(hook)
        self._region = region

    def get_products(self, **request: Any) -> Response:
        return self._call("get_products", request, frozenset({"ServiceCode", "Filters"}), self._get_products)

    def _get_products(self, request: Request) -> Response:
        return products(request, catalogue.on_demand_price, self._region)
