"""Service Quotas' GetServiceQuota, as far as EC2's vCPU quotas go: the numbers that the market refuses by."""

from collections.abc import Mapping
from typing import Any

from lambdas.domain.pools import CapacityType
from lambdas.domain.quotas import QUOTAS, Quota
from lowtide.market.catalogue import QUOTA_FAMILIES
from lowtide.market.unkindness import Unkindness


class NoSuchQuota(LookupError):
    """A service or a code that is not known here."""


def answer(request: Mapping[str, Any], unkindness: Unkindness) -> dict[str, Any]:
    """The answer to GetServiceQuota. Raises NoSuchQuota."""
    quota = next((each for each in QUOTAS if each.code == request.get("QuotaCode")), None)
    if request.get("ServiceCode") != "ec2" or quota is None:
        raise NoSuchQuota("The request failed because the specified quota does not exist.")
    value = unkindness.quota(_family(quota), spot=quota.capacity_type is CapacityType.SPOT)
    return {
        "Quota": {
            **{"ServiceCode": "ec2", "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)"},
            **{"QuotaCode": quota.code, "QuotaName": quota.name, "Value": float(value), "Unit": "None"},
            **{"Adjustable": True, "GlobalQuota": False},
        }
    }


def _family(quota: Quota) -> str:
    """The market's name for the families that the quota counts."""
    for family, members in QUOTA_FAMILIES.items():
        named = [f"{member}{generation}" for member in members for generation in ("-", *"23456789")]
        if any(quota.counts(quota.capacity_type, name) for name in named):
            return family
    raise NoSuchQuota(quota.code)
