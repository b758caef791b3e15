"""The worker as systemd runs it: a process of its own, on the oldest Python that it promises and on this one."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.worker.control import Control, lease
from worker import processes

ROOT = Path(__file__).resolve().parents[2]
OLDEST = "3.9"


def oldest_python() -> str | None:
    """A Python 3.9 of this machine, on the PATH or among pyenv's versions."""
    found = shutil.which(f"python{OLDEST}")
    candidates = [*([found] if found else []), *map(str, Path.home().glob(f".pyenv/versions/{OLDEST}.*/bin/python3"))]
    for candidate in candidates:
        asked = subprocess.run([candidate, "--version"], check=False, capture_output=True, text=True)
        if asked.returncode == 0 and asked.stdout.startswith(f"Python {OLDEST}."):
            return candidate
    return None


OLD = oldest_python()
needs_old = pytest.mark.skipif(OLD is None, reason=f"this machine has no Python {OLDEST}")
PYTHONS = [pytest.param(sys.executable, id="this"), pytest.param(OLD, id=OLDEST, marks=needs_old)]


class Worker:
    def __init__(self, place: Path, control: Control, python: str) -> None:
        self.state = place / "state"
        self._control = control
        self._place = place
        self._python = python
        self._processes: list[subprocess.Popen[bytes]] = []
        (place / "bin").mkdir()
        for name in ("systemctl", "shutdown", "iptables", "nft", "ip", "nvidia-smi"):
            script = place / "bin" / name
            script.write_text(f'#!/bin/sh\necho "{name} $*" >> {place}/calls\n[ {name} != nvidia-smi ]\n')
            script.chmod(0o755)
        config: dict[str, Any] = {
            "region": "us-east-1",
            "stack": "Lowtide",
            "api_url": control.url,
            "artefact": {"bucket": "b", "key": "k", "sha256": "0" * 64},
            "boot_power_off_seconds": 60,
        }
        (place / "worker.json").write_text(json.dumps(config))

    def start(self) -> subprocess.Popen[bytes]:
        self._processes.append(
            subprocess.Popen(
                [self._python, "-m", "worker", str(self._place / "worker.json")],
                cwd=ROOT,
                env={
                    "PATH": f"{self._place}/bin:/usr/bin:/bin",
                    "STATE_DIRECTORY": str(self.state),
                    "AWS_ENDPOINT_URL": self._control.url,
                    "AWS_EC2_METADATA_SERVICE_ENDPOINT": self._control.metadata.endpoint,
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                stderr=(self._place / "log").open("ab"),
            )
        )
        return self._processes[-1]

    def calls(self) -> list[str]:
        return (self._place / "calls").read_text().splitlines()

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        processes.kill_under(self.state)


@pytest.fixture(params=PYTHONS)
def worker(request: pytest.FixtureRequest, control: Control, tmp_path: Path) -> Iterator[Worker]:
    made = Worker(tmp_path, control, request.param)
    yield made
    made.close()


@needs_old
def test_every_module_imports_on_the_oldest_python() -> None:
    files = (file.relative_to(ROOT).with_suffix("") for file in (ROOT / "worker").rglob("*.py"))
    modules = [".".join(file.parts) for file in files]
    script = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
    subprocess.run([str(OLD), "-W", "error", "-B", "-c", script, *modules], cwd=ROOT, check=True)


def test_a_job_is_claimed_run_and_reported(worker: Worker, control: Control) -> None:
    control.queued = [lease(command=["/bin/sh", "-c", "exit 5"])]
    worker.start()
    found = control.finished()
    assert (found["exit_code"], found["interrupted"]) == (5, False)
    assert found["started_at"] <= found["ended_at"]
    assert control.calls["/v1/hello"][0]["gpus"] == 0
    assert "shutdown -c" in worker.calls()
    signed = control.headers[0]
    assert "/us-east-1/lambda/aws4_request" in signed["authorization"]
    assert signed["x-amz-security-token"] == "session-token"


def test_a_notice_interrupts_the_job_and_is_told(worker: Worker, control: Control) -> None:
    script = "trap 'echo all > $LOWTIDE_DONE_FILE; exit 0' TERM; while :; do sleep 0.02; done"
    control.queued = [lease(command=["/bin/sh", "-c", script])]
    worker.start()
    control.wait("/v1/heartbeat", lambda body: body["leases"] != [])
    control.metadata.notice("terminate", datetime.now(UTC) + timedelta(seconds=120))
    found = control.finished()
    assert (found["interrupted"], found["done"], found["exit_code"]) == (True, True, 0)
    assert control.wait("/v1/heartbeat", lambda body: body["notice"])["notice"]["kind"] == "interruption"


def test_a_job_that_ignores_the_notice_is_killed_before_the_announced_end(worker: Worker, control: Control) -> None:
    control.queued = [lease(command=["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"])]
    worker.start()
    control.wait("/v1/heartbeat", lambda body: body["leases"] != [])
    end = datetime.now(UTC) + timedelta(seconds=2)
    control.metadata.notice("terminate", end)
    found = control.finished()
    assert (found["interrupted"], found["signal"]) == (True, signal.SIGKILL)
    assert datetime.fromisoformat(found["ended_at"]) < end


def test_a_worker_that_died_leaves_its_job_to_the_next_which_ends_and_reports_it(
    worker: Worker, control: Control
) -> None:
    control.queued = [lease(command=["/bin/sh", "-c", "setsid sleep 300 & exec sleep 300"])]
    first = worker.start()
    control.wait("/v1/heartbeat", lambda body: body["leases"] != [])
    first.kill()
    first.wait()
    assert processes.running_under(worker.state)
    worker.start()
    found = control.finished()
    assert (found["interrupted"], found["fence"]) == (True, 1)
    assert processes.running_under(worker.state) == []


def test_a_worker_that_is_told_to_stop_interrupts_its_job_reports_it_and_exits_with_0(
    worker: Worker, control: Control
) -> None:
    control.queued = [lease(command=["sleep", "300"])]
    process = worker.start()
    control.wait("/v1/heartbeat", lambda body: body["leases"] != [])
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert control.finished()["interrupted"] is True


def test_a_job_goes_on_while_the_control_plane_fails(worker: Worker, control: Control) -> None:
    marker = worker.state.parent / "go"
    control.queued = [lease(command=["/bin/sh", "-c", f"until [ -e {marker} ]; do sleep 0.02; done"])]
    worker.start()
    control.wait("/v1/heartbeat", lambda body: body["leases"] != [])
    control.failing = 503
    seen = len(control.calls["/v1/heartbeat"])
    control.wait("/v1/heartbeat", lambda body: len(control.calls["/v1/heartbeat"]) > seen + 2)
    marker.touch()
    control.failing = None
    assert control.finished()["exit_code"] == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root changes users instead")
def test_a_worker_without_root_says_that_jobs_share_its_user(worker: Worker, control: Control) -> None:
    worker.start()
    control.wait("/v1/hello")
    assert "jobs-share-the-workers-user" in (worker.state.parent / "log").read_text()
