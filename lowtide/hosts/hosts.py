"""Runs the instances of a world: launch, notices, end. One thread for each instance, which lives as long as it does."""

import contextlib
import re
import subprocess
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import IO

import psutil

from lowtide.hosts import orphans
from lowtide.hosts.guests import Guests, best_for_this_machine
from lowtide.hosts.metadata import MetadataService, RoleCredentials
from lowtide.hosts.spec import Spec

JOB_MARK = "LOWTIDE_JOB_ID"
"""In the environment of every process of a job (contract, section 4)."""
CONSOLE_BYTES = 64 * 1024
"""What `console` shows at most; EC2 keeps as much."""
CLOSING_SECONDS = 15.0
_REJECTED = re.compile(r"^OUTPUT -d 169\.254\.169\.254 -m owner --uid-owner (\d+) -j REJECT$", re.MULTILINE)


def _rejected_users(place: Path) -> set[int]:
    """Whom the guest's packet filter keeps from its metadata service."""
    try:
        rules = (place / "root/machine/run/iptables").read_text()
    except FileNotFoundError:
        return set()
    return {int(found) for found in _REJECTED.findall(rules)}


def _nobody(_instance_id: str) -> None:
    """Who is told of a shutdown until somebody wants to be."""


class Hosts:
    """The running instances. Every method may be called from any thread and repeated; an unknown id is no error."""

    def __init__(
        self,
        data_dir: Path,
        *,
        endpoint: str,
        region: str,
        account: str,
        credentials: RoleCredentials,
        grace: float = 0.5,
        guests: Guests | None = None,
    ) -> None:
        """`data_dir`: for the instances alone; what a crashed world left running there is ended first.

        `grace`: seconds from SIGTERM to SIGKILL when an instance ends. `guests`: how file systems are made; None: the
        best that this machine permits.
        """
        self.on_shutdown: Callable[[str], None] = _nobody
        """Told the instance id, from any thread, when a guest powered itself off and nothing of it runs any more."""
        data_dir.mkdir(parents=True, exist_ok=True)
        orphans.end_orphans(data_dir)
        self._data_dir = data_dir
        self._endpoint = endpoint
        self._region = region
        self._account = account
        self._credentials = credentials
        self._grace = grace
        self.guests = guests or best_for_this_machine(data_dir / "probe")
        self._lock = threading.Lock()
        self._running: dict[str, _Host] = {}
        self._places: dict[str, Path] = {}

    def launch(self, spec: Spec) -> None:
        """An instance id is launched once: again, while it runs or after its end, does nothing."""
        place = self._data_dir / spec.instance_id
        with self._lock:
            if spec.instance_id in self._places:
                return
            self._places[spec.instance_id] = place
            service = MetadataService(
                spec,
                region=self._region,
                account=self._account,
                credentials=self._credentials,
                rejected=lambda: _rejected_users(place),
            )
            environment = {
                "LANG": "C.UTF-8",
                "AWS_ENDPOINT_URL": self._endpoint,
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": service.endpoint,
            }
            host = _Host(spec, place, self.guests, service, environment, self._grace, self._gone)
            self._running[spec.instance_id] = host
        host.start()

    def terminate(self, instance_id: str) -> None:
        """Ends every process of the instance: SIGTERM, then SIGKILL after `grace`. Returns at once."""
        host = self._running.get(instance_id)
        if host is not None:
            host.end()

    def notice(self, instance_id: str, action: str, at: datetime) -> None:
        host = self._running.get(instance_id)
        if host is not None:
            host.metadata.notice(action, at)

    def rebalance(self, instance_id: str, at: datetime) -> None:
        host = self._running.get(instance_id)
        if host is not None:
            host.metadata.rebalance(at)

    def console(self, instance_id: str) -> str:
        """The end of what the instance wrote, also after its end; empty when unknown or before it booted."""
        place = self._places.get(instance_id)
        if place is None:
            return ""
        try:
            with (place / "root" / "machine" / "console.log").open("rb") as console:
                size = console.seek(0, 2)
                console.seek(max(0, size - CONSOLE_BYTES))
                return console.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def busy(self, instance_id: str) -> bool:
        """Whether a job's process runs on it now."""
        host = self._running.get(instance_id)
        return host is not None and any(_is_a_jobs(process) for process in host.processes())

    def processes(self, instance_id: str) -> list[psutil.Process]:
        """What runs on it now, as the machine sees it."""
        host = self._running.get(instance_id)
        return [] if host is None else host.processes()

    def close(self) -> None:
        """Ends every instance and returns when nothing of them runs."""
        hosts = list(self._running.values())
        for host in hosts:
            host.end()
        for host in hosts:
            host.join(CLOSING_SECONDS)

    def _gone(self, instance_id: str, powered_off: bool) -> None:
        with self._lock:
            self._running.pop(instance_id, None)
        if powered_off:
            self.on_shutdown(instance_id)


class _Host:
    """One instance, from launch to the end of its last process."""

    def __init__(
        self,
        spec: Spec,
        place: Path,
        guests: Guests,
        metadata: MetadataService,
        environment: dict[str, str],
        grace: float,
        gone: Callable[[str, bool], None],
    ) -> None:
        self.metadata = metadata
        self._spec = spec
        self._place = place
        self._guests = guests
        self._environment = environment
        self._grace = grace
        self._gone = gone
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name=f"host {spec.instance_id}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def end(self) -> None:
        """Has the instance's own thread end it."""
        with self._lock:
            if self._ended.is_set():
                return
            self._ended.set()
            process = self._process
        if process is not None:
            threading.Thread(target=self._end_processes, args=(process,), daemon=True).start()

    def processes(self) -> list[psutil.Process]:
        process = self._process
        if process is None or process.poll() is not None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(process.pid).children(recursive=True)
        return []

    def _run(self) -> None:
        """Stays until nothing of the instance does: the kernel may kill the instance with this thread (guests.py)."""
        powered_off = False
        try:
            if not self._ended.wait(self._spec.boot_delay) and self._boot():
                powered_off = self._until_the_end()
        finally:
            self.metadata.close()
            self._gone(self._spec.instance_id, powered_off)

    def _boot(self) -> bool:
        """False: it was ended meanwhile."""
        user_data = None if self._spec.boot_fails else self._spec.user_data
        self._guests.prepare(self._place, user_data, gpus=self._spec.gpus)
        with self._lock:
            if self._ended.is_set():
                return False
            self._process = subprocess.Popen(
                self._guests.command(self._place),
                env=self._environment | self._guests.environment(self._place),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        orphans.record(self._place, self._process.pid)
        return True

    def _until_the_end(self) -> bool:
        """True: the guest powered itself off; False: it was ended from outside, or its first process died."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        powered_off = _says_shutdown(process.stdout) and not self._ended.is_set()
        self._end_processes(process)
        process.wait()
        (self._place / orphans.RECORD).unlink(missing_ok=True)
        return powered_off

    def _end_processes(self, process: subprocess.Popen[str]) -> None:
        """As systemd ends services with KillMode=mixed: the worker is told, and ends its jobs itself."""
        with contextlib.suppress(psutil.NoSuchProcess):
            orphans.end(psutil.Process(process.pid), grace=self._grace, not_told=_is_a_jobs)


def _says_shutdown(pipe: IO[str]) -> bool:
    """Waits for the guest's word, or for the end of its first process."""
    return any(line.strip() == "shutdown" for line in pipe)


def _is_a_jobs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return JOB_MARK in process.environ()
    return False
