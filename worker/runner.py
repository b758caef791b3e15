"""What all attempts on an instance share, what they are started with, and what an earlier worker left of them."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
from datetime import datetime
from pathlib import Path
from typing import Callable

from worker import inputs, processes
from worker.checkpoint import Store
from worker.containers import Engine
from worker.isolation import Account
from worker.job import CONTAINER, Attempt
from worker.job_rights import JobRights
from worker.joblog import Sends
from worker.leases import Lease
from worker.limits import Limits
from worker.log import Log
from worker.ports import Terms


class Runner:
    """Starts attempts on this instance. The simulation has another with the same methods."""

    def __init__(
        self,
        state: Path,
        *,
        fetcher: inputs.Fetcher,
        store: Store,
        logs: Sends,
        log_group: Callable[[], str],
        account: Account,
        limits: Limits,
        engine: Callable[[], Engine | None],
        rights: JobRights,
        gpus: int,
        now: Callable[[], datetime],
        log: Log,
    ) -> None:
        self.jobs = state / "jobs"
        self.spools = state / "spools"
        self._gone = state / "gone"
        self.fetcher = fetcher
        self.store = store
        self.logs = logs
        self.log_group = log_group
        self.account = account
        self.limits = limits
        self.engine = engine
        """Looked up for each attempt with an image."""
        self.rights = rights
        self.gpus = gpus
        self.now = now
        self.log = log
        self.on_end: Callable[[], None] = lambda: None
        """Called, from any thread, when an attempt has an outcome."""
        self._engine_failures = 0
        self._given_back: dict[str, int] = {}
        self._discarded = itertools.count()
        self._gone.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.jobs.mkdir(parents=True, exist_ok=True)
        self.spools.mkdir(parents=True, exist_ok=True, mode=0o700)

    def start(self, lease: Lease, devices: tuple[int, ...], terms: Terms) -> Attempt:
        attempt = Attempt(self, lease, devices, terms)
        attempt.start()
        return attempt

    def clear_leftovers(self) -> list[tuple[str, int]]:
        """Ends every job of an earlier worker on this instance: (job id, fence) of those that had been begun."""
        begun = [(place.parent.name[len("job-") :], int(place.name)) for place in self.jobs.glob("job-*/*")]
        self._remove_containers()
        killed = processes.kill_under(self.jobs)
        self.discard(self.jobs)
        self.jobs.mkdir(parents=True, exist_ok=True)
        if begun or killed:
            self.log("leftovers-cleared", attempts=len(begun), processes=killed)
        return begun

    def _remove_containers(self) -> None:
        named = [place.read_text(encoding="utf-8") for place in self.jobs.glob(f"job-*/*/{CONTAINER}")]
        engine = self.engine() if named else None
        for name in named:
            if engine is None or not engine.remove(name):
                self.log("container-left", name=name)

    def discard(self, place: Path) -> None:
        """The directory is not there any more, at once; what it held is removed beside everything else. A million files
        take minutes, in which a notice has to be heeded and heartbeats go out."""
        try:
            place.rename(self._gone / f"{os.getpid()}-{next(self._discarded)}")
        except FileNotFoundError:
            return
        except OSError:
            shutil.rmtree(place, ignore_errors=True)
        threading.Thread(target=self._remove_what_is_gone, name="discard", daemon=True).start()

    def _remove_what_is_gone(self) -> None:
        for place in list(self._gone.iterdir()):
            shutil.rmtree(place, ignore_errors=True)

    def gave_back(self, job_id: str) -> int:
        """How often this instance has failed the job before its process began, this time included."""
        self._given_back[job_id] = self._given_back.get(job_id, 0) + 1
        return self._given_back[job_id]

    def began(self, job_id: str) -> None:
        self._given_back.pop(job_id, None)

    def engine_failed(self) -> int:
        """How often the engine has failed without a container that ran in between, this time included."""
        self._engine_failures += 1
        return self._engine_failures

    def engine_worked(self) -> None:
        self._engine_failures = 0
