"""A job's output on its way to CloudWatch Logs: a pipe, a ring file of bounded size, a sender.

job → pipe → `Spool` (a file) → batches → PutLogEvents, stream `<pool>/<job>/<attempt>`

Nothing is ever thrown away to make room: when the spool or its disk is full the pipe is not read, and the job waits in
its next write until CloudWatch has taken what is there. Order is the order of writing. A batch whose answer was lost is
sent again, so a line may appear twice. A line without an end is sent after a few seconds, and in parts when it is very
long.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Callable, NamedTuple, Protocol

from worker import aws

SPOOL_BYTES = 64 * 2**20
EVENT_BYTES = 200_000
"""PutLogEvents takes 262,144 bytes an event, 26 of its own included."""
REPLACED_BYTES = 3
"""Of U+FFFD in UTF-8: what a byte that is no text becomes."""
BATCH_BYTES = 1_000_000
"""PutLogEvents takes 1,048,576 bytes, 26 for each event included."""
BATCH_EVENTS = 10_000
EVENT_OVERHEAD = 26
SEND_EVERY_SECONDS = 1.0
UNENDED_LINE_SECONDS = 5.0
"""How long the beginning of a line waits for its end."""
READ_BYTES = 64 * 1024
TAIL_BYTES = 1000
"""How much of its output a failed attempt reports: what the worker API keeps of a text (docs/worker-api.md)."""
QUIET_SECONDS = 3.0
"""A pipe that is still open after the job's end, and silent for so long, has nothing to say any more."""
LONGEST_WAIT_SECONDS = 30.0
DISK_AGAIN_SECONDS = 1.0
"""From a write that the disk refused to the next."""


class Sends(Protocol):
    def call(self, operation: str, body: dict[str, Any]) -> dict[str, Any]: ...


class Chunk(NamedTuple):
    data: bytes
    written_at: float
    """Unix time of its first byte."""


class Spool:
    """First in, first out, in a file that never grows beyond `size`. One writer, one reader."""

    def __init__(self, path: Path, size: int = SPOOL_BYTES, clock: Callable[[], float] = time.time) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        path.unlink()  # nobody else needs its name, and it goes with the worker
        self._size = size
        self._clock = clock
        self._changed = threading.Condition()
        self._written = 0
        self._taken = 0
        self._times: deque[tuple[int, float]] = deque()
        """(offset, when it was written), at most one a second."""
        self._closed = False

    def write(self, data: bytes) -> None:
        """Waits for room, here and on the disk. After `close` what is written is lost."""
        view = memoryview(data)
        while view:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._written - self._taken < self._size)
                if self._closed:
                    return
                try:
                    view = view[self._put(view) :]
                except OSError:  # the disk is full, most likely by the job itself, which waits meanwhile
                    self._changed.wait(DISK_AGAIN_SECONDS)

    def offer(self, data: bytes) -> bool:
        """Writes all of it if there is room for it now, else, or where the disk fails, not all of it."""
        view = memoryview(data)
        with self._changed, contextlib.suppress(OSError):
            if self._closed or self._size - (self._written - self._taken) < len(data):
                return False
            while view:
                view = view[self._put(view) :]
        return not view

    def _put(self, view: memoryview) -> int:
        """How many of its bytes are in the file now. Raises OSError, nothing having been written."""
        place = self._written % self._size
        room = min(self._size - place, self._size - (self._written - self._taken))
        count = os.pwrite(self._file, view[:room], place)
        now = self._clock()
        if not self._times or now - self._times[-1][1] >= 1.0:
            self._times.append((self._written, now))
        self._written += count
        self._changed.notify_all()
        return count

    def peek(self, most: int) -> Chunk:
        """Up to `most` of the oldest bytes, which stay."""
        with self._changed:
            if self._closed:
                return Chunk(b"", self._clock())
            there = min(most, self._written - self._taken)
            place = self._taken % self._size
            data = os.pread(self._file, min(there, self._size - place), place)
            data += os.pread(self._file, there - len(data), 0) if len(data) < there else b""
            while len(self._times) > 1 and self._times[1][0] <= self._taken:
                self._times.popleft()
            return Chunk(data, self._times[0][1] if self._times else self._clock())

    def drop(self, count: int) -> None:
        with self._changed:
            self._taken += count
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        with self._changed:
            return self._written - self._taken

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            with contextlib.suppress(OSError):
                os.close(self._file)


