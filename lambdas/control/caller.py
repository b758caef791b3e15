"""Who calls the worker API, told by IAM and by nothing the caller says.

    "requestContext": {"authorizer": {"iam": {"accountId": "111122223333", "userId": "AROA…:i-0abc", "userArn":
        "arn:aws:sts::111122223333:assumed-role/LowtideWorker/i-0abc", …}}, …}

EC2 makes the session name of an instance's role the instance id; nobody else chooses it, since only EC2 may assume a
worker role (its trust policy).
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

_SESSION = re.compile(
    r"arn:[a-z-]+:sts::(?P<account>\d{12}):assumed-role/(?P<role>[^/]+)/(?P<session>i-[0-9a-f]{8,17})"
)


class NotAWorker(Exception):
    """The caller is no instance with one of the stack's worker roles."""


def calling_instance(event: Mapping[str, Any], *, roles: Collection[str], account: str) -> str:
    """The instance id of the caller. `roles`: names of the worker roles; `account`: the stack's own.

    Raises NotAWorker."""
    identity = event.get("requestContext", {}).get("authorizer", {}).get("iam") or {}
    arn = str(identity.get("userArn", ""))
    session = _SESSION.fullmatch(arn)
    if session is None:
        raise NotAWorker(f"{arn or 'the caller'} is no instance's session of a role")
    if session["account"] != account or session["role"] not in roles:
        raise NotAWorker(f"role {session['role']} of account {session['account']} is no worker role of this stack")
    return session["session"]
