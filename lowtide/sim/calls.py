"""What every in-memory AWS client does around a call, and how tests reach in: faults, kills, recordings.

A hook sees each call twice. `before` may raise: then nothing happened. `after` may raise: then it happened (or was
refused), and the caller never heard. Product code catches `Exception` at most, so `Killed` ends it as a killed Lambda
would.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from botocore.exceptions import ClientError

Request = Mapping[str, Any]
Response = dict[str, Any]


class Hook(Protocol):
    """`operation` is `service.method` as boto3 spells it: `dynamodb.put_item`, `sqs.send_message`."""

    def before(self, operation: str, request: Request) -> None: ...

    def after(self, operation: str, request: Request, response: Response) -> None: ...


class NotModelled(Exception):
    """A client was asked something that it would have to ignore: a test must not pass on what nobody plays."""


class Killed(BaseException):
    """The process that made the call is gone."""


class Resent(Exception):
    """A hook's `after` raises it: the answer was lost, and the SDK makes the same call again by itself."""


@dataclass
class Recorder:
    """Remembers every call, in order."""

    calls: list[str] = field(default_factory=list[str])

    def before(self, operation: str, request: Request) -> None:  # noqa: ARG002 - the hook's signature
        self.calls.append(operation)

    def after(self, operation: str, request: Request, response: Response) -> None: ...


@dataclass
class KillAt:
    """Kills the caller at its `call`-th call (from 1), before or after its effect; once."""

    call: int
    after_effect: bool
    seen: int = 0

    def before(self, operation: str, request: Request) -> None:  # noqa: ARG002 - the hook's signature
        self.seen += 1
        if self.seen == self.call and not self.after_effect:
            raise Killed(f"before call {self.call}, {operation}")

    def after(self, operation: str, request: Request, response: Response) -> None:  # noqa: ARG002 - as above
        if self.seen == self.call and self.after_effect:
            raise Killed(f"after call {self.call}, {operation}")


@dataclass
class FailNext:
    """The next calls of each named operation answer with an error; `lost` ones take effect first."""

    errors: dict[str, list[Exception]] = field(default_factory=dict[str, list[Exception]])
    lost: dict[str, list[Exception]] = field(default_factory=dict[str, list[Exception]])

    def before(self, operation: str, request: Request) -> None:  # noqa: ARG002 - the hook's signature
        if planned := self.errors.get(operation):
            raise planned.pop(0)

    def after(self, operation: str, request: Request, response: Response) -> None:  # noqa: ARG002 - as above
        if planned := self.lost.get(operation):
            raise planned.pop(0)


class SimClient:
    """A boto3-like client. `hook` may be set and taken away at any time."""

    service: str

    def __init__(self, hook: Hook | None = None) -> None:
        self.hook = hook

    def _call(
        self, method: str, request: dict[str, Any], known: frozenset[str], effect: Callable[[Request], Response]
    ) -> Response:
        """One call: refuses parameters that the fake does not honour, rather than pass over them."""
        if unknown := set(request) - known:
            raise NotModelled(f"{self.service}.{method} in memory does not know {sorted(unknown)}")
        operation, hook = f"{self.service}.{method}", self.hook
        if hook is None:
            return effect(request)
        while True:
            try:
                return _hooked(hook, operation, request, effect)
            except Resent:
                continue


def _hooked(hook: Hook, operation: str, request: Request, effect: Callable[[Request], Response]) -> Response:
    hook.before(operation, request)
    try:
        response = effect(request)
    except ClientError as refusal:
        hook.after(operation, request, dict(refusal.response))
        raise
    hook.after(operation, request, response)
    return response


def aws_error(operation: str, code: str, message: str, *, status: int = 400, **more: Any) -> ClientError:
    """The ClientError that boto3 raises for such an answer; `operation` as AWS spells it (`PutItem`)."""
    document: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "SIMULATED", "RetryAttempts": 0},
        **more,
    }
    return ClientError(document, operation)
