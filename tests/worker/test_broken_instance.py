"""What an attempt owes its job when the instance, its disk or its network let it down."""

import errno
import http.client
import io
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.worker.bench import STREAM, Bench, until
from tests.worker.stores import FakeLogs
from worker import boot, log
from worker.api import Api, Unanswered
from worker.joblog import JobLog, Spool

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
