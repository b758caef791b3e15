"""What the instance's metadata service says: who we are (for signing) and what EC2 is about to do to us."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta, timezone
from typing import Callable, NamedTuple
from urllib.error import HTTPError

from worker import boot

REFRESH_BEFORE = timedelta(minutes=5)
"""EC2 serves new role credentials at least five minutes before the old ones expire."""


class Notice(NamedTuple):
    kind: str
    """`interruption` or `rebalance`."""
    at: datetime
    """interruption: the instant from which EC2 may end the instance; rebalance: when it was said."""


class Metadata:
    """The metadata service of this instance. Every method raises OSError while it does not answer."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._token: dict[str, str] = {}
        self._token_until = now()
        self._credentials: boot.Credentials | None = None

    def credentials(self) -> boot.Credentials:
        """The role's credentials, read again when they are about to expire or were forgotten."""
        with self._lock:
            held = self._credentials
            if held is None or instant(held.expiration) - self._now() < REFRESH_BEFORE:
                held = self._credentials = boot.role_credentials()
            return held

    def forget_credentials(self) -> None:
        """To be called when AWS refused them: the next call reads them anew."""
        with self._lock:
            self._credentials = None

    def interruption(self) -> Notice | None:
        """The spot notice (`{"action": "terminate", "time": "2026-11-23T15:00:00Z"}`), None while there is none."""
        text = self._read("meta-data/spot/instance-action")
        return Notice("interruption", instant(json.loads(text)["time"])) if text else None

    def rebalance(self) -> Notice | None:
        """The rebalance recommendation (`{"noticeTime": "2026-11-23T15:00:00Z"}`), None while there is none."""
        text = self._read("meta-data/events/recommendations/rebalance")
        return Notice("rebalance", instant(json.loads(text)["noticeTime"])) if text else None

    def _read(self, path: str) -> str | None:
        with self._lock:
            if self._now() >= self._token_until:
                self._token = boot.metadata_token()
                self._token_until = self._now() + timedelta(hours=5)
            token = self._token
        try:
            return boot.metadata(path, headers=token)
        except HTTPError as error:
            if error.code == 404:
                return None
            self._token_until = self._now()  # 401: the service forgot the token
            raise


def instant(text: str) -> datetime:
    """The aware instant of AWS's own text form, with or without a fraction of a second. Raises ValueError."""
    form = "%Y-%m-%dT%H:%M:%S.%fZ" if "." in text else "%Y-%m-%dT%H:%M:%SZ"
    return datetime.strptime(text, form).replace(tzinfo=timezone.utc)
