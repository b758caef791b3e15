"""Attempts as real processes, on a store and a log group in memory."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.worker.control import lease
from tests.worker.stores import FakeLogs, MemoryStore
from worker import boot
from worker.containers import find_engine
from worker.inputs import Fetcher
from worker.isolation import Account
from worker.job import Attempt
from worker.job_rights import JobRights
from worker.leases import Lease
from worker.limits import Limits
from worker.pace import Reserve
from worker.ports import Terms
from worker.runner import Runner

KEYS = boot.Credentials("AKID", "secret", "", "2099-01-01T00:00:00Z")
TERMS = Terms(slots=4, aux_slots=0, heartbeat=30.0, notice_poll=5.0, checkpoint=0.2, reserve=Reserve(0.1, 0.3))
READY = "touch $TMPDIR/ready"
STREAM = "cpu/job-1/1"
"""Of the log of `lease()`'s first attempt."""


def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.01)


class NoApi:
    """Nothing may be asked of it."""

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError(f"{path} was called with {body}")


class Bench:
    def __init__(self, state: Path, account: Account | None = None, gpus: int = 0, cgroups: Path | None = None) -> None:
        self.state = state
        self.store = MemoryStore()
        self.cgroups = cgroups
        self.logs = FakeLogs()
        self.runner = Runner(
            state,
            fetcher=Fetcher("us-east-1", lambda _bucket: KEYS),
            store=self.store,
            logs=self.logs,
            log_group=lambda: "/lowtide/jobs",
            account=account or Account(),
            limits=Limits(self.cgroups, memory_mib=1024, vcpus=4),
            engine=find_engine,
            rights=JobRights(NoApi(), region="us-west-2", now=lambda: datetime.now(UTC)),
            gpus=gpus,
            now=lambda: datetime.now(UTC),
            log=lambda event, **fields: None,
        )

    def start(self, script: str, *, devices: tuple[int, ...] = (), **changes: Any) -> Attempt:
        given = {"command": ["/bin/sh", "-c", script]} | changes
        return self.runner.start(Lease.parse(lease(**given)), devices, TERMS)

    def started(self, script: str, **changes: Any) -> Attempt:
        """Returns when the script has touched its ready file."""
        attempt = self.start(script, **changes)
        until(lambda: list(self.state.glob("jobs/*/*/tmp/ready")))
        return attempt

    def run(self, script: str, **changes: Any) -> Any:
        return self.outcome(self.start(script, **changes))

    def outcome(self, attempt: Attempt) -> Any:
        until(lambda: attempt.outcome is not None)
        return attempt.outcome

    def file(self, name: str) -> str:
        return next(self.state.glob(f"jobs/*/*/{name}")).read_text()
