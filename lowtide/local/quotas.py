"""Service Quotas, as far as an EC2 user asks it: the account's vCPU quotas, by code.

The numbers come from whoever installs this (the market), so that a quota asked for and a quota enforced agree.
ministack has no Service Quotas; its gateway still authenticates the call and checks `servicequotas:GetServiceQuota`.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from lambdas.domain.quotas import Quota
from lowtide.local.contract import upstream
from lowtide.local.replacements import Replacements
from lowtide.market.quotas import NoSuchQuota, answer

_SCOPE = "/servicequotas/aws4_request"
_ACTIONS = ("GetServiceQuota", "GetAWSDefaultServiceQuota")


def install(replacements: Replacements, *, value: Callable[[Quota], int]) -> None:
    """`value` gives the vCPUs of a quota."""
    app, actions = upstream("app"), upstream("core.iam_actions")
    detect = app.detect_service

    def detect_service(method: str, path: str, headers: Mapping[str, str], query_params: Any) -> str:
        if _SCOPE in headers.get("authorization", ""):
            return "servicequotas"
        return detect(method, path, headers, query_params)

    async def handle(_: str, __: str, headers: Mapping[str, str], body: bytes, ___: Any) -> tuple[int, Any, bytes]:
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        request: Mapping[str, Any] = json.loads(body or b"{}")
        try:
            if action in _ACTIONS:
                return _answer(200, answer(request, value))
            message = f"The local AWS has {' and '.join(_ACTIONS)} only, not {action}."
        except NoSuchQuota as error:
            message = str(error)
        return _answer(400, {"__type": "NoSuchResourceException", "message": message})

    replacements.replace(app, "detect_service", detect_service)
    replacements.add(app.SERVICE_HANDLERS, "servicequotas", handle)
    replacements.add(actions.SERVICE_TO_IAM_NAMESPACE, "servicequotas", "servicequotas")


def _answer(status: int, document: Mapping[str, Any]) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(document).encode()
