"""Service Quotas in memory: the call that lambdas/adapters/quotas.py makes, on the market's quotas."""

from collections.abc import Callable
from typing import Any

from lambdas.domain.pools.pools import CapacityType
from lambdas.domain.refusals.quotas import Quota
from lowtide.market.quotas import NoSuchQuota, answer
from lowtide.market.unkindness import Unkindness
from lowtide.sim.calls import Hook, Request, Response, SimClient, aws_error


class FakeServiceQuotas(SimClient):
    service = "service-quotas"

    def __init__(self, unkindness: Callable[[], Unkindness], *, hook: Hook | None = None) -> None:
        super().__init__(hook)
        self._unkindness = unkindness

    def get_service_quota(self, **request: Any) -> Response:
        return self._call("get_service_quota", request, frozenset({"ServiceCode", "QuotaCode"}), self._quota)

    def _value(self, quota: Quota) -> int:
        return self._unkindness().quota(quota.family, spot=quota.capacity_type is CapacityType.SPOT)

    def _quota(self, request: Request) -> Response:
        try:
            return answer(request, self._value)
        except NoSuchQuota as error:
            raise aws_error("GetServiceQuota", "NoSuchResourceException", str(error)) from error
