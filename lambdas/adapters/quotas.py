"""Service Quotas: how many vCPUs the account may run."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError


class ServiceQuotas(Protocol):
    """The client of boto3."""

    def get_service_quota(self, *, ServiceCode: str, QuotaCode: str) -> Any: ...


class Quotas:
    """`made` makes the client, when the first quota is read: most processes never do."""

    def __init__(self, made: Callable[[], ServiceQuotas]) -> None:
        self._made = made

    @cached_property
    def _client(self) -> ServiceQuotas:
        return self._made()

    def value(self, code: str) -> int | None:
        """Of a quota of EC2; None where it cannot be read."""
        try:
            return int(self._client.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"])
        except (ClientError, BotoCoreError):
            return None
