"""How far a job says it is: the number in its LOWTIDE_PROGRESS_FILE."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

LONGEST = 64
"""Bytes that are read of the file: a number is shorter."""


def read(path: Path) -> str | None:
    """The number as a decimal of 0 to 1 with three places; None: there is none, or it is something else.

    The file is the job's own: it may be a link, a pipe or half written, and the worker may be root."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        number = float(os.read(descriptor, LONGEST))
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)
    return f"{number:.3f}" if 0 <= number <= 1 else None


class Reached(NamedTuple):
    """How far an attempt was at an instant."""

    seconds: float
    """Since its process began."""
    progress: str | None


def standing(now: Reached | None, saved: Reached | None) -> dict[str, str]:
    """As the worker API takes it; what there is not is left out."""
    told = {
        "ran_seconds": now and f"{now.seconds:.3f}",
        "progress": now and now.progress,
        "saved_seconds": saved and f"{saved.seconds:.3f}",
        "saved_progress": saved and saved.progress,
    }
    return {name: text for name, text in told.items() if text is not None}
