"""The worker API as HTTP: who calls, what is asked, and what each failure is answered with (docs/worker-api.md)."""

import base64
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lambdas import names
from lambdas.adapters.faults import Fault
from lambdas.adapters.leases import LeaseLost, NotYours
from lambdas.adapters.metrics import Metrics
from lambdas.adapters.pulse import Pulse
from lambdas.adapters.workers import UnknownInstance
from lambdas.control import worker_calls
from lambdas.control.caller import NotAWorker, calling_instance
from lambdas.control.credentials import DataCredentials
from lambdas.control.job_credentials import JobCredentials, NoJobRole
from lambdas.control.worker_api import WorkerApi
from lambdas.control.worker_calls import BadCall

Event = Mapping[str, Any]
_Call = Callable[[str, dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    body: dict[str, Any]
    path: str
    instance_id: str | None

    def to_response(self) -> dict[str, Any]:
        """As a function URL takes it."""
        headers = {"content-type": "application/json"}
        return {"statusCode": self.status, "headers": headers, "body": json.dumps(self.body)}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHttp:
    api: WorkerApi
    credentials: DataCredentials
    job_credentials: JobCredentials
    pulse: Pulse
    metrics: Metrics
    roles: Collection[str]
    """Names of the roles whose instances may call."""
    now: Callable[[], datetime]

    def reply(self, event: Event, *, account: str) -> Reply:
        """Never raises for what a caller can send or AWS can refuse; a bug of ours is raised, and is a 502 to the
        worker, to whom that means as little as a 503."""
        path, instance_id = str(event.get("rawPath", "")), None
        try:
            instance_id = calling_instance(event, roles=self.roles, account=account)
            answer = self._call(path)(instance_id, worker_calls.read_body(_text(event)))
        except (BadCall, NotAWorker, UnknownInstance, NotYours, LeaseLost, NoJobRole, _NoSuchCall) as refusal:
            status, body = _refusal(refusal)
            self._count(refusal, body["error"])
        except Exception as failure:
            self.pulse.failed()
            if not isinstance(failure, Fault):
                raise
            status, body = 503, {"error": "unavailable", "remedy": f"ask again: {failure}"}
        else:
            status, body = 200, answer
            self._answered()
        return Reply(status=status, body=body, path=path, instance_id=instance_id)

    def _count(self, refusal: Exception, error: str) -> None:
        if isinstance(refusal, LeaseLost | UnknownInstance):
            return
        self.metrics.put(names.METRIC_REFUSED_CALLS, 1)
        self.metrics.put(names.METRIC_REFUSED_CALLS, 1, reason=error)
        self.metrics.flush()

    def _answered(self) -> None:
        """The call is done whether or not its beat can be written."""
        try:
            self.pulse.answered(self.now())
        except Fault:
            self.pulse.failed()

    def _call(self, path: str) -> _Call:
        api = self.api
        calls: dict[str, _Call] = {
            names.API_HELLO: lambda instance, body: api.hello(instance, worker_calls.hello(body)),
            names.API_CLAIM: lambda instance, body: api.claim(instance, worker_calls.claim(body)),
            names.API_HEARTBEAT: lambda instance, body: api.heartbeat(instance, worker_calls.heartbeat(body)),
            names.API_FINISH: lambda instance, body: api.finish(instance, worker_calls.finish(body)),
            names.API_RELEASE: lambda instance, body: api.release(instance, worker_calls.release(body)),
            names.API_CREDENTIALS: lambda instance, _body: self.credentials.lend(instance),
            names.API_JOB_CREDENTIALS: lambda instance, body: self.job_credentials.lend(
                instance, worker_calls.job_credentials(body)
            ),
        }
        if path not in calls:
            raise _NoSuchCall(path)
        return calls[path]


class _NoSuchCall(Exception):
    """The path is none of the API's."""


def _refusal(refusal: Exception) -> tuple[int, dict[str, Any]]:
    match refusal:
        case LeaseLost():
            return 409, {"error": "lease-lost", "remedy": f"stop the job: {refusal}"}
        case BadCall():
            return 400, {"error": "bad-request", "field": refusal.field, "remedy": str(refusal)}
        case UnknownInstance():
            remedy = f"ask again: {refusal} is not in the table, or not yet"
            return 403, {"error": "unknown-instance", "remedy": remedy}
        case NotYours():
            return 403, {"error": "not-yours", "remedy": str(refusal)}
        case NoJobRole():
            return 403, {"error": "no-job-role", "remedy": str(refusal)}
        case NotAWorker():
            return 403, {"error": "not-a-worker", "remedy": str(refusal)}
        case _:
            return 404, {"error": "no-such-call", "remedy": f"{refusal} is no path of the worker API"}


def _text(event: Event) -> str | None:
    body = event.get("body")
    if body is not None and event.get("isBase64Encoded"):
        try:
            return base64.b64decode(body, validate=True).decode()
        except ValueError as error:
            raise BadCall("body", "is not base64 of UTF-8") from error
    return body
