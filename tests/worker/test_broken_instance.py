"""What an attempt owes its job when the instance, its disk or its network let it down."""

import errno
import http.client
import io
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.worker.bench import READY, STREAM, Bench, until
from tests.worker.control import Control
from tests.worker.stores import FakeLogs
from worker import boot, inputs, log, processes
from worker.api import Api, Unanswered
from worker.imds import Notice
from worker.inputs import BadInput, Fetcher
from worker.job import TRIES_HERE
from worker.joblog import JobLog, Spool
from worker.leases import Ended, Input, NeverStarted, Stop
from worker.limits import Group

KEYS = boot.Credentials("AKID", "secret", "", "2099-01-01T00:00:00Z")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.runner.clear_leftovers()


def answering(text: bytes) -> str:
    """The address of somebody who says this to the first caller, whatever was asked, and hangs up."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listening, listening.accept()[0] as caller:
            caller.recv(65536)
            caller.sendall(text)

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("said", [b"what?\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
def test_half_an_answer_of_the_worker_api_is_none(said: bytes) -> None:
    api = Api(answering(said), "us-east-1", credentials=lambda: KEYS, forget_credentials=lambda: None)
    with pytest.raises(Unanswered):
        api.call("/v1/heartbeat", {})


def test_a_journal_that_takes_nothing_costs_a_line_and_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(sys, "stderr", Broken())
    log.to_stderr("notice", kind="interruption")


def test_a_log_is_sent_on_whatever_its_sender_met(tmp_path: Path) -> None:
    logs, told, met = FakeLogs(), list[dict[str, Any]](), list[str]()

    def group() -> str:
        if not met:
            met.append("something that nobody thought of")
            raise http.client.IncompleteRead(b"my output")
        return "group"

    made = JobLog(
        Spool(tmp_path / "spool"),
        logs=logs,
        group=group,
        stream=STREAM,
        told=lambda _event, **fields: told.append(fields),
        send_every=0.01,
    )
    os.write(made.writer, b"one\n")
    until(lambda: logs.text(STREAM) == "one")
    made.drained(5.0)
    assert told == [{"stream": STREAM, "failures": 1, "error": "IncompleteRead"}]


def test_a_full_disk_makes_a_job_wait_in_its_write_and_kills_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.joblog.DISK_AGAIN_SECONDS", 0.01)
    whole, refused = os.pwrite, list[int]()

    def full(file: int, data: bytes, place: int) -> int:
        if len(refused) < 3:
            refused.append(place)
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(file, data, place)

    monkeypatch.setattr(os, "pwrite", full)
    found = bench.run("echo one; sleep 0.1; echo two")
    assert (found.exit_code, found.signal) == (0, None)
    assert bench.logs.text(STREAM) == "one\ntwo"


def test_the_workers_own_line_is_left_out_where_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "spool")

    def full(_file: int, _data: bytes, _place: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert not spool.offer(b"[lowtide] a line\n")
    assert spool.waiting == 0


def full_disk(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_job_that_no_disk_holds_is_given_back_a_few_times_and_then_fails_with_the_remedy(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.runner.fetcher, "fetch", full_disk)
    found = [bench.run("true", fence=fence) for fence in range(1, TRIES_HERE + 1)]
    assert [type(each) for each in found] == [*[NeverStarted] * (TRIES_HERE - 1), Ended]
    assert "root_volume_size" in found[-1].error
    assert "3 times on this instance" in found[-1].error


def test_an_error_that_quotes_what_it_could_not_write_is_told_without(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: Any) -> None:
        "hunter2\ud800".encode()

    monkeypatch.setattr(bench.runner.fetcher, "fetch", bug)
    found = bench.run("true")
    assert isinstance(found, NeverStarted)
    assert found.reason == "the worker failed: UnicodeEncodeError: surrogates not allowed"


def test_a_worker_that_fails_on_a_job_fails_it_in_the_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(bench.runner.fetcher, "fetch", bug)
    found = [bench.run("true", fence=fence) for fence in range(1, TRIES_HERE + 1)]
    assert [type(each) for each in found] == [*[NeverStarted] * (TRIES_HERE - 1), Ended]


def test_a_job_that_began_in_between_has_not_been_given_back_in_a_row(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bench.runner.fetcher.fetch
    for fence in range(1, 2 * TRIES_HERE):
        monkeypatch.setattr(bench.runner.fetcher, "fetch", whole if fence == TRIES_HERE else full_disk)
        found = bench.run("true", fence=fence)
        assert isinstance(found, Ended if fence == TRIES_HERE else NeverStarted)


def test_s3_that_is_away_gives_a_job_back_for_as_long_as_it_takes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise inputs.Unavailable("s3://b/k: timed out")

    monkeypatch.setattr(bench.runner.fetcher, "fetch", away)
    for fence in range(1, TRIES_HERE + 3):
        assert isinstance(bench.run("true", fence=fence), NeverStarted)


def test_what_the_disk_does_not_hold_is_not_fetched_again(control: Control, tmp_path: Path) -> None:
    class Full(io.BytesIO):
        def write(self, _data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    control.objects["/b/k"] = b"x"
    waits: list[float] = []
    fetcher = Fetcher("us-east-1", lambda _bucket: KEYS, waits.append)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs.tempfile, "TemporaryFile", lambda **_: Full())
        with pytest.raises(OSError, match="No space left"):
            fetcher.fetch((Input("b", "k", ".", None),), tmp_path, lambda: False)
    assert waits == []


def s3_that_says(status: str, code: str) -> str:
    body = f"<Error><Code>{code}</Code></Error>".encode()
    return answering(f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


@pytest.mark.parametrize(
    ("status", "code"), [("400", "ExpiredToken"), ("403", "RequestTimeTooSkewed"), ("503", "SlowDown")]
)
def test_a_refusal_of_s3_that_may_pass_is_not_the_jobs_fault(
    control: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, code: str
) -> None:
    control.objects["/b/k"] = b"x"
    well = control.url
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_that_says(status, code))
    fetcher = Fetcher("us-east-1", lambda _bucket: KEYS, lambda _seconds: monkeypatch.setenv("AWS_ENDPOINT_URL", well))
    fetcher.fetch((Input("b", "k", "k", None),), tmp_path, lambda: False)
    assert (tmp_path / "k").read_bytes() == b"x"


@pytest.mark.parametrize(("status", "code"), [("403", "AccessDenied"), ("301", "PermanentRedirect")])
def test_a_refusal_of_s3_that_stays_fails_the_attempt_in_s3s_own_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, code: str
) -> None:
    """A bucket of another Region is 301 for ever: asked again, its job would never end."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_that_says(status, code))
    fetcher = Fetcher("us-east-1", lambda _bucket: KEYS, lambda _seconds: pytest.fail("it was asked again"))
    with pytest.raises(BadInput, match=f"S3 answers {status} {code}"):
        fetcher.fetch((Input("b", "k", "k", None),), tmp_path, lambda: False)


