"""A demo stopped with Ctrl-C leaves no process behind, whatever it was at."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

pytestmark = [pytest.mark.xdist_group("world"), pytest.mark.timeout(300), pytest.mark.world]

MARK = "LOWTIDE_TEST_MARK"
SAID_WITHIN = 150.0
"""Seconds on a loaded machine; the deployment takes some 20 on a free one."""
ENDS_WITHIN = 30.0


class Demo:
    """`lowtide demo` in a session of its own, as a terminal starts it; its output, line by line."""

    def __init__(self, folder: Path) -> None:
        self.mark = uuid4().hex
        environment = {**os.environ, MARK: self.mark, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lowtide", "demo", "--report", str(folder / "report.json")],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=_hear_ctrl_c,
        )
        self.lines: list[str] = []
        self._more = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._more:
                self.lines.append(line)
                self._more.notify_all()

    def says(self, words: str) -> None:
        with self._more:
            said = self._more.wait_for(lambda: any(words in line for line in self.lines), SAID_WITHIN)
        assert said, f"the demo never said {words!r}; it said {self.lines}"

    def interrupt(self) -> None:
        """What Ctrl-C does: SIGINT to the whole foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def family(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def left(self, family: Sequence[psutil.Process] = ()) -> list[psutil.Process]:
        """What still runs of those, of its session, or with its environment."""
        return [p for p in {*family, *filter(self._is_mine, psutil.process_iter())} if _runs(p)]

    def _is_mine(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error, OSError):
            return os.getsid(process.pid) == self.process.pid or process.environ().get(MARK) == self.mark
        return False


def _hear_ctrl_c() -> None:
    """A shell starts what it runs in the background with SIGINT ignored, a whole test run too, and children inherit
    that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@contextmanager
def demo(folder: Path) -> Iterator[Demo]:
    started = Demo(folder)
    try:
        yield started
    finally:
        for process in started.left():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        started.process.wait()


@pytest.mark.parametrize("moment", ["Starting", "Deploying", "Pushing"])
def test_a_demo_that_is_interrupted_leaves_no_process(tmp_path: Path, moment: str) -> None:
    with demo(tmp_path) as started:
        started.says(moment)
        family = started.family()
        started.interrupt()
        code = started.process.wait(ENDS_WITHIN)
        deadline = time.monotonic() + ENDS_WITHIN
        while (left := started.left(family)) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert left == [], f"after {moment}: {left}"
    assert code != 0
    assert "Traceback" not in "".join(started.lines)
    assert not (tmp_path / "report.json").exists()
