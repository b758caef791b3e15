"""A job's checkpoint directory in the stack's bucket: complete saves, only what changed, the newest lease wins.

    checkpoints/<pool>/<job>/data/<fence>-<number>             contents of files, each written once
    checkpoints/<pool>/<job>/saves/<fence>-<number>.json.gz    one save: which file is which bytes of which data

A save is its manifest, and that is written last: until then nothing can see it. The newest save is the last key in the
order of their text, fence first. An attempt begins by publishing, under its own fence, the save that it restored (or an
empty one); from then on nothing that an older attempt still publishes can count, whatever is cut off, late or repeated.

Contents are cut into pieces; a piece whose hash the last save holds is not uploaded again. Small pieces share a data
object. Data that no save needs is deleted, but only once a heartbeat that began after the newest save was published has
confirmed the lease: a later attempt then sees that save or a newer one, and never one that needed what is deleted.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, NamedTuple, Protocol

PIECE_BYTES = 16 * 2**20
"""A changed byte costs the upload of so much; S3 takes 16 MiB on one connection in some 0.2 s."""
SMALL_BYTES = 2**20
"""Smaller pieces share objects of up to PIECE_BYTES: 10,000 files of 100 KiB are 63 requests, not 10,000."""
UPLOADS = 8
"""At once; each holds one object's bytes in memory: 128 MiB."""
SETTLED_SECONDS = 0.02
"""A file changed less long ago is not read yet: the kernel's clock of changes has steps of 4 to 10 ms."""
TRIES = 3
"""For a file that changes while it is copied; then its last saved contents stay."""
REWRITE_AFTER_SECONDS = 30 * 24 * 3600.0
"""Data is uploaded anew when it is so old, since the bucket deletes it by its age (infra/storage.py: 90 days)."""
FORMAT = 1


class Store(Protocol):
    """The bucket. Every method raises OSError for what may work later."""

    def put(self, key: str, body: bytes) -> None: ...
    def get(self, key: str) -> bytes | None: ...
    def delete(self, key: str) -> None: ...
    def keys(self, prefix: str) -> list[str]: ...


class Piece(NamedTuple):
    sha256: str
    size: int


class Where(NamedTuple):
    """A piece's place: object, first byte, and when it was uploaded (Unix time)."""

    data: str
    offset: int
    written_at: float


