"""Temporary credentials of a role, as EC2 hands them to an instance through its metadata service."""

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from lowtide.local.contract import upstream
from lowtide.local.interface import Credentials

LIFE = timedelta(hours=6)
"""How long EC2's instance credentials last."""


def role_credentials(name_or_arn: str, session_name: str, *, account: str, now: datetime) -> Credentials:
    """Registers a session of the role and returns its keys. Raises LookupError if there is no such role or profile."""
    role = _role(name_or_arn, account)
    expires = now + LIFE
    # The prefix is what makes SDKs send the session token along; AWS's own temporary keys begin alike.
    key = f"ASIA{secrets.token_hex(8).upper()}"
    secret, token = secrets.token_urlsafe(30), secrets.token_urlsafe(120)
    upstream("services.sts").register_session(
        key,
        {
            "AccountId": account,
            "Arn": f"arn:aws:sts::{account}:assumed-role/{role['RoleName']}/{session_name}",
            "UserId": f"{role['RoleId']}:{session_name}",
            "SecretAccessKey": secret,
            "SessionToken": token,
            "IssuedAt": now.timestamp(),
            "Expiration": expires.timestamp(),
        },
    )
    return Credentials(
        AccessKeyId=key, SecretAccessKey=secret, Token=token, Expiration=expires.strftime("%Y-%m-%dT%H:%M:%SZ")
    )


def _role(name_or_arn: str, account: str) -> Mapping[str, Any]:
    iam = upstream("services.iam")
    name = name_or_arn.rsplit("/", 1)[-1]
    is_role_arn = ":role/" in name_or_arn
    profile: Mapping[str, Any] | None = None if is_role_arn else iam._instance_profiles.get_scoped(account, None, name)
    roles: list[Any] = profile["Roles"] if profile else [name]
    for role_name in roles:
        role: Mapping[str, Any] | None = iam._roles.get_scoped(account, None, role_name)
        if role is not None:
            return role
    raise LookupError(f"{name_or_arn} is neither an instance profile with a role nor a role of account {account}")
