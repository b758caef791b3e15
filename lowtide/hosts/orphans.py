"""Ends what a host left running, and what a crashed world left behind: by process tree, from a record on disk."""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import psutil

RECORD = "process.json"
KILL_SECONDS = 10.0


def record(place: Path, process_id: int) -> None:
    """Notes the first process of the instance in `place`, with its start time, since ids are used again."""
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(process_id).create_time()
        (place / RECORD).write_text(json.dumps({"pid": process_id, "started": started}))


def end_orphans(data_dir: Path) -> int:
    """Kills every recorded instance under `data_dir` that still runs: how many did."""
    ended = 0
    for file in data_dir.glob(f"*/{RECORD}"):
        try:
            held = json.loads(file.read_text())
            first = psutil.Process(held["pid"])
            if abs(first.create_time() - held["started"]) < 1.0:
                end(first, grace=0.0)
                ended += 1
        except (psutil.NoSuchProcess, ValueError, KeyError):
            pass
        file.unlink(missing_ok=True)
    return ended


def _nothing(_process: psutil.Process) -> bool:
    return False


def end(first: psutil.Process, *, grace: float, not_told: Callable[[psutil.Process], bool] = _nothing) -> None:
    """SIGTERM to all below `first`, SIGKILL to the rest after `grace` seconds, `first` last: it keeps them in sight.

    `not_told` names those that get no SIGTERM: whoever started them is told and ends them himself.
    Returns when none is left, within `grace` + KILL_SECONDS.
    """
    below = _below(first)
    if grace > 0:
        for process in [one for one in below if not not_told(one)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        psutil.wait_procs([one for one in below if not _keeps_the_rest(first, one)], timeout=grace)
    limit = time.monotonic() + KILL_SECONDS
    while (below := _below(first)) and time.monotonic() < limit:
        for process in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(below, timeout=0.05)
    with contextlib.suppress(psutil.NoSuchProcess):
        first.kill()


def _keeps_the_rest(first: psutil.Process, process: psutil.Process) -> bool:
    """Whether it is the instance's own first process: below `unshare`, which waits for it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.ppid() == first.pid and process.name() == "bash"
    return False


def _below(first: psutil.Process) -> list[psutil.Process]:
    try:
        return [one for one in first.children(recursive=True) if _lives(one)]
    except psutil.NoSuchProcess:
        return []


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
