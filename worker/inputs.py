"""Fetches a job's inputs into its working directory: S3 objects, hashes checked, archives unpacked inside it only."""

from __future__ import annotations

import errno
import gzip
import hashlib
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import time
import zipfile
import zlib
from pathlib import Path
from typing import IO, Callable
from urllib.error import HTTPError

from worker import boot
from worker.leases import Input

ARCHIVES = (".tar.gz", ".tgz", ".zip")
TRIES = 6
"""With waits of 1, 2, 4, 8 and 16 s between them: half a minute of S3 failing, then the lease is given back."""
TRANSIENT = frozenset(
    {
        *("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestExpired", "RequestTimeTooSkewed"),
        *("RequestTimeout", "SlowDown", "OperationAborted", "Throttling", "ThrottlingException"),
    }
)
"""S3's codes that may pass, beside every 5xx and 429. Those of the first line are about credentials or clocks."""
DISK_ERRORS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO),
        *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR),
    }
)
"""Of the instance's own disk, and of what it is asked to hold: fetching again does not help."""
UNREADABLE = (
    *(tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError),
    *(RuntimeError, ValueError),
)
"""What the library raises of an archive that is cut off, damaged, encrypted or of a kind that it does not know."""
CHUNK_BYTES = 1024 * 1024


class BadInput(Exception):
    """The job's own fault: a wrong address, hash or archive. Trying again changes nothing."""


class Unavailable(Exception):
    """S3 does not answer: the job may start elsewhere or later."""


class Stopped(Exception):
    """The attempt was stopped while it was fetching."""


