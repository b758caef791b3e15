"""What systemd is told about the worker: each line is there for what happens without it."""

import pytest

from worker.__main__ import LEAVE_KILL_SECONDS, LEAVE_SECONDS
from worker.boot import UNIT_TEXT

SAID = dict(line.split("=", 1) for line in UNIT_TEXT.splitlines() if "=" in line and not line.startswith("{"))


@pytest.mark.parametrize(
    ("key", "value", "without_it"),
    [
        ("StartLimitIntervalSec", "0", "a worker that dies five times in ten seconds is never started again"),
        ("RestartSec", "2", "one that cannot start is started ten times a second"),
        ("StateDirectory", "lowtide", "jobs and their outputs lie where the next worker does not look"),
        ("Delegate", "yes", "systemd removes the groups in which jobs have their memory and CPU"),
        ("KillMode", "mixed", "jobs get SIGTERM beside their worker, and a last save is cut off"),
        ("OOMPolicy", "continue", "a job without memory ends the worker and every other job"),
        ("WantedBy", "multi-user.target", "an instance that reboots has no worker"),
    ],
)
def test_the_unit_says(key: str, value: str, without_it: str) -> None:
    assert SAID.get(key) == value, without_it


def test_the_worker_is_started_again_however_it_ended() -> None:
    assert "{environment}Restart=always\n" in UNIT_TEXT


def test_systemd_waits_longer_for_the_worker_than_the_worker_for_its_jobs() -> None:
    assert float(SAID["TimeoutStopSec"]) > LEAVE_SECONDS > LEAVE_KILL_SECONDS
