"""The worker as systemd runs it: `python3 -m worker /etc/lowtide/worker.json`. Everything real is made here."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable

from worker import boot, log
from worker.agent import Agent
from worker.api import Api
from worker.aws import S3, logs
from worker.containers import find_engine
from worker.data import DataRole
from worker.imds import Metadata
from worker.inputs import Fetcher
from worker.isolation import block_metadata, job_account
from worker.job_rights import JobRights
from worker.limits import limits
from worker.ports import Machine
from worker.power import Power
from worker.runner import Runner

LEAVE_SECONDS = 45.0
"""For ending and reporting every job when the worker itself is stopped; systemd waits 60 s (boot.py's unit)."""
LEAVE_KILL_SECONDS = 20.0
AFTER_A_FAULT_SECONDS = 2.0


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        return time.monotonic()


def machine(config: dict[str, Any]) -> Machine:
    return Machine(
        boot_id=_boot_id(),
        worker=str(config["artefact"]["sha256"])[:16],
        vcpus=os.cpu_count() or 1,
        memory_mib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        gpus=_gpus(),
    )


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def _gpus() -> int:
    """One line per GPU from NVIDIA's own tool; without a driver, none."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], check=False, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines()) if listed.returncode == 0 else 0


class Alarm:
    """Wakes a sleeping loop; one for each, since the first to wake would clear a common one."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ring(self) -> None:
        self._event.set()

    def sleep(self, seconds: float) -> None:
        self._event.wait(seconds)
        self._event.clear()


def build(config: dict[str, Any], state: Path, wake: Callable[[], None]) -> Agent:
    clock = SystemClock()
    metadata = Metadata(clock.now)
    account = job_account(log.to_stderr)
    block_metadata(account, log.to_stderr)
    described = machine(config)
    api = Api(
        config["api_url"],
        config["region"],
        credentials=metadata.credentials,
        forget_credentials=metadata.forget_credentials,
    )
    data = DataRole(api, clock.now)

    def for_bucket(bucket: str) -> boot.Credentials:
        """The stack's own bucket by the data role, any other by what its owner lets the instance's role read."""
        return data.credentials() if bucket == data.place().bucket else metadata.credentials()

    runner = Runner(
        state,
        fetcher=Fetcher(config["region"], for_bucket),
        store=S3(config["region"], lambda: data.place().bucket, data.credentials),
        logs=logs(config["region"], data.credentials),
        log_group=lambda: data.place().log_group,
        account=account,
        limits=limits(log.to_stderr, memory_mib=described.memory_mib, vcpus=described.vcpus),
        engine=find_engine,
        rights=JobRights(api, region=config["region"], now=clock.now),
        gpus=described.gpus,
        now=clock.now,
        log=log.to_stderr,
    )
    runner.on_end = wake
    return Agent(
        api=api,
        notices=metadata,
        runner=runner,
        power=Power(log.to_stderr),
        clock=clock,
        machine=described,
        first_power_off_seconds=float(config["boot_power_off_seconds"]),
        chance=random.Random(os.urandom(16)),  # noqa: S311 - spreads calls; request ids need not be secret
        log=log.to_stderr,
        wake=wake,
    )


def drive(step: Callable[[], float], wait: Callable[[float], object], until: Callable[[], bool]) -> None:
    """Calls `step` as often as it asks to be called. A fault in it is logged and the loop goes on: jobs must not end
    because the worker met an answer that it cannot read."""
    while not until():
        try:
            pause = step()
        except Exception:
            log.to_stderr("fault", traceback=traceback.format_exc())
            pause = AFTER_A_FAULT_SECONDS
        wait(pause)


def main(config_path: Path) -> int:
    """Runs until SIGTERM or SIGINT; then ends and reports what it can, and is 0."""
    config = json.loads(config_path.read_text(encoding="utf-8"))
    turning, watching, leaving = Alarm(), Alarm(), threading.Event()

    def wake() -> None:
        turning.ring()
        watching.ring()

    def leave(_number: int, _frame: object) -> None:
        leaving.set()
        wake()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    agent = build(config, Path(os.environ.get("STATE_DIRECTORY") or "/var/lib/lowtide"), wake)
    agent.prepare()
    threading.Thread(target=drive, args=(agent.watch, watching.sleep, leaving.is_set), daemon=True).start()
    drive(agent.turn, turning.sleep, leaving.is_set)
    log.to_stderr("leaving")
    agent.leave(LEAVE_KILL_SECONDS)
    end = time.monotonic() + LEAVE_SECONDS
    drive(agent.turn, lambda seconds: turning.sleep(min(seconds, 1.0)), lambda: agent.idle or time.monotonic() > end)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