class Stamp(NamedTuple):
    """What changes when a file does."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        return cls(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class File(NamedTuple):
    mode: int
    pieces: tuple[Piece, ...]


class Tree(NamedTuple):
    """What a save holds; every path is relative."""

    files: dict[str, File]
    links: dict[str, str]
    directories: dict[str, int]


EMPTY = Tree({}, {}, {})


class Report(NamedTuple):
    """What a save did."""

    files: int
    uploaded_bytes: int
    seconds: float
    unsettled: tuple[str, ...]
    """Files that changed whenever they were copied: their last saved contents, if any, were kept."""
    foreign: int
    """Files of other users and things that are neither file, link nor directory: never saved."""


class Damaged(Exception):
    """A save that cannot be read back whole."""


class Checkpoint:
    """One attempt's. Its methods are called by one thread at a time, `confirm` by any.

    Every method raises OSError when S3 cannot be had; then the newest complete save is what it was before, and the
    next call goes on with what had been uploaded."""

    def __init__(
        self,
        store: Store,
        *,
        pool: str,
        job_id: str,
        fence: int,
        directory: Path,
        owner: int | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`owner`: the user whose files are saved; None: any."""
        self._store = store
        self._prefix = f"checkpoints/{pool}/{job_id}/"
        self._fence = fence
        self._directory = directory
        self._owner = owner
        self._clock = clock
        self._sleep = sleep
        self._saves = 0
        self._data = 0
        self._tree = EMPTY
        """Of the newest save."""
        self._known: dict[Piece, Where] = {}
        self._stamps: dict[str, Stamp] = {}
        self._published_at: float | None = None
        """Monotonic; None: nothing since data was last deleted."""
        self._confirmed_at = -1.0

    # --- before the job -----------------------------------------------------------------------------------------------

    def restore(self) -> tuple[int, list[str]]:
        """Fills the directory, which is empty, from the newest save that is whole, and makes that this attempt's own.

        The number of files, and what was wrong with newer saves. No save: 0 files."""
        wrong = list[str]()
        for key in reversed(self._store.keys(f"{self._prefix}saves/")):
            try:
                tree, places = self._read_save(key)
                self._fetch(tree, places)
            except Damaged as error:
                wrong.append(f"{key.rsplit('/', 1)[-1]}: {error}")
                _clear(self._directory)
                continue
            self._tree, self._known = tree, places
            break
        self._publish(self._tree)
        return len(self._tree.files), wrong

    def settle(self) -> None:
        """What was restored is unchanged as it is now: to be called when its owners have been set."""
        self._stamps = {path: Stamp.of(os.lstat(self._directory / path)) for path in self._tree.files}

    def _read_save(self, key: str) -> tuple[Tree, dict[Piece, Where]]:
        body = self._store.get(key)
        if body is None:
            raise Damaged("it is gone")
        try:
            given = json.loads(gzip.decompress(body))
            if given["format"] != FORMAT:
                raise Damaged(f"its format is {given['format']}, this worker reads {FORMAT}")
            return _parsed(given)
        except (ValueError, KeyError, TypeError, EOFError, OSError) as error:
            raise Damaged(f"it cannot be read ({error!r})") from error

    def _fetch(self, tree: Tree, places: dict[Piece, Where]) -> None:
        """Files first, links last, so that nothing is ever written through a link."""
        for path in sorted(tree.directories):
            _inside(self._directory, path).mkdir(parents=True, exist_ok=True)
        wanted = dict[str, list[tuple[int, Piece, str, int]]]()
        for path, file in tree.files.items():
            target = _inside(self._directory, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as made:
                made.truncate(sum(piece.size for piece in file.pieces))
            begin = 0
            for piece in file.pieces:
                where = places[piece]
                wanted.setdefault(where.data, []).append((where.offset, piece, path, begin))
                begin += piece.size
        with ThreadPoolExecutor(UPLOADS) as pool:
            for done in [pool.submit(self._fetch_data, name, parts) for name, parts in wanted.items()]:
                done.result()
        for path, file in tree.files.items():
            (self._directory / path).chmod(file.mode)
        for path, target in tree.links.items():
            place = _inside(self._directory, path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(target)
        for path, mode in sorted(tree.directories.items(), reverse=True):
            (self._directory / path).chmod(mode)

    def _fetch_data(self, name: str, parts: list[tuple[int, Piece, str, int]]) -> None:
        content = self._store.get(f"{self._prefix}data/{name}")
        if content is None:
            raise Damaged(f"its data {name} is gone")
        for offset, piece, path, begin in parts:
            part = content[offset : offset + piece.size]
            if hashlib.sha256(part).hexdigest() != piece.sha256:
                raise Damaged(f"its data {name} is not what was saved")
            with (self._directory / path).open("r+b") as made:
                made.seek(begin)
                made.write(part)

    # --- while it runs ------------------------------------------------------------------------------------------------

    def save(self, wanted: Callable[[], bool] = lambda: True) -> Report | None:
        """Publishes the directory as it is. None: nothing has changed since the last save, or it is not `wanted` any
        more, which is asked before each upload and before the save is published."""
        begin = time.monotonic()
        self._delete_old()
        with _Uploads(self._store, f"{self._prefix}data/", self._next_data, self._clock, wanted) as uploads:
            try:
                tree, stamps, unsettled, foreign = self._look(uploads)
                uploads.finish()
            finally:
                self._known.update(uploads.uploaded)
        if not wanted():
            return None
        changed = tree != self._tree
        if changed or uploads.sent:
            self._publish(tree)
        self._stamps = stamps
        if not changed and not uploads.sent:
            return None
        return Report(len(tree.files), uploads.sent, time.monotonic() - begin, tuple(unsettled), foreign)

    def confirm(self, began_at: float) -> None:
        """A heartbeat that began at this instant (monotonic) was answered, and the lease was still ours."""
        self._confirmed_at = max(self._confirmed_at, began_at)

    def _look(self, uploads: _Uploads) -> tuple[Tree, dict[str, Stamp], list[str], int]:
        found, stamps, unsettled, foreign = Tree({}, {}, {}), dict[str, Stamp](), list[str](), 0
        for folder, directories, files, descriptor in os.fwalk(self._directory, follow_symlinks=False):
            base = Path(folder).relative_to(self._directory)
            for name in (*directories, *files):
                path = (base / name).as_posix()
                try:
                    status = os.lstat(name, dir_fd=descriptor)
                    if not _savable(path) or (self._owner is not None and status.st_uid != self._owner):
                        foreign += 1
                    elif stat.S_ISLNK(status.st_mode):
                        found.links[path] = os.readlink(name, dir_fd=descriptor)
                    elif stat.S_ISDIR(status.st_mode):
                        found.directories[path] = stat.S_IMODE(status.st_mode)
                    elif not stat.S_ISREG(status.st_mode):
                        foreign += 1
                    else:
                        self._add_file(path, name, descriptor, status, uploads, found, stamps, unsettled)
                except FileNotFoundError:  # removed while we looked
                    continue
        return found, stamps, unsettled, foreign

    def _add_file(
        self,
        path: str,
        name: str,
        folder: int,
        status: os.stat_result,
        uploads: _Uploads,
        found: Tree,
        stamps: dict[str, Stamp],
        unsettled: list[str],
    ) -> None:
        mode, last = stat.S_IMODE(status.st_mode), self._tree.files.get(path)
        if last is not None and self._stamps.get(path) == Stamp.of(status) and self._fresh(last):
            found.files[path] = File(mode, last.pieces)
            stamps[path] = Stamp.of(status)
            return
        for _ in range(TRIES):
            copied = self._copy(name, folder, uploads)
            if copied is not None:
                stamps[path], pieces = copied
                found.files[path] = File(mode, pieces)
                return
        unsettled.append(path)
        if last is not None:
            found.files[path] = last

    def _fresh(self, file: File) -> bool:
        oldest = self._clock() - REWRITE_AFTER_SECONDS
        return all(piece in self._known and self._known[piece].written_at > oldest for piece in file.pieces)

    def _copy(self, name: str, folder: int, uploads: _Uploads) -> tuple[Stamp, tuple[Piece, ...]] | None:
        """None: it changed meanwhile. A link put in its place is not followed."""
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder), "rb") as file:  # noqa: PTH123 - by descriptor
            before = os.fstat(file.fileno())
            age = self._clock() - before.st_ctime
            if 0 <= age < SETTLED_SECONDS:
                self._sleep(SETTLED_SECONDS)
                if Stamp.of(os.fstat(file.fileno())) != Stamp.of(before):
                    return None
            if before.st_size < SMALL_BYTES:
                content = file.read(SMALL_BYTES + 1)
                if Stamp.of(os.fstat(file.fileno())) != Stamp.of(before) or len(content) != before.st_size:
                    return None
                return Stamp.of(before), tuple(self._piece(part, uploads) for part in (content,) if part)
            pieces = tuple(self._piece(part, uploads) for part in iter(lambda: file.read(PIECE_BYTES), b""))
            return (Stamp.of(before), pieces) if Stamp.of(os.fstat(file.fileno())) == Stamp.of(before) else None

    def _piece(self, content: bytes, uploads: _Uploads) -> Piece:
        piece = Piece(hashlib.sha256(content).hexdigest(), len(content))
        known = self._known.get(piece)
        if known is None or known.written_at <= self._clock() - REWRITE_AFTER_SECONDS:
            uploads.add(piece, content)
        return piece

    def _next_data(self) -> str:
        self._data += 1
        return f"{self._fence:08d}-{self._data:08d}"

    def _publish(self, tree: Tree) -> None:
        used = {piece for file in tree.files.values() for piece in file.pieces}
        places = {piece: where for piece, where in self._known.items() if piece in used}
        self._saves += 1
        body = gzip.compress(json.dumps(_document(tree, places), separators=(",", ":")).encode(), 1)
        self._store.put(self._save_key(self._saves), body)
        self._tree, self._published_at = tree, time.monotonic()

    def _save_key(self, number: int) -> str:
        return f"{self._prefix}saves/{self._fence:08d}-{number:08d}.json.gz"

    def _delete_old(self) -> None:
        """What the newest save does not need: safe only with the lease confirmed since it was published."""
        if self._published_at is None or self._confirmed_at < self._published_at:
            return
        used = {piece for file in self._tree.files.values() for piece in file.pieces}
        self._known = {piece: where for piece, where in self._known.items() if piece in used}
        keep = {f"{self._prefix}data/{where.data}" for where in self._known.values()}
        keep.add(self._save_key(self._saves))
        ours = f"{self._fence + 1:08d}"
        gone = [key for key in self._store.keys(self._prefix) if key not in keep and key.rsplit("/", 1)[-1] < ours]
        for key in sorted(gone, key=lambda one: "/saves/" not in one):  # saves before the data that they need
            self._store.delete(key)
        self._published_at = None


