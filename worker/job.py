"""One attempt of one job: its directory, its process, the ways it can end. Knows nothing of the control plane.

work/        working directory, inputs in it        home/, tmp/    HOME and TMPDIR
checkpoint/  LOWTIDE_CHECKPOINT_DIR                  done/done      LOWTIDE_DONE_FILE
notice/notice   LOWTIDE_NOTICE_FILE, the worker's to write
progress/progress   LOWTIDE_PROGRESS_FILE, the job's to write
container    the name of its container, if it has one
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Callable

from worker import containers, inputs, processes, progress
from worker.checkpoint import Checkpoint
from worker.containers import Contained, Container, Engine, EngineFailed
from worker.environment import job_environment
from worker.imds import Notice
from worker.job_rights import NoRights, Rights
from worker.joblog import JobLog, Spool, stream_name
from worker.keeping import Keeper
from worker.leases import Ended, Key, Lease, NeverStarted, Outcome, Stop
from worker.limits import Allotment, Group
from worker.log import to_text
from worker.pace import seconds_until_kill
from worker.ports import Terms
from worker.processes import Exit, Hosted

if TYPE_CHECKING:
    from worker.runner import Runner

STOP_GRACE_SECONDS = 30.0
"""From SIGTERM to SIGKILL when nothing shortens it (a timeout, a cancel). Kubernetes: 30 s."""
HELD = ("/bin/sh", "-c", 'read -r go && exec "$@" < /dev/null', "sh")
"""Runs the command that follows once a line comes: until then the process can be put where its children belong."""
CONTAINER = "container"
"""File of an attempt with an image: its container's name, for a worker that finds it left."""
ENGINE_TRIES = 3
"""Attempts in a row that an instance gives back because its container engine fails; then they fail."""
TRIES_HERE = 3
"""Times that an instance gives one job back because its disk or its worker fails; then the attempt fails."""
DISK_REMEDY = "give the pool a larger root_volume_size, or its jobs less to fetch"
LAST_WORDS_SECONDS = 60.0
"""For the rest of a job's log to reach CloudWatch when nothing ends the instance."""
REPORTING_SECONDS = 2.0
"""Kept back at an announced end for the log's last lines and the result's own call."""


