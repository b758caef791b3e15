"""The processes of jobs, found by the one variable that every one of them inherits, however it was forked.

Read from Linux's /proc; elsewhere nothing is found and the job's process group is all that is ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

MARK = "LOWTIDE_CHECKPOINT_DIR"
"""Its value is a directory of one attempt on one instance."""


class Exit(NamedTuple):
    """How a job's process ended by itself or was ended: with a code or by a signal."""

    code: int | None
    signal: int | None
    error: str | None = None
    """The worker's own words, where there are some."""
    out_of_memory: bool = False


class Hosted:
    """A job's process on the host, leader of its group."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def terminate(self) -> None:
        signal_group(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        signal_group(self._process.pid, signal.SIGKILL)

    def wait(self) -> Exit:
        """The rest of its group is ended with it."""
        status = self._process.wait()
        self.kill()
        return Exit(status, None) if status >= 0 else Exit(None, -status)


def running_under(directory: Path) -> list[int]:
    """Process ids, this one never, whose checkpoint directory is `directory` or lies in it."""
    mark = f"{MARK}={directory}".encode()
    return [pid for pid in _process_ids() if pid != os.getpid() and _carries(pid, mark)]


def kill_under(directory: Path, seconds: float = 5.0) -> int:
    """SIGKILLs them until none is found twice in a row, for at most `seconds`: how many were found first.

    Twice, since a process that is just being executed shows no environment for a moment.
    """
    found = running_under(directory)
    count, empty, end = len(found), 0, time.monotonic() + seconds
    while empty < 2 and time.monotonic() < end:
        for pid in found:
            _kill(pid)
        empty = 0 if found else empty + 1
        time.sleep(0.01)
        found = running_under(directory)
    return count


def signal_group(leader: int, number: int) -> None:
    """Signals a job's process group; one that is gone is no error."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):  # PermissionError: macOS, for a group of zombies
        return


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _process_ids() -> list[int]:
    try:
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except FileNotFoundError:
        return []


def _carries(pid: int, mark: bytes) -> bool:
    try:
        held = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # ended meanwhile, or another user's
        return False
    return any(entry == mark or entry.startswith(mark + b"/") for entry in held.split(b"\0"))