def events_of(data: bytes, *, final: bool) -> list[bytes]:
    """`data` cut into events, each with its line's end: whole lines, and parts of lines that are too long for one.
    `final`: the last line is not waited for."""
    found: list[bytes] = []
    begin = 0
    while begin < len(data):
        end = data.find(b"\n", begin, begin + EVENT_BYTES) + 1
        if end == 0:
            if len(data) - begin < EVENT_BYTES and not final:
                break
            end = _character_boundary(data, min(len(data), begin + EVENT_BYTES), begin)
        found += _fitting(data[begin:end])
        begin = end
    return found


def _fitting(event: bytes) -> list[bytes]:
    """The event, or its parts where it is larger as text than as bytes: CloudWatch would refuse it each time anew, and
    everything behind it would wait for ever."""
    part = EVENT_BYTES // REPLACED_BYTES
    if len(event) <= part or len(message_of(event).encode()) <= EVENT_BYTES:
        return [event]
    found: list[bytes] = []
    begin = 0
    while begin < len(event):
        end = _character_boundary(event, min(len(event), begin + part), begin)
        found.append(event[begin:end])
        begin = end
    return found


def _character_boundary(data: bytes, end: int, begin: int) -> int:
    """`end`, or a little before it where that would cut a UTF-8 character in two."""
    if end == len(data):
        return end
    for back in range(4):
        if end - back > begin and data[end - back] & 0xC0 != 0x80:
            return end - back
    return end


def message_of(event: bytes) -> str:
    """What CloudWatch keeps of it, which takes no empty message. Bytes that are no UTF-8 become U+FFFD."""
    return event.rstrip(b"\r\n").decode(errors="replace") or " "