class Attempt:
    """A lease being run, on a thread of its own. `stop` may be called at any time and more than once."""

    def __init__(self, runner: Runner, lease: Lease, devices: tuple[int, ...], terms: Terms) -> None:
        self.lease = lease
        self.devices = devices
        self.outcome: Outcome | None = None
        """None until nothing of the job runs any more."""
        self._runner = runner
        self._place = runner.jobs / f"job-{lease.key.job_id}" / str(lease.key.fence)
        self._terms = terms
        self._notice_text: str | None = None
        self._ends_at: float | None = None
        """The instance's announced end, monotonic."""
        self._keeper: Keeper | None = None
        self._joblog: JobLog | None = None
        self._group: Group | None = None
        self._rights = Rights({})
        self._lock = threading.Lock()
        self._stopped: Stop | None = None
        self._process: Hosted | Contained | None = None
        self._began_at: float | None = None
        """When its process did, monotonic."""
        self._ended_at: float | None = None
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
            if why in (Stop.LEASE_LOST, Stop.CANCELLED) and self._keeper is not None:
                self._keeper.abandon()
            if self._process is None:
                return
            if first:
                self._process.terminate()
            try:
                self._later(kill_after, self._kill)
            except RuntimeError:  # no thread is left to wait with, and a job is what has them
                self._process.kill()

    def warn(self, notice: Notice, seconds_left: float) -> None:
        """Passes a notice on. An interruption: SIGTERM at once, SIGKILL so long before the announced end as the last
        save needs, and saving from now on. A rebalance recommendation: the file alone."""
        with self._lock:
            self._notice_text = json.dumps({"kind": notice.kind, "at": to_text(notice.at)}) + "\n"
            self._write_notice()
            keeper = self._keeper
        if notice.kind != "interruption":
            return
        self._ends_at = time.monotonic() + seconds_left
        if keeper is not None:
            keeper.hurry()
            keeper.finish_within(self._seconds_for_the_rest())
        reserve = self._terms.reserve
        wanted = keeper.reserve_seconds() if keeper is not None else reserve.least
        self.stop(Stop.INTERRUPTED, seconds_until_kill(seconds_left, wanted, reserve))

    def confirm(self, began_at: float) -> None:
        """A heartbeat that began then (monotonic) was answered, and the lease was still ours."""
        keeper = self._keeper
        if keeper is not None:
            keeper.checkpoint.confirm(began_at)

    def standing(self) -> dict[str, str]:
        """How far the job came, and what its last save kept, for the control plane."""
        keeper = self._keeper
        return progress.standing(self._reached(), keeper.saved if keeper is not None else None)

    def _reached(self) -> progress.Reached | None:
        """None: its process has not begun."""
        if self._began_at is None:
            return None
        until = time.monotonic() if self._ended_at is None else self._ended_at
        return progress.Reached(until - self._began_at, progress.read(self._place / "progress" / "progress"))

    def _write_notice(self) -> None:
        """Whole or not at all; does nothing before the job's directories are made."""
        folder = self._place / "notice"
        if self._notice_text is None or not folder.is_dir():
            return
        with contextlib.suppress(OSError):
            fresh = folder / ".notice"
            fresh.write_text(self._notice_text, encoding="utf-8")
            fresh.replace(folder / "notice")

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _kill(self) -> None:
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def _run(self) -> None:
        outcome = self._result()
        for timer in self._timers:
            timer.cancel()
        for step in (self._end_its_processes, self._rights.end, lambda: self._keep_what_it_leaves(outcome)):
            try:
                step()
            except Exception as error:  # whatever it was: an attempt without an outcome would be held for ever
                self._told("attempt-not-cleared", error=_without_values(error))
        if self._group is not None:
            self._group.remove()
        self.outcome = replace(outcome, standing=self.standing()) if isinstance(outcome, Ended) else outcome
        self._runner.on_end()

    def _end_its_processes(self) -> None:
        processes.kill_under(self._place)
        if self._group is not None:
            self._group.end()

    def _keep_what_it_leaves(self, outcome: Outcome) -> None:
        """The last save, then the last lines. Nothing that goes wrong here changes how the attempt ended."""
        if self._keeper is not None:
            if isinstance(outcome, Ended):
                self._keeper.end(self._seconds_for_the_rest())
            else:
                self._keeper.abandon()
        if self._joblog is not None:
            seconds = self._seconds_for_the_rest()
            self._joblog.drained(LAST_WORDS_SECONDS if seconds is None else max(REPORTING_SECONDS / 2, seconds))

    def _seconds_for_the_rest(self) -> float | None:
        """Until shortly before the announced end, if one is announced."""
        if self._ends_at is None:
            return None
        margin = min(REPORTING_SECONDS, self._terms.reserve.least / 5)
        return max(0.0, self._ends_at - time.monotonic() - margin)

    def _result(self) -> Outcome:
        """What came of it, whatever went wrong; processes of the job may still run."""
        began = self._runner.now()
        try:
            return self._prepare_and_run()
        except inputs.BadInput as error:
            return self._ended(began, Exit(None, None, f"input: {error}"))
        except (containers.Unusable, NoRights) as error:
            return self._ended(began, Exit(None, None, str(error)))
        except inputs.Stopped:
            return NeverStarted("stopped before it started")
        except EngineFailed as error:
            return self._without_engine(began, f"the container engine failed: {error}")
        except (inputs.Unavailable, OSError) as error:
            why = f"{type(error).__name__}: {error}"
            if isinstance(error, OSError) and error.errno in inputs.DISK_ERRORS:
                return self._given_back(began, f"{why} ({DISK_REMEDY})")
            return NeverStarted(why)  # S3 or the worker API: passes by itself, and is no one's fault
        except Exception as error:
            told = _without_values(error)
            self._runner.log("attempt-broken", job_id=self.key.job_id, error=told)
            return self._given_back(began, f"the worker failed: {told}")

    def _given_back(self, began: datetime, why: str) -> Outcome:
        """For another try, here or elsewhere; a failure once this instance has tried so often: given back again and
        again, a job that can never begin would keep its instance, and its owner paying, for ever."""
        if self._stopped is not None or self._runner.gave_back(self.key.job_id) < TRIES_HERE:
            return NeverStarted(why)
        self._runner.began(self.key.job_id)
        return self._ended(began, Exit(None, None, f"{why}, {TRIES_HERE} times on this instance"))

    def _without_engine(self, began: datetime, why: str) -> Outcome:
        """Given back, for another instance to try; a failure once this one's engine has done nothing but fail. The
        engine's words are in the job's log; the worker's, where a reason goes, may not have them: they may be the
        job's."""
        with self._lock:
            if self._stopped is not None:
                return self._ended(began, Exit(None, None, why))
        if self._runner.engine_failed() < ENGINE_TRIES:
            return NeverStarted(why)
        often = f"{ENGINE_TRIES} times in a row on this instance"
        return self._ended(began, Exit(None, None, f"{why}, {often}: {self._tail()}"))

    def _prepare_and_run(self) -> Outcome:
        self._make_directories()
        self._joblog = self._open_log()
        engine = self._engine()
        checkpoint = self._restore()
        self._runner.fetcher.fetch(self.lease.inputs, self._place / "work", self._is_stopped)
        self._give_to_the_job()
        self._rights = self._runner.rights.admit(self.lease, self._is_stopped)
        self._keep(checkpoint)
        started = self._runner.now()
        try:
            process = self._spawn(engine)
        except OSError as error:
            code = 127 if isinstance(error, FileNotFoundError) else 126
            return self._ended(started, Exit(code, None, f"the command cannot be run: {error}"))
        try:
            found = process.wait()
        finally:
            with self._lock:
                self._process = None
        if engine is not None:
            self._runner.engine_worked()
        return self._ended(started, found)

    def _is_stopped(self) -> bool:
        return self._stopped is not None

    def _engine(self) -> Engine | None:
        """What is to run the job's container, its image being there; None: the job runs on the host.

        Raises containers.Unusable, inputs.Stopped."""
        if self.lease.image is None:
            return None
        engine = self._runner.engine()
        if engine is None:
            raise containers.Unusable(containers.NO_ENGINE)
        engine.fetch(self.lease.image, self._is_stopped)
        (self._place / CONTAINER).write_text(self._container_name(), encoding="utf-8")
        return engine

    def _make_directories(self) -> None:
        """Nobody but the worker reaches them before they are the job's: what is being restored belongs to the worker,
        who may be root, with whatever modes the job once gave it, set-user-id among them."""
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir(parents=True, mode=0o700)
        for name in ("work", "home", "tmp", "checkpoint", "done", "notice", "progress"):
            (self._place / name).mkdir(mode=0o755)

    def _give_to_the_job(self) -> None:
        for name in ("work", "home", "tmp", "checkpoint", "done", "progress"):
            self._runner.account.own(self._place / name)
        self._place.chmod(0o755)

    def _open_log(self) -> JobLog:
        lease, runner = self.lease, self._runner
        return JobLog(
            Spool(runner.spools / f"{lease.key.job_id}.{lease.key.fence}"),
            logs=runner.logs,
            group=runner.log_group,
            stream=stream_name(lease.pool, lease.key.job_id, lease.attempt),
            told=runner.log,
        )

    def _restore(self) -> Checkpoint:
        """Raises OSError when the bucket cannot be had: the job must not begin anew for that."""
        assert self._joblog is not None
        checkpoint = Checkpoint(
            self._runner.store,
            pool=self.lease.pool,
            job_id=self.key.job_id,
            fence=self.key.fence,
            directory=self._place / "checkpoint",
            owner=self._runner.account.uid,
        )
        files, wrong = checkpoint.restore()
        if wrong:
            self._joblog.say(f"Warning: newer saves of the checkpoint could not be read: {'; '.join(wrong)}")
        if files:
            self._joblog.say(f"{files} files of the checkpoint are there again.")
        return checkpoint

    def _allotment(self) -> Allotment:
        """Of the instance: what the attempt names, else its slots of the pool's."""
        if (asked := self.lease.resources) is not None:
            return self._runner.limits.named(float(asked.vcpus), asked.memory_mib)
        return self._runner.limits.share(self.lease.slots / max(1, self._terms.slots))

    def _limited(self) -> Group | None:
        name = f"job-{self.key.fence}-{self.key.job_id}"
        try:
            return self._runner.limits.group(name, self._allotment())
        except OSError as error:
            self._told("job-without-limits", error=str(error))
            return None

    def _keep(self, checkpoint: Checkpoint) -> None:
        assert self._joblog is not None
        checkpoint.settle()
        keeper = Keeper(
            checkpoint,
            period=self._terms.checkpoint,
            reserve=self._terms.reserve,
            reached=self._reached,
            say=self._joblog.say,
            told=self._told,
        )
        with self._lock:
            self._keeper = keeper
            self._write_notice()
        keeper.begin()

    def _told(self, event: str, **fields: str) -> None:
        self._runner.log(event, job_id=self.key.job_id, **fields)

    def _spawn(self, engine: Engine | None) -> Hosted | Contained:
        """Raises inputs.Stopped when the attempt was stopped first, OSError when the command cannot be run,
        containers.Unusable when its container cannot."""
        assert self._joblog is not None
        with self._lock:
            if self._stopped is not None:
                raise inputs.Stopped
            if engine is None:
                self._process = process = self._on_the_host(self._joblog.writer)
            else:
                self._process = process = engine.run(self._container(), self._joblog.writer)
            self._began_at = time.monotonic()
            self._runner.began(self.key.job_id)
            self._joblog.close_writer()
            if self.lease.seconds_left is not None:
                self._later(self.lease.seconds_left, lambda: self.stop(Stop.TIMED_OUT))
            return process

    def _on_the_host(self, output: int) -> Hosted:
        self._group = self._limited()
        process = subprocess.Popen(
            self.lease.command if self._group is None else [*HELD, *self.lease.command],
            cwd=self._place / "work",
            env=self._environment(),
            stdin=subprocess.DEVNULL if self._group is None else subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=self._runner.account.uid,
            group=self._runner.account.gid,
            extra_groups=self._runner.account.groups,
        )
        self._let_go(process)
        return Hosted(process)

    def _container(self) -> Container:
        assert self.lease.image is not None
        return Container(
            name=self._container_name(),
            image=self.lease.image,
            command=self.lease.command,
            place=self._place,
            environment=self._environment(),
            account=self._runner.account,
            allotment=self._allotment(),
            devices=self.devices,
        )

    def _container_name(self) -> str:
        return containers.container_name(self.key.job_id, self.key.fence, self._place)

    def _let_go(self, process: subprocess.Popen[bytes]) -> None:
        """Puts a held process into the attempt's group, then lets it become the job."""
        if self._group is None or process.stdin is None:
            return
        try:
            self._group.take(process.pid)
        except OSError as error:
            self._told("job-without-limits", error=str(error))
        with contextlib.suppress(OSError), process.stdin:
            process.stdin.write(b"\n")

    def _environment(self) -> dict[str, str]:
        return job_environment(
            self.lease, self._place, self._rights.environment, gpus=self._runner.gpus, devices=self.devices
        )

    def _ended(self, started: datetime, exit: Exit) -> Ended:
        self._ended_at = time.monotonic()
        failed = exit.code != 0 and self._stopped is None
        out_of_memory = exit.out_of_memory or (self._group is not None and self._group.out_of_memory())
        return Ended(
            started_at=started,
            ended_at=self._runner.now(),
            exit_code=exit.code,
            signal=exit.signal,
            stopped=self._stopped,
            done=self._wrote_done(),
            error=exit.error or (self._tail() if failed else None),
            out_of_memory=failed and out_of_memory,
        )

    def _wrote_done(self) -> bool:
        try:
            return os.lstat(self._place / "done" / "done").st_size > 0
        except OSError:
            return False

    def _tail(self) -> str | None:
        """The end of its output, once all of it is read: its processes are gone, or soon are."""
        with contextlib.suppress(OSError):  # no descriptor left to look for them with
            self._end_its_processes()
        return None if self._joblog is None else self._joblog.tail()

    def forget(self) -> None:
        """Removes the attempt's directory, without waiting for it."""
        self._runner.discard(self._place)
        with contextlib.suppress(OSError):
            self._place.parent.rmdir()  # other fences of the same job may still be there


def _without_values(error: Exception) -> str:
    """An error of the worker's that nobody expected, for reasons and logs. One about an encoding quotes the whole text
    that it is about, which may be a variable or a secret of the job's: of it only what was wrong is said."""
    if isinstance(error, (UnicodeEncodeError, UnicodeDecodeError)):
        return f"{type(error).__name__}: {error.reason}"
    return repr(error)