class Fetcher:
    """Fetches with credentials that the job never sees."""

    def __init__(
        self, region: str, credentials: Callable[[str], boot.Credentials], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """`credentials`: those to be used for a bucket."""
        self._region = region
        self._credentials = credentials
        self._sleep = sleep

    def fetch(self, inputs: tuple[Input, ...], workdir: Path, stopped: Callable[[], bool]) -> None:
        """Puts every input into `workdir`, in order. Raises BadInput, Unavailable, or Stopped."""
        for one in inputs:
            target = inside(workdir, one.path)
            with tempfile.TemporaryFile(dir=workdir.parent) as held:
                self._download(one, held, stopped)
                _place(one, held, target, workdir, names_directory=one.path.endswith("/") or target.is_dir())

    def _download(self, one: Input, into: IO[bytes], stopped: Callable[[], bool]) -> None:
        for attempt in range(TRIES):
            try:
                found = self._copy(one, into, stopped)
            except HTTPError as error:
                code = _code(error)
                if not (error.code >= 500 or error.code == 429 or code in TRANSIENT):
                    said = f"{error.code} {code}".strip()
                    raise BadInput(f"s3://{one.bucket}/{one.key}: S3 answers {said}") from error
                self._wait_or_give_up(one, attempt, error, stopped)
            except OSError as error:
                if error.errno in DISK_ERRORS:
                    raise
                self._wait_or_give_up(one, attempt, error, stopped)
            else:
                if one.sha256 and found != one.sha256.lower():
                    raise BadInput(f"s3://{one.bucket}/{one.key}: its sha256 is {found}, not {one.sha256}")
                return

    def _role(self, bucket: str) -> boot.Credentials:
        try:
            return self._credentials(bucket)
        except HTTPError as error:  # the metadata service's 404 is not the object's
            raise OSError(f"no role credentials: {error}") from error

    def _wait_or_give_up(self, one: Input, attempt: int, error: OSError, stopped: Callable[[], bool]) -> None:
        if attempt + 1 == TRIES:
            raise Unavailable(f"s3://{one.bucket}/{one.key}: {error}") from error
        for _ in range(2**attempt):
            if stopped():
                raise Stopped from error
            self._sleep(1.0)

    def _copy(self, one: Input, into: IO[bytes], stopped: Callable[[], bool]) -> str:
        """The sha256 of what was copied."""
        into.seek(0)
        into.truncate()
        digest = hashlib.sha256()
        with boot.open_object(one.bucket, one.key, self._region, self._role(one.bucket)) as answer:
            expected = answer.headers.get("Content-Length")
            while True:
                if stopped():
                    raise Stopped
                chunk = answer.read(CHUNK_BYTES)
                if not chunk:
                    break
                digest.update(chunk)
                into.write(chunk)
        if expected is not None and into.tell() != int(expected):
            raise OSError(f"the connection ended after {into.tell()} of {expected} bytes")
        return digest.hexdigest()


def _code(error: HTTPError) -> str:
    """S3's own word, `AccessDenied`; empty where its answer has none."""
    try:
        found = re.search(rb"<Code>([A-Za-z]+)</Code>", error.read(4096))
    except (OSError, ValueError):
        return ""
    return "" if found is None else found[1].decode()


def inside(root: Path, name: str) -> Path:
    """`root/name` with every link followed. Raises BadInput when that is not in `root`."""
    place = Path(os.path.realpath(root / name))
    base = Path(os.path.realpath(root))
    if place != base and base not in place.parents:
        raise BadInput(f"the path {name!r} leaves its directory")
    return place


def _place(one: Input, held: IO[bytes], target: Path, workdir: Path, *, names_directory: bool) -> None:
    held.seek(0)
    name = one.key.rsplit("/", 1)[-1]
    try:
        if name.endswith(ARCHIVES):
            target.mkdir(parents=True, exist_ok=True)
            (_unzip if name.endswith(".zip") else _untar)(held, target)
            _refuse_links_out(target, workdir)
            return
        file = target / name if names_directory else target
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as written:
            shutil.copyfileobj(held, written)
    except UNREADABLE as error:
        raise BadInput(f"{name} cannot be unpacked: {error}") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise BadInput(f"{name} cannot be put at {one.path!r}: {error.strerror}") from error


def _untar(held: IO[bytes], target: Path) -> None:
    """Read to the end of the stream, where its checksum is: the tar in it ends before that."""
    with gzip.GzipFile(fileobj=held, mode="rb") as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
        for member in archive:
            place = _member_place(target, member.name)
            if member.isdir():
                place.mkdir(parents=True, exist_ok=True)
            elif member.isreg():
                content = archive.extractfile(member)
                if content is not None:
                    _write(place, content, member.mode)
            elif member.issym():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(member.linkname)
            else:
                raise BadInput(f"{member.name!r} is neither a file, a directory nor a symbolic link")
        while stream.read(CHUNK_BYTES):
            pass


def _unzip(held: IO[bytes], target: Path) -> None:
    with zipfile.ZipFile(held) as archive:
        for member in archive.infolist():
            mode = member.external_attr >> 16
            place = _member_place(target, member.filename)
            if member.is_dir():
                place.mkdir(parents=True, exist_ok=True)
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise BadInput(f"{member.filename!r} is neither a file nor a directory")
            else:
                with archive.open(member) as content:
                    _write(place, content, mode)


def _member_place(target: Path, name: str) -> Path:
    """Where a member goes. Its parent is looked at as it is now, links of earlier members followed."""
    if name.startswith("/") or ".." in Path(name).parts:
        raise BadInput(f"the archive's member {name!r} leaves its directory")
    parent = inside(target, str(Path(name).parent))
    return parent / Path(name).name


def _write(place: Path, content: IO[bytes], mode: int) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() or place.is_file():
        place.unlink()
    with place.open("wb") as written:
        shutil.copyfileobj(content, written)
    place.chmod(0o755 if mode & stat.S_IXUSR else 0o644)


def _refuse_links_out(target: Path, workdir: Path) -> None:
    """Checks every link after the last member: one that was harmless when made may lead out through a later one."""
    for folder, directories, files in os.walk(target):
        for name in (*directories, *files):
            place = Path(folder, name)
            if place.is_symlink():
                inside(workdir, str(place))