class JobLog:
    """The log of one attempt. `writer` is for the job's stdout and stderr."""

    def __init__(
        self,
        spool: Spool,
        *,
        logs: Sends,
        group: Callable[[], str],
        stream: str,
        told: Callable[..., None],
        send_every: float = SEND_EVERY_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`group` may raise OSError while it is not known; `told`: the worker's own log."""
        self._spool = spool
        self._logs = logs
        self._group = group
        self._stream = stream
        self._told = told
        self._send_every = send_every
        self._clock = clock
        self._opened = False
        self._last = b""
        self._newest = 0
        self._ended = threading.Event()
        self._give_up_at: float | None = None
        self._lock = threading.Lock()
        reader, self.writer = os.pipe()
        self._reading = threading.Thread(target=self._read, args=(reader,), name=f"log {stream}", daemon=True)
        self._sending = threading.Thread(target=self._send_all, name=f"send {stream}", daemon=True)
        self._reading.start()
        self._sending.start()

    def say(self, text: str) -> None:
        """A line of the worker's own in the job's log; never waits, and is left out of a log that is held up."""
        self._spool.offer(f"[lowtide] {text}\n".encode())

    def close_writer(self) -> None:
        """This process' end of the pipe: the log ends when the job's processes are gone."""
        with self._lock:
            if self.writer >= 0:
                os.close(self.writer)
                self.writer = -1

    def tail(self) -> str | None:
        """The end of the job's own output, once the last of its processes has ended."""
        self.close_writer()
        self._reading.join(timeout=5.0)
        return self._last.decode(errors="replace").strip() or None

    def drained(self, seconds: float) -> None:
        """Reads the job's last words, then sends everything, for at most `seconds`; the rest is lost, and said so."""
        self.close_writer()
        end = time.monotonic() + seconds
        self._read_to_the_end(end)
        self._give_up_at = end
        self._ended.set()
        self._sending.join(timeout=max(0.0, end - time.monotonic()) + 1.0)
        if self._spool.waiting:
            self._told("log-cut", stream=self._stream, lost_bytes=self._spool.waiting)
        self._spool.close()

    def _read_to_the_end(self, end: float) -> None:
        """Until the pipe is closed on the other side, or nothing has come for a while: a process that nobody found may
        hold it open for ever."""
        quiet_since = time.monotonic()
        while self._reading.is_alive() and time.monotonic() < end:
            self._reading.join(timeout=0.05)
            if self._spool.waiting:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > QUIET_SECONDS:
                return

    def _read(self, reader: int) -> None:
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            while True:
                data = pipe.read(READ_BYTES)
                if not data:
                    return
                self._last = (self._last + data)[-TAIL_BYTES:]
                self._spool.write(data)

    def _send_all(self) -> None:
        failures = 0
        while True:
            ended = self._ended.is_set()
            try:
                sent, more = self._send_one(final=ended)
                failures = 0
            except Exception as error:  # whatever it was: a log that nobody sends would hold its job up for ever
                failures += 1
                if failures in (1, 10, 100):
                    self._told("log-unsent", stream=self._stream, failures=failures, error=_words(error))
                self._opened = self._opened and not isinstance(error, aws.Refusal)
                sent, more = 0, False
            if ended and (not self._spool.waiting or self._give_up()):
                return
            if not sent or not ended:
                pause = self._send_every if not failures else min(LONGEST_WAIT_SECONDS, 0.1 * 2.0 ** min(failures, 9))
                if ended:
                    time.sleep(min(pause, 0.5))
                elif not more:
                    self._ended.wait(pause)

    def _give_up(self) -> bool:
        return self._give_up_at is not None and time.monotonic() >= self._give_up_at

    def _send_one(self, *, final: bool) -> tuple[int, bool]:
        """Bytes of the spool that are in CloudWatch now and were not before, and whether more wait that this call had
        no room for."""
        chunk = self._spool.peek(BATCH_BYTES)
        old = self._clock() - chunk.written_at >= UNENDED_LINE_SECONDS
        events = events_of(chunk.data, final=final or (old and b"\n" not in chunk.data))
        batch, size, taken = list[str](), 0, 0
        for event in events:
            message = message_of(event)
            cost = len(message.encode()) + EVENT_OVERHEAD
            if size + cost > BATCH_BYTES or len(batch) == BATCH_EVENTS:
                break
            batch.append(message)
            size, taken = size + cost, taken + len(event)
        if not batch:
            return 0, False
        self._put(batch, chunk.written_at)
        self._spool.drop(taken)
        return taken, len(batch) < len(events) or len(chunk.data) == BATCH_BYTES

    def _put(self, messages: list[str], written_at: float) -> None:
        where = {"logGroupName": self._group(), "logStreamName": self._stream}
        if not self._opened:
            try:
                self._logs.call("CreateLogStream", where)
            except aws.Refusal as error:
                if error.code != "ResourceAlreadyExistsException":
                    raise
            self._opened = True
        stamp = self._newest = max(self._newest, int(written_at * 1000))
        answer = self._logs.call(
            "PutLogEvents", {**where, "logEvents": [{"timestamp": stamp, "message": text} for text in messages]}
        )
        if answer.get("rejectedLogEventsInfo"):
            self._told("log-rejected", stream=self._stream, why=answer["rejectedLogEventsInfo"])


def _words(error: Exception) -> str:
    """For the worker's log: what AWS or the system said; of anything else its kind alone, since it may quote output."""
    return str(error)[:300] if isinstance(error, (aws.Refusal, OSError)) else type(error).__name__


def stream_name(pool: str, job_id: str, attempt: int) -> str:
    """CloudWatch takes no `:` in a name; a job id has no `%`."""
    return f"{pool}/{job_id.replace(':', '%3A')}/{attempt}"
