"""A directory as it is at a save: what is in it, and the contents of what may have changed, each file as it was at one
instant or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Callable, NamedTuple

from worker.checkpoint import uploads
from worker.checkpoint.saves import File, Piece, Tree

SETTLED_SECONDS = 0.02
"""A file changed less long ago is not read yet: the kernel's clock of changes has steps of 4 to 10 ms."""
TRIES = 3
"""For a file that changes while it is copied; then its last saved contents stay."""


class Stamp(NamedTuple):
    """What changes when a file does."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        return cls(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Scan:
    """One look, which hands contents that the bucket lacks to `into`. Raises OSError where these cannot be uploaded."""

    def __init__(
        self,
        directory: Path,
        *,
        owner: int | None,
        last: Tree,
        stamps: dict[str, Stamp],
        stored: Callable[[Piece], bool],
        into: uploads.Uploads,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        """`last`: the newest save, and `stamps` its files' stamps: where a file's is the same, it has not changed.
        `stored`: whether the bucket has a piece and will keep it."""
        self.tree = Tree({}, {}, {})
        self.stamps: dict[str, Stamp] = {}
        self.unsettled: list[str] = []
        """Files that changed whenever they were copied."""
        self.foreign = 0
        """Files of other users and things that are neither file, link nor directory."""
        self._directory = directory
        self._owner = owner
        self._last = last
        self._last_stamps = stamps
        self._stored = stored
        self._into = into
        self._clock = clock
        self._sleep = sleep
        self._hollow: Piece | None = None
        """A piece of zeros, once there was one."""

    def look(self) -> None:
        for folder, directories, files, descriptor in os.fwalk(
            self._directory, onerror=_raise_unless_gone, follow_symlinks=False
        ):
            base = Path(folder).relative_to(self._directory)
            for name in (*directories, *files):
                try:
                    self._add((base / name).as_posix(), name, descriptor)
                except FileNotFoundError:  # removed while we looked
                    continue

    def _add(self, path: str, name: str, folder: int) -> None:
        status = os.lstat(name, dir_fd=folder)
        if not _savable(path) or (self._owner is not None and status.st_uid != self._owner):
            self.foreign += 1
        elif stat.S_ISLNK(status.st_mode):
            self.tree.links[path] = os.readlink(name, dir_fd=folder)
        elif stat.S_ISDIR(status.st_mode):
            self.tree.directories[path] = stat.S_IMODE(status.st_mode)
        elif not stat.S_ISREG(status.st_mode):
            self.foreign += 1
        else:
            self._add_file(path, name, folder, status)

    def _add_file(self, path: str, name: str, folder: int, status: os.stat_result) -> None:
        mode, last = stat.S_IMODE(status.st_mode), self._last.files.get(path)
        unchanged = last is not None and self._last_stamps.get(path) == Stamp.of(status)
        if last is not None and unchanged and all(map(self._stored, last.pieces)):
            self.tree.files[path] = File(mode, last.pieces)
            self.stamps[path] = Stamp.of(status)
            return
        for _ in range(TRIES):
            copied = self._copy(name, folder)
            if copied is not None:
                self.stamps[path], pieces = copied
                self.tree.files[path] = File(mode, pieces)
                return
        self.unsettled.append(path)
        if last is not None:
            self.tree.files[path] = last

    def _copy(self, name: str, folder: int) -> tuple[Stamp, tuple[Piece, ...]] | None:
        """None: it changed meanwhile. A link put in its place is not followed."""
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder), "rb") as file:  # noqa: PTH123 - by descriptor
            before = os.fstat(file.fileno())
            age = self._clock() - before.st_ctime
            if 0 <= age < SETTLED_SECONDS:
                self._sleep(SETTLED_SECONDS)
                if Stamp.of(os.fstat(file.fileno())) != Stamp.of(before):
                    return None
            if before.st_size < uploads.SMALL_BYTES:
                content = file.read(uploads.SMALL_BYTES + 1)
                if Stamp.of(os.fstat(file.fileno())) != Stamp.of(before) or len(content) != before.st_size:
                    return None
                return Stamp.of(before), tuple(self._piece(part) for part in (content,) if part)
            pieces = tuple(self._pieces(file, before.st_size))
            return (Stamp.of(before), pieces) if Stamp.of(os.fstat(file.fileno())) == Stamp.of(before) else None

    def _pieces(self, file: IO[bytes], size: int) -> Iterator[Piece]:
        """Of a file to its end. Holes are not read: a sparse file may be a thousand times as long as what is in it."""
        offset = 0
        while True:
            for _ in range((_data_after(file, offset, size) - offset) // uploads.PIECE_BYTES):
                self._hollow = self._hollow or self._piece(bytes(uploads.PIECE_BYTES))
                offset += uploads.PIECE_BYTES
                yield self._hollow
            content = os.pread(file.fileno(), uploads.PIECE_BYTES, offset)
            if not content:
                return
            offset += len(content)
            yield self._piece(content)

    def _piece(self, content: bytes) -> Piece:
        piece = Piece(hashlib.sha256(content).hexdigest(), len(content))
        if not self._stored(piece):
            self._into.add(piece, content)
        return piece


def _raise_unless_gone(error: OSError) -> None:
    """A directory that cannot be looked into ends the save: without what is in it the save would not be whole, and
    would take the place of one that is."""
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error


def _data_after(file: IO[bytes], offset: int, size: int) -> int:
    """Where the next bytes are that are no hole; `offset` on a file system that does not tell."""
    try:
        return os.lseek(file.fileno(), offset, os.SEEK_DATA)
    except OSError as error:
        return size if error.errno == errno.ENXIO else offset


def _savable(path: str) -> bool:
    """Names that are no UTF-8 cannot be written into a save."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
