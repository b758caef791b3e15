"""A service that ministack does not have, with JSON as its protocol: its requests found, its answers sent.

ministack's gateway still authenticates each call and checks `<service>:<action>`.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from lowtide.local.contract import upstream
from lowtide.local.replacements import Replacements

Answer = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""What an action answers to a request. Raises Refused."""


class Refused(Exception):
    """Answered with this error code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def install(replacements: Replacements, service: str, answer: Answer) -> None:
    """`service` is its name in signatures and in IAM actions."""
    app, actions = upstream("app"), upstream("core.iam_actions")
    detect, scope = app.detect_service, f"/{service}/aws4_request"

    def detect_service(method: str, path: str, headers: Mapping[str, str], query_params: Any) -> str:
        if scope in headers.get("authorization", ""):
            return service
        return detect(method, path, headers, query_params)

    async def handle(_: str, __: str, headers: Mapping[str, str], body: bytes, ___: Any) -> tuple[int, Any, bytes]:
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        try:
            status, document = 200, answer(action, json.loads(body or b"{}"))
        except Refused as error:
            status, document = 400, {"__type": error.code, "message": str(error)}
        return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(document).encode()

    replacements.replace(app, "detect_service", detect_service)
    replacements.add(app.SERVICE_HANDLERS, service, handle)
    replacements.add(actions.SERVICE_TO_IAM_NAMESPACE, service, service)