class _Uploads:
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

    def __enter__(self) -> _Uploads:
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


def _document(tree: Tree, places: dict[Piece, Where]) -> dict[str, Any]:
    names = sorted({where.data for where in places.values()})
    number = {name: index for index, name in enumerate(names)}
    numbers = {piece: index for index, piece in enumerate(places)}
    return {
        "format": FORMAT,
        "data": names,
        "pieces": [[p.sha256, p.size, number[w.data], w.offset, w.written_at] for p, w in places.items()],
        "files": [[path, f.mode, [numbers[piece] for piece in f.pieces]] for path, f in tree.files.items()],
        "links": list(tree.links.items()),
        "directories": list(tree.directories.items()),
    }


def _parsed(given: dict[str, Any]) -> tuple[Tree, dict[Piece, Where]]:
    names = given["data"]
    pieces = [Piece(sha, size) for sha, size, *_ in given["pieces"]]
    places = {
        piece: Where(names[data], offset, written_at)
        for piece, (_, _, data, offset, written_at) in zip(pieces, given["pieces"])
    }
    listed: list[tuple[str, int, list[int]]] = given["files"]
    files = {path: File(mode, tuple(pieces[index] for index in held)) for path, mode, held in listed}
    return Tree(files, dict(given["links"]), dict(given["directories"])), places


def _savable(path: str) -> bool:
    """Names that are no UTF-8 cannot be written into a save."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _inside(root: Path, path: str) -> Path:
    if path.startswith("/") or ".." in path.split("/"):
        raise Damaged(f"the path {path!r} leaves its directory")
    return root / path


def _clear(directory: Path) -> None:
    for folder, directories, files in _bottom_up(directory):
        for name in files:
            (folder / name).unlink()
        for name in directories:
            place = folder / name
            place.unlink() if place.is_symlink() else place.rmdir()


def _bottom_up(directory: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    for folder, directories, files in os.walk(directory, topdown=False):
        yield Path(folder), directories, files
