"""A job's output on its way to CloudWatch Logs: whole, in order, within its limits."""

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worker.bench import until
from tests.worker.stores import FakeLogs
from worker import joblog
from worker.joblog import JobLog, Spool, events_of, stream_name


class Bench:
    def __init__(self, place: Path, size: int = joblog.SPOOL_BYTES) -> None:
        self.logs = FakeLogs()
        self.told: list[str] = []
        self.spool = Spool(place / "spool", size)
        self.log = JobLog(
            self.spool,
            logs=self.logs,
            group=lambda: "group",
            stream="gpu/job/1",
            told=lambda event, **_: self.told.append(event),
            send_every=0.01,
        )

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.log.writer, data) :]

    def text(self) -> str:
        return self.logs.text("gpu/job/1")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.log.drained(0.0)


def test_lines_arrive_while_the_job_runs(bench: Bench) -> None:
    bench.write(b"one\ntwo\nbeginn")
    until(lambda: bench.text() == "one\ntwo")
    bench.write(b"ing\n")
    until(lambda: bench.text() == "one\ntwo\nbeginning")


def test_the_last_line_needs_no_end(bench: Bench) -> None:
    bench.write(b"one\nlast words")
    bench.log.drained(10.0)
    assert bench.text() == "one\nlast words"
    assert bench.log.tail() == "one\nlast words"


def test_a_prompt_is_sent_after_a_while(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblog, "UNENDED_LINE_SECONDS", 0.1)
    bench.write(b"50 %")
    until(lambda: bench.text() == "50 %")


def test_everything_arrives_in_order_while_cloudwatch_refuses_every_third_call(tmp_path: Path) -> None:
    bench, lines = Bench(tmp_path, size=20_000), [f"{n} {'x' * (n % 90)}" for n in range(2000)]
    calls = [0]

    def unkind(_operation: str) -> None:
        calls[0] += 1
        if calls[0] % 3 == 0:
            raise OSError("throttled")

    bench.logs.before = unkind
    bench.write("".join(f"{line}\n" for line in lines).encode())
    bench.log.drained(60.0)
    assert bench.text().split("\n") == lines


def test_a_job_waits_instead_of_losing_lines_while_cloudwatch_is_away(tmp_path: Path) -> None:
    bench = Bench(tmp_path, size=10_000)

    def away(_operation: str) -> None:
        raise OSError("away")

    bench.logs.before = away
    content = b"".join(b"%07d\n" % n for n in range(40_000))
    writing = threading.Thread(target=bench.write, args=(content,), daemon=True)
    writing.start()
    until(lambda: bench.spool.waiting == 10_000)
    time.sleep(0.1)
    assert writing.is_alive(), "the pipe holds 64 KiB, the reader as much, the spool 10 kB"
    assert (tmp_path / "spool").exists() is False, "nothing is left behind if the worker dies"
    bench.logs.before = lambda _operation: None
    writing.join(30.0)
    bench.log.drained(30.0)
    assert bench.text().encode() + b"\n" == content
    assert bench.told[0] == "log-unsent"


def test_what_cannot_be_sent_in_time_is_told_to_be_lost(bench: Bench) -> None:
    def away(_operation: str) -> None:
        raise OSError("away")

    bench.logs.before = away
    bench.write(b"lost\n")
    bench.log.drained(0.2)
    assert bench.told[-1] == "log-cut"


def test_cloudwatchs_limits_are_kept_and_no_character_is_cut_in_two(bench: Bench) -> None:
    chance = random.Random(5)
    long_lines = ["ä€𝄞" * 60_000, "", "é" * 300_000, "plain"]
    many = [str(chance.random()) for _ in range(25_000)]
    bench.write("\n".join([*long_lines, *many]).encode())
    bench.log.drained(30.0)
    text = bench.text()
    assert "\ufffd" not in text
    assert text.replace("\n", "").replace(" ", "") == "".join([*long_lines, *many])
    assert max(bench.logs.batches) <= 10_000


def test_bytes_that_are_no_text_do_not_stop_the_log(bench: Bench) -> None:
    bench.write(b"\xff\xfe\n\n\r\nafter\n")
    bench.log.drained(10.0)
    assert bench.text().endswith("after")


def test_bytes_that_become_more_as_text_keep_cloudwatchs_limits_too(bench: Bench) -> None:
    bench.write(b"\xff" * 500_000 + b"\n" + "é".encode() * 99_000 + b"\xff\nafter\n")
    bench.log.drained(5.0)
    assert bench.told == []
    assert bench.text().replace("\n", "") == "\ufffd" * 500_000 + "é" * 99_000 + "\ufffdafter"


def test_many_short_lines_are_sent_one_call_after_the_other(tmp_path: Path) -> None:
    spool, logs = Spool(tmp_path / "spool"), FakeLogs()
    spool.write(b"x\n" * 25_000)
    log = JobLog(spool, logs=logs, group=lambda: "group", stream="s", told=lambda _event, **_: None, send_every=3600.0)
    until(lambda: sum(logs.batches) == 25_000, 10.0)
    log.drained(5.0)


def test_the_workers_own_lines_are_marked_and_never_wait(tmp_path: Path) -> None:
    bench = Bench(tmp_path, size=100)
    bench.log.say("short")
    until(lambda: bench.text() == "[lowtide] short")
    bench.log.say("x" * 200)
    bench.log.drained(5.0)
    assert bench.text() == "[lowtide] short"


def test_a_ring_gives_back_what_was_written_whatever_its_size(tmp_path: Path) -> None:
    chance = random.Random(3)
    for size in (1, 7, 64, 1000):
        spool, expected, found = Spool(tmp_path / f"s{size}", size), chance.randbytes(5000), b""
        writing = threading.Thread(target=spool.write, args=(expected,), daemon=True)
        writing.start()
        while len(found) < len(expected):
            chunk = spool.peek(chance.randint(1, 2 * size)).data
            spool.drop(len(chunk))
            found += chunk
        assert found == expected


@pytest.mark.parametrize(("final", "expected"), [(False, [b"a\n", b"\n"]), (True, [b"a\n", b"\n", b"b"])])
def test_events_are_lines(final: bool, expected: list[bytes]) -> None:
    assert events_of(b"a\n\nb", final=final) == expected


def test_a_streams_name_holds_nothing_that_cloudwatch_refuses() -> None:
    assert stream_name("gpu", "a:b.c", 3) == "gpu/a%3Ab.c/3"
