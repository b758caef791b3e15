"""One attempt of one job: its directory, its process, the ways it can end. Knows nothing of the control plane.

work/        working directory, inputs in it        home/, tmp/    HOME and TMPDIR
checkpoint/  LOWTIDE_CHECKPOINT_DIR                  done/done      LOWTIDE_DONE_FILE
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from datetime import datetime
from pathlib import Path
from typing import Callable

from worker import inputs, processes
from worker.isolation import Account, base_environment
from worker.leases import Ended, Key, Lease, NeverStarted, Outcome, Stop
from worker.log import Log

STOP_GRACE_SECONDS = 30.0
"""From SIGTERM to SIGKILL when nothing shortens it (a timeout, a cancel). Kubernetes: 30 s."""
TAIL_BYTES = 2000
"""How much of its output a failed attempt reports."""
OUTPUTS_KEPT = 200


class Attempt:
    """A lease being run, on a thread of its own. `stop` may be called at any time and more than once."""

    def __init__(self, runner: Runner, lease: Lease, devices: tuple[int, ...]) -> None:
        self.lease = lease
        self.devices = devices
        self.outcome: Outcome | None = None
        """None until nothing of the job runs any more."""
        self._runner = runner
        self._place = runner.jobs / f"job-{lease.key.job_id}" / str(lease.key.fence)
        self._output = runner.outputs / f"{lease.key.job_id}.{lease.attempt}.{lease.key.fence}.log"
        self._lock = threading.Lock()
        self._stopped: Stop | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._timers: list[threading.Timer] = []
        self._thread = threading.Thread(target=self._run, name=f"job {lease.key.job_id}", daemon=True)

    @property
    def key(self) -> Key:
        return self.lease.key

    def start(self) -> None:
        self._thread.start()

    def stop(self, why: Stop, kill_after: float = STOP_GRACE_SECONDS) -> None:
        """SIGTERM to the process group now, SIGKILL after `kill_after` seconds. The first reason counts; a later call
        can only bring the SIGKILL forward."""
        with self._lock:
            first, self._stopped = self._stopped is None, self._stopped or why
            if self._process is None:
                return
            if first:
                processes.signal_group(self._process.pid, signal.SIGTERM)
            self._later(kill_after, self._kill)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _kill(self) -> None:
        with self._lock:
            if self._process is not None:
                processes.signal_group(self._process.pid, signal.SIGKILL)

    def _run(self) -> None:
        began = self._runner.now()
        try:
            self.outcome = self._prepare_and_run()
        except inputs.BadInput as error:
            self.outcome = self._ended(began, None, None, f"input: {error}")
        except inputs.Stopped:
            self.outcome = NeverStarted("stopped before it started")
        except (inputs.Unavailable, OSError) as error:  # OSError: the disk; never the job's fault
            self.outcome = NeverStarted(f"{type(error).__name__}: {error}")
        except Exception as error:
            self._runner.log("attempt-broken", job_id=self.key.job_id, error=repr(error))
            self.outcome = NeverStarted(f"the worker failed: {error!r}")
        finally:
            for timer in self._timers:
                timer.cancel()
            processes.kill_under(self._place)
            self._runner.on_end()

    def _prepare_and_run(self) -> Outcome:
        self._make_directories()
        self._runner.fetcher.fetch(self.lease.inputs, self._place / "work", lambda: self._stopped is not None)
        for name in ("work", "home", "tmp", "checkpoint", "done"):
            self._runner.account.own(self._place / name)
        started = self._runner.now()
        try:
            process = self._spawn()
        except OSError as error:
            code = 127 if isinstance(error, FileNotFoundError) else 126
            return self._ended(started, code, None, f"the command cannot be run: {error}")
        status = process.wait()
        processes.signal_group(process.pid, signal.SIGKILL)
        with self._lock:
            self._process = None
        return self._ended(started, status if status >= 0 else None, -status if status < 0 else None, None)

    def _make_directories(self) -> None:
        shutil.rmtree(self._place, ignore_errors=True)
        for name in ("work", "home", "tmp", "checkpoint", "done"):
            (self._place / name).mkdir(parents=True, mode=0o755)

    def _spawn(self) -> subprocess.Popen[bytes]:
        """Raises inputs.Stopped when the attempt was stopped first, OSError when the command cannot be run."""
        with self._lock, self._output.open("wb") as output:
            if self._stopped is not None:
                raise inputs.Stopped
            self._process = subprocess.Popen(
                self.lease.command,
                cwd=self._place / "work",
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self._runner.account.uid,
                group=self._runner.account.gid,
                extra_groups=self._runner.account.groups,
            )
            if self.lease.seconds_left is not None:
                self._later(self.lease.seconds_left, lambda: self.stop(Stop.TIMED_OUT))
            return self._process

    def _environment(self) -> dict[str, str]:
        found = base_environment(self._place / "home", self._place / "tmp")
        found.update(self.lease.env)
        found.update(
            LOWTIDE_JOB_ID=self.key.job_id,
            LOWTIDE_POOL=self.lease.pool,
            LOWTIDE_ATTEMPT=str(self.lease.attempt),
            LOWTIDE_CHECKPOINT_DIR=str(self._place / "checkpoint"),
            LOWTIDE_DONE_FILE=str(self._place / "done" / "done"),
        )
        if self._runner.gpus:
            found["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, self.devices))
        return found

    def _ended(self, started: datetime, code: int | None, number: int | None, error: str | None) -> Ended:
        failed = code != 0 and self._stopped is None
        return Ended(
            started_at=started,
            ended_at=self._runner.now(),
            exit_code=code,
            signal=number,
            stopped=self._stopped,
            done=self._wrote_done(),
            error=error or (self._tail() if failed else None),
        )

    def _wrote_done(self) -> bool:
        try:
            return os.lstat(self._place / "done" / "done").st_size > 0
        except OSError:
            return False

    def _tail(self) -> str | None:
        with contextlib.suppress(OSError), self._output.open("rb") as output:
            output.seek(max(0, self._output.stat().st_size - TAIL_BYTES))
            return output.read().decode(errors="replace").strip() or None
        return None

    def forget(self) -> None:
        """Removes the attempt's directory; its output stays."""
        shutil.rmtree(self._place, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._place.parent.rmdir()  # other fences of the same job may still be there


class Runner:
    """Starts attempts on this instance. The simulation has another with the same methods."""

    def __init__(
        self,
        state: Path,
        *,
        fetcher: inputs.Fetcher,
        account: Account,
        gpus: int,
        now: Callable[[], datetime],
        log: Log,
    ) -> None:
        self.jobs = state / "jobs"
        self.outputs = state / "outputs"
        self.fetcher = fetcher
        self.account = account
        self.gpus = gpus
        self.now = now
        self.log = log
        self.on_end: Callable[[], None] = lambda: None
        """Called, from any thread, when an attempt has an outcome."""
        self.jobs.mkdir(parents=True, exist_ok=True)
        self.outputs.mkdir(parents=True, exist_ok=True, mode=0o700)

    def start(self, lease: Lease, devices: tuple[int, ...]) -> Attempt:
        self._prune_outputs()
        attempt = Attempt(self, lease, devices)
        attempt.start()
        return attempt

    def clear_leftovers(self) -> list[tuple[str, int]]:
        """Ends every job of an earlier worker on this instance: (job id, fence) of those that had been begun."""
        begun = [(place.parent.name[len("job-") :], int(place.name)) for place in self.jobs.glob("job-*/*")]
        killed = processes.kill_under(self.jobs)
        shutil.rmtree(self.jobs, ignore_errors=True)
        self.jobs.mkdir(parents=True, exist_ok=True)
        if begun or killed:
            self.log("leftovers-cleared", attempts=len(begun), processes=killed)
        return begun

    def _prune_outputs(self) -> None:
        held = sorted(self.outputs.iterdir(), key=lambda file: file.stat().st_mtime)
        for file in held[: max(0, len(held) - OUTPUTS_KEPT)]:
            file.unlink()
