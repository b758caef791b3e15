"""Short-lived credentials of a role, by AWS STS. One real answer, shortened:

{"Credentials": {"AccessKeyId": "ASIA…", "SecretAccessKey": "…", "SessionToken": "…",
                 "Expiration": datetime(2026, 11, 23, 16, 0, tzinfo=tzutc())}}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from lambdas.adapters.faults import faults

if TYPE_CHECKING:
    from mypy_boto3_sts import STSClient

LIFE = timedelta(hours=1)
"""The most that AWS gives to a role that assumes another, whatever that one's own maximum is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    access_key: str
    secret_key: str
    token: str
    expires_at: datetime


class Denied(Exception):
    """STS says no: the caller may not take the role, or the role does not let it in, or there is none."""


class Role:
    """One role whose sessions this function may take and tag."""

    def __init__(self, client: "STSClient", arn: str) -> None:
        self._client = client
        self._arn = arn

    def session(self, name: str, tags: Mapping[str, str]) -> Credentials:
        """Credentials for an hour, which policies see as `aws:PrincipalTag/<key>`. Raises Unavailable, Denied."""
        try:
            return self._taken(name, tags)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "AccessDenied":
                raise Denied(str(error)) from error
            raise

    def _taken(self, name: str, tags: Mapping[str, str]) -> Credentials:
        with faults():
            answer = self._client.assume_role(
                RoleArn=self._arn,
                RoleSessionName=name,
                DurationSeconds=int(LIFE.total_seconds()),
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
            )
        given = answer["Credentials"]
        return Credentials(
            access_key=given["AccessKeyId"],
            secret_key=given["SecretAccessKey"],
            token=given["SessionToken"],
            expires_at=given["Expiration"],
        )
