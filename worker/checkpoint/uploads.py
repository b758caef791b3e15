"""New contents on their way into the bucket: in pieces, small ones together, several objects at once."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Protocol

from worker.checkpoint.saves import Piece, Where

PIECE_BYTES = 16 * 2**20
"""A changed byte costs the upload of so much; S3 takes 16 MiB on one connection in some 0.2 s."""
SMALL_BYTES = 2**20
"""Smaller pieces share objects of up to PIECE_BYTES: 10,000 files of 100 KiB are 63 requests, not 10,000."""
UPLOADS = 8
"""At once; each holds one object's bytes in memory: 128 MiB."""


class Store(Protocol):
    """The bucket. Every method raises OSError for what may work later."""

    def put(self, key: str, body: bytes) -> None: ...
    def get(self, key: str) -> bytes | None: ...
    def delete(self, key: str) -> None: ...
    def keys(self, prefix: str) -> list[str]: ...


class Uploads:
    """New pieces on their way into data objects. Raises OSError from `add`, `finish` and at the end of its block."""

    def __init__(
        self,
        store: Store,
        prefix: str,
        next_name: Callable[[], str],
        clock: Callable[[], float],
        wanted: Callable[[], bool],
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._next_name = next_name
        self._clock = clock
        self._wanted = wanted
        self.sent = 0
        """Bytes that were to be uploaded."""
        self.uploaded: dict[Piece, Where] = {}
        """What S3 has acknowledged."""
        self._asked = set[Piece]()
        self._shared = bytearray()
        self._shared_pieces: dict[Piece, int] = {}
        self._pool = ThreadPoolExecutor(UPLOADS)
        self._room = threading.Semaphore(UPLOADS)
        self._running: list[Future[None]] = []

    def __enter__(self) -> Uploads:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True)

    def add(self, piece: Piece, content: bytes) -> None:
        if piece in self._asked:
            return
        self._asked.add(piece)
        self.sent += piece.size
        if piece.size >= SMALL_BYTES:
            self._upload({piece: 0}, content)
            return
        self._shared_pieces[piece] = len(self._shared)
        self._shared += content
        if len(self._shared) >= PIECE_BYTES:
            self._flush()

    def finish(self) -> None:
        """Returns when everything is uploaded."""
        self._flush()
        for one in self._running:
            one.result()

    def _flush(self) -> None:
        if self._shared:
            self._upload(self._shared_pieces, bytes(self._shared))
            self._shared, self._shared_pieces = bytearray(), {}

    def _upload(self, offsets: dict[Piece, int], body: bytes) -> None:
        for one in self._running:
            if one.done():
                one.result()  # a failure ends the save before the rest is read
        name, now = self._next_name(), self._clock()
        places = {piece: Where(name, offset, now) for piece, offset in offsets.items()}
        self._room.acquire()
        self._running.append(self._pool.submit(self._put, name, body, places))

    def _put(self, name: str, body: bytes, places: dict[Piece, Where]) -> None:
        try:
            if self._wanted():
                self._store.put(self._prefix + name, body)
                self.uploaded.update(places)
        finally:
            self._room.release()
