"""What an AWS call that did not do what was asked means to its caller.

    Fault (raised by every adapter)
    ├── Conflict        a condition did not hold: somebody was there first; decide again from what is there now
    └── Unavailable     throttled, timed out or failed on AWS's side: nothing is known, try again later

Any other refusal (no permission, no such table, a malformed request) is raised as it came: it is nobody's to retry.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.adapters.attributes import decode


class Fault(Exception):
    """An AWS call that did not do what was asked."""


class Conflict(Fault):
    """A condition did not hold. `reasons` has one code per operation of a transaction (`None` where it held), `items`
    the item as it stood, where the operation asked for it."""

    def __init__(
        self, message: str, reasons: Sequence[str | None] = (), items: Sequence[dict[str, Any] | None] = ()
    ) -> None:
        super().__init__(message)
        self.reasons = tuple(reasons)
        self.items = tuple(items)

    @property
    def contended(self) -> bool:
        """No condition failed: another transaction was under way on one of the items. The same may work right away."""
        return {reason for reason in self.reasons if reason is not None} == {CONTENDED}

    def failed(self, operation: int) -> bool:
        """Whether this operation of the transaction (from 0) is one that did not hold."""
        return operation < len(self.reasons) and self.reasons[operation] is not None


class Unavailable(Fault):
    """Throttled, timed out or failed on AWS's side; whether the call took effect is not known."""


CONTENDED = "TransactionConflict"

_RETRYABLE = {
    *("ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException", "Throttling"),
    *("InternalServerError", "InternalFailure", "InternalError", "ServiceUnavailable", "RequestThrottled"),
    *("TransactionInProgressException", "RequestTimeout", "RequestTimeoutException"),
}
_THROTTLED_OPERATION = {"ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded"}


@contextmanager
def faults() -> Generator[None, None, None]:
    """Turns what boto3 raises inside into a Fault, where it is one."""
    try:
        yield
    except ClientError as error:
        raise fault_of(error) from error
    except BotoCoreError as error:
        raise Unavailable(str(error)) from error


def fault_of(error: ClientError) -> Exception:
    response: dict[str, Any] = dict(error.response)
    code = response.get("Error", {}).get("Code", "")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    match code:
        case "ConditionalCheckFailedException":
            stored = response.get("Item")
            return Conflict(str(error), (code,), (_decoded(stored),))
        case "TransactionCanceledException":
            return _cancelled(error, response.get("CancellationReasons", []))
        case "TransactionConflictException":
            return Conflict(str(error), (CONTENDED,))
        case _:
            passing = code in _RETRYABLE or status >= 500 or status == 429
            return Unavailable(str(error)) if passing else error


def _cancelled(error: ClientError, details: list[dict[str, Any]]) -> Fault:
    codes = [None if d.get("Code") in (None, "None") else str(d["Code"]) for d in details]
    if any(code in _THROTTLED_OPERATION for code in codes):
        return Unavailable(str(error))
    return Conflict(str(error), codes, [_decoded(d.get("Item")) for d in details])


def _decoded(stored: dict[str, Any] | None) -> dict[str, Any] | None:
    return decode(stored) if stored else None
