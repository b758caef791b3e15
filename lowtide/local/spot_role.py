"""The service-linked role that EC2 Spot launches with, under the name that AWS gives it.

An account gets it with its first spot request, if whoever makes that request may create it; else by
`aws iam create-service-linked-role --aws-service-name spot.amazonaws.com`. The local account has had it before, and can
lose it. Stock ministack would name it AWSServiceRoleForSpot.
"""

from collections.abc import Callable, Mapping
from typing import Any

from lowtide.local.contract import upstream
from lowtide.local.replacements import Replacements

SERVICE = "spot.amazonaws.com"
ROLE = "AWSServiceRoleForEC2Spot"


def install(replacements: Replacements) -> None:
    iam = upstream("services.iam")
    stock: Callable[[Any], Any] = iam._create_service_linked_role

    def create(params: Mapping[str, Any]) -> Any:
        if iam._p(params, "AWSServiceName") != SERVICE:
            return stock(params)
        if ROLE in iam._roles:
            message = f"Service role name {ROLE} has been taken in this account, please try a different suffix."
            return iam._error(400, "InvalidInput", message, ns="iam")
        answer = stock(params)
        made = iam._roles.pop("AWSServiceRoleForSpot")
        arn = str(made["Arn"]).replace("AWSServiceRoleForSpot", ROLE)
        iam._roles[ROLE] = {**made, "RoleName": ROLE, "Arn": arn}
        status, headers, body = answer
        return status, headers, body.replace(b"AWSServiceRoleForSpot", ROLE.encode())

    replacements.replace(iam._IAM_HANDLERS, "CreateServiceLinkedRole", create)


def create(account: str, region: str) -> None:
    """What the account's first spot request did long ago."""
    with upstream("core.responses").request_scope(account, region):
        upstream("services.iam")._IAM_HANDLERS["CreateServiceLinkedRole"]({"AWSServiceName": [SERVICE]})