NOISE = random.Random(7).randbytes(100_000)


def damaged(archive: bytes) -> bytes:
    """One bit of its content, which is stored as it is, is another: only the checksum tells."""
    place = archive.index(NOISE[5000:5020])
    return archive[:place] + bytes([archive[place] ^ 1]) + archive[place + 1 :]


def packed(content: bytes, level: int = 9) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz", compresslevel=level) as archive:
        info = tarfile.TarInfo("noise")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return held.getvalue()


def encrypted() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("x", b"x")
    found = bytearray(held.getvalue())
    found[6] |= 1  # of the file's header
    found[found.index(b"PK\x01\x02") + 8] |= 1  # of the directory's entry
    return bytes(found)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.tar.gz", packed(NOISE)[:50_000]),
        ("another-byte.tar.gz", damaged(packed(NOISE, level=0))),
        ("no-deflate.tar.gz", packed(bytes(10**6))[:600] + b"\xff" * 400),
        ("encrypted.zip", encrypted()),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_damaged_archive_is_the_jobs_failure_and_not_fetched_for_ever(
    control: Control, tmp_path: Path, name: str, content: bytes
) -> None:
    control.objects[f"/b/{name}"] = content
    with pytest.raises(BadInput, match="cannot be unpacked"):
        Fetcher("us-east-1", lambda _bucket: KEYS).fetch((Input("b", name, ".", None),), tmp_path, lambda: False)


def test_an_ended_attempts_files_are_removed_while_the_worker_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = bench.started(f"{READY}; touch big")
    bench.outcome(attempt)
    whole, slow = shutil.rmtree, threading.Event()

    def removing(place: Path, **options: Any) -> None:
        assert slow.wait(15.0)
        whole(place, **options)

    monkeypatch.setattr(shutil, "rmtree", removing)
    attempt.forget()
    assert list(bench.runner.jobs.iterdir()) == []
    slow.set()
    until(lambda: not list((bench.state / "gone").iterdir()))


def test_what_an_earlier_worker_had_not_removed_yet_is_removed(bench: Bench) -> None:
    (bench.state / "gone" / "7-1").mkdir()
    bench.runner.clear_leftovers()
    until(lambda: not list((bench.state / "gone").iterdir()))


def test_nobody_reaches_what_is_being_restored_until_it_is_the_jobs(bench: Bench) -> None:
    """A file that its job once made set-user-id is root's for as long as it is being restored."""
    modes: list[int] = []

    def look(_operation: str, _key: str) -> None:
        modes.extend(place.stat().st_mode & 0o777 for place in bench.runner.jobs.glob("job-*/*"))

    bench.store.before = look
    bench.run("touch $LOWTIDE_CHECKPOINT_DIR/x")
    assert modes[0] == 0o700
    assert modes[-1] == 0o755


