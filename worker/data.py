"""Credentials that the worker API lends, an hour at a time: the data role's and those of jobs (docs/worker-api.md).

The instance's own role may only call the worker API; everything else goes by these.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any, Callable, NamedTuple

from worker import boot
from worker.api import LeaseLost, Refused, Unanswered
from worker.imds import instant
from worker.ports import Calls

REFRESH_BEFORE = timedelta(minutes=15)
"""New ones are asked for a quarter of an hour before the old ones end; until they come the old ones are used."""
ASK_AGAIN_AFTER = timedelta(seconds=30)
"""At most one failed call so often, whoever asks, while the old ones are still good."""


class NoRole(Exception):
    """There are none to be had until somebody changes something; the text says what."""


class Place(NamedTuple):
    """Where the stack keeps its data."""

    bucket: str
    log_group: str


class _Held(NamedTuple):
    keys: boot.Credentials
    answer: dict[str, Any]
    expires_at: datetime


class Lent:
    """What one call lends, renewed in time. Safe from any thread. Every method raises OSError while there is nothing
    to be had, and NoRole where there never will be."""

    def __init__(self, api: Calls, path: str, body: dict[str, Any], now: Callable[[], datetime]) -> None:
        self._api = api
        self._path = path
        self._body = body
        self._now = now
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._not_before: datetime | None = None

    def credentials(self) -> boot.Credentials:
        return self.current().keys

    def forget(self) -> None:
        """AWS refused them: the next call asks anew."""
        with self._lock:
            self._held = self._not_before = None

    def current(self) -> _Held:
        with self._lock:
            now, held = self._now(), self._held
            if held is not None and held.expires_at - now > REFRESH_BEFORE:
                return held
            if held is not None and self._not_before is not None and now < self._not_before < held.expires_at:
                return held
            try:
                self._held = held = self._ask()
            except OSError:
                self._not_before = now + ASK_AGAIN_AFTER
                if held is None or now >= held.expires_at:
                    raise
            return held

    def _ask(self) -> _Held:
        try:
            answer = self._api.call(self._path, self._body)
            expires_at = answer["expires_at"]
            keys = boot.Credentials(answer["access_key"], answer["secret_key"], answer["token"], expires_at)
            return _Held(keys, answer, instant(expires_at))
        except Refused as error:
            if error.error == "no-job-role":
                raise NoRole(error.remedy) from error
            raise OSError(f"no credentials from {self._path}: {error}") from error
        except (Unanswered, LeaseLost, KeyError, ValueError) as error:
            raise OSError(f"no credentials from {self._path}: {type(error).__name__}: {error}") from error


class DataRole(Lent):
    """What the worker may touch in the stack's bucket and log group."""

    def __init__(self, api: Calls, now: Callable[[], datetime]) -> None:
        super().__init__(api, "/v1/credentials", {}, now)

    def place(self) -> Place:
        answer = self.current().answer
        return Place(answer["bucket"], answer["log_group"])
