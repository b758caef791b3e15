"""Service Quotas, as far as an EC2 user asks it: the account's vCPU quotas, by code.

The numbers come from whoever installs this (the market), so that a quota asked for and a quota enforced agree.
"""

from collections.abc import Callable, Mapping
from typing import Any

from lambdas.domain.refusals.quotas import Quota
from lowtide.local import added_service
from lowtide.local.added_service import Refused
from lowtide.local.replacements import Replacements
from lowtide.market.quotas import NoSuchQuota, answer

_ACTIONS = ("GetServiceQuota", "GetAWSDefaultServiceQuota")
_UNKNOWN = "NoSuchResourceException"


def install(replacements: Replacements, *, value: Callable[[Quota], int]) -> None:
    """`value` gives the vCPUs of a quota."""

    def answered(action: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if action not in _ACTIONS:
            raise Refused(_UNKNOWN, f"The local AWS has {' and '.join(_ACTIONS)} only, not {action}.")
        try:
            return answer(request, value)
        except NoSuchQuota as error:
            raise Refused(_UNKNOWN, str(error)) from error

    added_service.install(replacements, "servicequotas", answered)
