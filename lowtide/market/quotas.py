"""Service Quotas' GetServiceQuota, as far as EC2's vCPU quotas go: the numbers that the market refuses by."""

from collections.abc import Callable, Mapping
from typing import Any

from lambdas.domain.refusals.quotas import QUOTAS, Quota


class NoSuchQuota(LookupError):
    """A service or a code that is not known here."""


def answer(request: Mapping[str, Any], value: Callable[[Quota], int]) -> dict[str, Any]:
    """The answer to GetServiceQuota. `value` gives the vCPUs of a quota. Raises NoSuchQuota."""
    quota = next((each for each in QUOTAS if each.code == request.get("QuotaCode")), None)
    if request.get("ServiceCode") != "ec2" or quota is None:
        raise NoSuchQuota("Of Service Quotas only EC2's vCPU quotas are known here.")
    return {
        "Quota": {
            **{"ServiceCode": "ec2", "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)"},
            **{"QuotaCode": quota.code, "QuotaName": quota.name, "Value": float(value(quota)), "Unit": "None"},
            **{"Adjustable": True, "GlobalQuota": False},
        }
    }
