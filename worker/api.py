"""One signed call to the worker API. What an answer means for jobs is decided in agent.py, never here."""

from __future__ import annotations

import http.client
import json
import urllib.request
from typing import Any, Callable
from urllib.error import HTTPError

from worker import boot

TIMEOUT_SECONDS = 10.0
"""More than a cold start of the function behind the API (about 1 s), less than a heartbeat period (30 s)."""


class Unanswered(Exception):
    """Throttled, failed or silent: it means nothing, the same call is made again later."""


class Refused(Exception):
    """403 or 400: the control plane answered, and it was no. `status` says which, `error` and `remedy` why, where the
    answer came from the API itself (docs/worker-api.md)."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status
        try:
            said = json.loads(text)
            self.error, self.remedy = str(said["error"]), str(said["remedy"])
        except (ValueError, KeyError, TypeError):
            self.error = self.remedy = ""


class LeaseLost(Exception):
    """409: the lease that the call named is not ours any more."""


class Api:
    """The worker API at its function URL. Safe from any thread; keeps no connection."""

    def __init__(
        self,
        url: str,
        region: str,
        *,
        credentials: Callable[[], boot.Credentials],
        forget_credentials: Callable[[], None],
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._url = url.rstrip("/")
        self._region = region
        self._credentials = credentials
        self._forget_credentials = forget_credentials
        self._timeout = timeout_seconds

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer of 200. Raises LeaseLost, Refused or Unanswered; nothing else."""
        try:
            return self._post(path, json.dumps(body).encode())
        except HTTPError as error:
            raise self._meaning(error) from error
        except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError) as error:
            # no connection, half an answer, no credentials, no JSON
            raise Unanswered(f"{type(error).__name__}: {error}") from error

    def _post(self, path: str, body: bytes) -> dict[str, Any]:
        url = self._url + path
        headers = boot.signed_headers(
            "POST", url, region=self._region, service="lambda", credentials=self._credentials(), body=body
        )
        headers["content-type"] = "application/json"
        # S310: the address comes from the deployment's own configuration, never from a job.
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=self._timeout) as answer:  # noqa: S310
            found = json.loads(answer.read())
        if not isinstance(found, dict):
            raise ValueError("the answer is not a JSON object")
        return found  # pyright: ignore[reportUnknownVariableType] - a JSON object's keys are text

    def _meaning(self, error: HTTPError) -> Exception:
        if error.code == 409:
            return LeaseLost()
        if error.code not in (400, 403):
            return Unanswered(f"HTTP {error.code}")
        if error.code == 403:
            self._forget_credentials()  # an expired or revoked signature looks like this too
        try:
            text = error.read(2000).decode(errors="replace")
        except OSError:
            text = ""
        return Refused(error.code, text)
