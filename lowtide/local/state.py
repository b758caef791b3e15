"""What is known of the local AWS of this checkout: one JSON file, written whole, readable by its owner alone.

It names the server's process by id and start time, since ids are used again, and holds the root secret that
`up` prints anyway.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import psutil

_SAME_START_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The local AWS as its server last described it."""

    pid: int
    started: float
    """The process's start, epoch seconds, as psutil tells it."""
    pace: float
    seed: int
    region: str
    stack: str
    secret_key: str
    port: int = 0
    """0: the server does not listen yet."""
    problem: str = ""
    """Why the server could not start, in one sentence; empty otherwise."""
    deployed: bool = False
    command: str = ""
    """What deploys the same from another shell."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def process(self) -> psutil.Process | None:
        """The server's process, if it still runs."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _SAME_START_SECONDS
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def write(self, path: Path) -> None:
        part = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(self), file, indent=1)
        part.replace(path)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """None if nothing is known: no file, or one that another version wrote."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None


@contextlib.contextmanager
def held(path: Path) -> Generator[bool]:
    """Holds the lock file at `path` inside the block; yields False when another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