def hang_on_data(bench: Bench) -> tuple[threading.Event, threading.Event]:
    """(whether S3 was called with data, what lets that call go on)."""
    called, released = threading.Event(), threading.Event()

    def hang(operation: str, key: str) -> None:
        if operation == "put" and "/data/" in key:
            called.set()
            released.wait(15.0)

    bench.store.before = hang
    return called, released


def test_a_call_of_s3_that_hangs_keeps_no_result_beyond_the_announced_end(bench: Bench) -> None:
    called, released = hang_on_data(bench)
    attempt = bench.started(
        f"trap 'echo 1 > $LOWTIDE_DONE_FILE; exit 0' TERM; echo 1 > $LOWTIDE_CHECKPOINT_DIR/x; {READY}; "
        "while :; do sleep 0.02; done"
    )
    began = time.monotonic()
    attempt.warn(Notice("interruption", datetime.now(UTC)), 1.5)
    assert called.wait(15.0)
    found = bench.outcome(attempt)
    assert time.monotonic() - began < 5.0
    assert (found.exit_code, found.done, found.stopped) == (0, True, Stop.INTERRUPTED)
    saves = list(bench.store.objects)
    released.set()
    until(lambda: not [each for each in threading.enumerate() if each.name == "checkpoint"])
    assert [key for key in bench.store.objects if key not in saves and "/saves/" in key] == []


def test_a_notice_during_the_last_save_of_a_job_that_has_ended_bounds_that_save(bench: Bench) -> None:
    called, released = hang_on_data(bench)
    attempt = bench.start("echo 1 > $LOWTIDE_CHECKPOINT_DIR/x")
    assert called.wait(15.0)
    began = time.monotonic()
    attempt.warn(Notice("interruption", datetime.now(UTC)), 0.5)
    found = bench.outcome(attempt)
    released.set()
    assert time.monotonic() - began < 5.0
    assert (found.exit_code, found.stopped) == (0, None), "it had succeeded before the notice came"


def lost_process() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "600"], env={}, start_new_session=True)


@pytest.mark.parametrize("kernel", ["with cgroup.kill", "before it"])
def test_a_process_without_an_environment_is_found_by_its_group(tmp_path: Path, kernel: str) -> None:
    groups = tmp_path / "groups"
    groups.mkdir()
    bench = Bench(tmp_path / "state", cgroups=groups)
    attempt = bench.started(f"{READY}; while [ ! -e go ]; do sleep 0.02; done")
    (group,) = groups.iterdir()
    with lost_process() as lost:
        (group / "cgroup.procs").write_text(f"{lost.pid}\n")
        if kernel == "with cgroup.kill":
            (group / "cgroup.kill").write_text("")
        (next(bench.state.glob("jobs/*/*")) / "work" / "go").touch()
        bench.outcome(attempt)
        if kernel == "with cgroup.kill":
            assert (group / "cgroup.kill").read_text() == "1"
            lost.kill()
        assert lost.wait(15.0) == -9


def test_a_group_that_is_gone_has_nothing_to_end(tmp_path: Path) -> None:
    Group(tmp_path / "gone").end()


def test_a_failed_attempt_tells_no_more_of_its_output_than_the_worker_api_keeps(bench: Bench) -> None:
    found = bench.run("yes step 1 | head -n 1000; echo ValueError: no such column; exit 1")
    assert found.error.endswith("ValueError: no such column")
    assert len(found.error) <= 1000


def test_a_job_is_told_that_its_newest_save_cannot_be_read(bench: Bench) -> None:
    bench.run("echo 1 > $LOWTIDE_CHECKPOINT_DIR/step")
    newest = max(key for key in bench.store.objects if "/saves/" in key)
    bench.store.objects[newest] = b"not what was there"
    assert bench.run("true", fence=2, attempt=2).exit_code == 0
    assert "newer saves of the checkpoint could not be read" in bench.logs.text("cpu/job-1/2")


def test_a_jobs_last_words_are_sent_though_cloudwatch_refuses_at_first(bench: Bench) -> None:
    refused: list[str] = []

    def busy(operation: str) -> None:
        if operation == "PutLogEvents" and len(refused) < 3:
            refused.append(operation)
            raise OSError("throttled")

    bench.logs.before = busy
    bench.run("echo last words")
    assert bench.logs.text(STREAM) == "last words"


def test_a_job_that_has_every_thread_of_the_instance_is_ended_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(_timer: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    attempt = bench.started(f"trap '' TERM; {READY}; while :; do sleep 0.02; done")
    monkeypatch.setattr(threading.Timer, "start", no_thread)
    attempt.stop(Stop.CANCELLED)
    assert bench.outcome(attempt).signal == signal.SIGKILL


def test_an_attempt_has_its_outcome_though_its_processes_cannot_be_looked_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_descriptor(_place: Path) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(processes, "kill_under", no_descriptor)
    found = bench.run("echo why; exit 3")
    assert (found.exit_code, found.error) == (3, "why")
