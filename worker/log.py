"""One JSON line per thing that happened, on stderr: the journal on an instance. No secrets, no job output."""

from __future__ import annotations

import contextlib
import json
import sys
from datetime import datetime, timezone
from typing import Any, Callable

Log = Callable[..., None]
"""`log("event-name", key=value, ...)`; safe from any thread."""


def to_stderr(event: str, **fields: Any) -> None:
    """A journal that takes nothing (its socket is broken, its disk full) costs the line and nothing else: the thread
    that looks for notices logs too, and must not end for it."""
    line = json.dumps({"at": to_text(datetime.now(timezone.utc)), "event": event, **fields}, default=str)
    with contextlib.suppress(OSError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def to_text(instant: datetime) -> str:
    """`2026-11-23T15:00:00.000000Z`, the control plane's text form of an aware instant."""
    return instant.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
