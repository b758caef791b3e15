"""What one attempt may do in AWS, and the secrets that it asked for: both by its pool's `job_role_arn`, by nothing of
the instance's. A secret's value is in the attempt's environment, and nowhere else for longer than it
takes to get there.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, Callable

from worker.aws import JsonService, Refusal
from worker.data import Lent, NoRole
from worker.inputs import Stopped, Unavailable
from worker.leases import Lease
from worker.loopback import Loopback
from worker.ports import Calls

TRIES = 6
"""With waits of 1, 2, 4, 8 and 16 s between them; then the lease is given back."""
TRANSIENT = frozenset(
    {
        *(
            "ThrottlingException",
            "Throttling",
            "TooManyRequestsException",
            "RequestLimitExceeded",
        ),
        *("InternalServiceError", "InternalServerError", "InternalFailure", "ServiceUnavailable"),
        *("ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException", "RequestExpired"),
        *("KMSInternalException", "KMSThrottlingException", "RequestTimeout", "RequestTimeoutException"),
    }
)
"""Codes that may pass, beside every 5xx and 429. Those of the third line are about credentials that have just ended."""


class NoRights(Exception):
    """The attempt cannot have what it needs in AWS, and trying again changes nothing. The text names the remedy."""


class Rights:
    """One attempt's: what its environment gets."""

    def __init__(self, environment: dict[str, str], end: Callable[[], None] = lambda: None) -> None:
        self.environment = environment
        self.end = end
        """Nobody gets its credentials any more."""


class JobRights:
    def __init__(
        self,
        api: Calls,
        *,
        region: str,
        now: Callable[[], datetime],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = api
        self._region = region
        self._now = now
        self._sleep = sleep
        self._loopback = Loopback()

    def admit(self, lease: Lease, stopped: Callable[[], bool]) -> Rights:
        """Raises NoRights, Unavailable, Stopped, OSError."""
        if not lease.job_role:
            if lease.secrets:
                name = min(lease.secrets)
                raise NoRights(f"secret {name} cannot be read: the pool has no job_role_arn; have its owner set one")
            return Rights({})
        lent = Lent(self._api, "/v1/job-credentials", lease.key.body(), self._now)
        self._insist(lent.credentials, "the job's role", stopped)
        values = {
            name: self._insist(lambda n=name, a=arn: _secret(n, a, lent), f"secret {name}", stopped)
            for name, arn in lease.secrets.items()
        }
        region = {name: self._region for name in ("AWS_REGION", "AWS_DEFAULT_REGION") if name not in lease.env}
        return Rights({**region, **values, **self._loopback.admit(lent)}, lambda: self._loopback.dismiss(lent))

    def _insist(self, ask: Callable[[], Any], what: str, stopped: Callable[[], bool]) -> Any:
        for attempt in range(TRIES):
            if stopped():
                raise Stopped
            try:
                return ask()
            except NoRole as error:
                raise NoRights(f"the job's role: {error}") from error
            except OSError as error:
                if attempt + 1 == TRIES:
                    raise Unavailable(f"{what}: {error}") from error
            for _ in range(2**attempt):
                if stopped():
                    raise Stopped
                self._sleep(1.0)
        raise AssertionError("the last try returns or raises")


def _secret(name: str, arn: str, lent: Lent) -> str:
    """Raises NoRights, NoRole, OSError."""
    service = arn.split(":")[2]
    try:
        value = _parameter(arn, lent) if service == "ssm" else _secret_string(arn, lent)
    except Refusal as error:
        if error.code in ("ExpiredTokenException", "UnrecognizedClientException"):
            lent.forget()
        if error.status >= 500 or error.status == 429 or error.code in TRANSIENT:
            raise OSError(f"{arn}: {error.code or error.status}") from error
        raise NoRights(f"secret {name}: {arn}: {error.code or error.status}: {_REMEDIES[service]}") from error
    if value is None or not _holdable(value):
        raise NoRights(f"secret {name}: {arn} is no text that a variable can hold")
    return value


def _holdable(value: str) -> bool:
    """As a variable's value. Of half a surrogate pair Python would complain with the value in its words."""
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


_REMEDIES = {
    "ssm": "it has to be there, and the job's role to be allowed ssm:GetParameter on it (and kms:Decrypt on its key)",
    "secretsmanager": "it has to be there, and the job's role to be allowed secretsmanager:GetSecretValue on it "
    "(and kms:Decrypt on its key)",
}


def _secret_string(arn: str, lent: Lent) -> str | None:
    """None: a binary one."""
    region = arn.split(":")[3]
    service = JsonService("secretsmanager", "secretsmanager", "SECRETS_MANAGER", region, lent.credentials)
    return service.call("GetSecretValue", {"SecretId": arn}).get("SecretString")


def _parameter(arn: str, lent: Lent) -> str | None:
    service = JsonService("ssm", "AmazonSSM", "SSM", arn.split(":")[3], lent.credentials)
    return service.call("GetParameter", {"Name": arn, "WithDecryption": True}).get("Parameter", {}).get("Value")
