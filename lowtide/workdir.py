"""A directory as one job input: packed the same way every time, named by its content, uploaded once.

Files that `.lowtideignore` names (the patterns of .gitignore) stay out, as do `.git` and `__pycache__`.
"""

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pathspec
from botocore.exceptions import ClientError

from lambdas import names

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

IGNORE_FILE = ".lowtideignore"
ALWAYS_LEFT_OUT = (".git/", "__pycache__/", "*.pyc")
LARGEST_MIB = 512
"""Packed size that is still uploaded without being asked for: every attempt of every job downloads it again."""

STILL_FRESH = timedelta(days=names.INPUTS_KEPT_DAYS) / 2
"""The bucket deletes inputs some time after their upload; one that is older than this is uploaded anew."""


class TooLarge(ValueError):
    """The packed directory is above the limit."""


class Unpackable(ValueError):
    """A file of the directory cannot be read, or changed while it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    data: bytes
    sha256: str
    files: int

    @property
    def key(self) -> str:
        return f"{names.PREFIX_INPUTS}{self.sha256}.tar.gz"


def pack(directory: Path, *, largest_mib: int = LARGEST_MIB) -> Archive:
    """A .tar.gz of the directory: same content, same bytes (owners, times and order are not content).

    Never more than that is held in memory, whatever lies in the directory. Raises TooLarge above `largest_mib`,
    Unpackable, NotADirectoryError for anything that is not a directory."""
    if not directory.is_dir():
        raise NotADirectoryError(f"{directory} is not a directory")
    packed = _Bounded(largest_mib * 2**20)
    count = 0
    try:
        with (
            gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0) as compressed,
            tarfile.open(fileobj=compressed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            for path in _files(directory):
                _add(tar, path, str(path.relative_to(directory)))
                count += 1
    except _Full as full:
        raise TooLarge(
            f"{directory} packs to more than {largest_mib} MiB: name what is not needed in {IGNORE_FILE}, "
            "put large data in S3 and list it in inputs, or raise --workdir-limit"
        ) from full
    except OSError as error:
        raise Unpackable(
            f"{error.filename or directory} cannot be packed ({error.strerror or error}): make it readable and leave "
            f"it alone meanwhile, or name it in {IGNORE_FILE}"
        ) from error
    data = packed.getvalue()
    return Archive(data=data, sha256=hashlib.sha256(data).hexdigest(), files=count)


class _Full(Exception):
    """More was written than there is room for."""


class _Bounded(io.BytesIO):
    """Memory for at most `most` bytes."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._left = most

    def write(self, data: Any, /) -> int:
        """Once it is full it takes what its writers still flush, and keeps none of it."""
        if self._left < 0:
            return len(data)
        self._left -= len(data)
        if self._left < 0:
            raise _Full
        return super().write(data)


def upload(s3: "S3Client", bucket: str, archive: Archive, now: datetime) -> str:
    """The `s3://` address of the archive, uploaded unless it is there and will stay for a while."""
    uploaded_at = _uploaded_at(s3, bucket, archive)
    if uploaded_at is None or now - uploaded_at > STILL_FRESH:
        s3.put_object(Bucket=bucket, Key=archive.key, Body=archive.data)
    return f"s3://{bucket}/{archive.key}"


def _uploaded_at(s3: "S3Client", bucket: str, archive: Archive) -> datetime | None:
    try:
        return s3.head_object(Bucket=bucket, Key=archive.key)["LastModified"]
    except ClientError as error:
        # Without s3:ListBucket, S3 says 403 of an object that is not there.
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") not in (403, 404):
            raise
        return None


def _files(directory: Path) -> Iterator[Path]:
    """Files and links in a fixed order; links that lead out of the directory or nowhere are kept out."""
    spec = _ignored(directory / IGNORE_FILE)
    root = directory.resolve()
    for path in sorted(directory.rglob("*")):
        if (
            (path.is_file() or (path.is_symlink() and path.is_dir()))
            and not spec.match_file(str(path.relative_to(directory)))
            and path.resolve().is_relative_to(root)
        ):
            yield path


def _ignored(file: Path) -> pathspec.GitIgnoreSpec:
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        return pathspec.GitIgnoreSpec.from_lines([*ALWAYS_LEFT_OUT, *lines])
    except ValueError as error:
        raise Unpackable(f"{file} is no list of patterns ({error}): write it in UTF-8, as a .gitignore") from error


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    """The worker takes files and links inside the directory alone: a hard link is packed as the file that it is, and a
    link as one from its own place, since the directory has another path there."""
    entry = _plain(tar.gettarinfo(path, arcname=name))
    if entry.issym():
        entry.linkname = os.path.relpath(path.resolve(), path.parent.resolve())
        tar.addfile(entry)
        return
    with path.open("rb") as content:
        entry.type, entry.linkname, entry.size = tarfile.REGTYPE, "", os.fstat(content.fileno()).st_size
        tar.addfile(entry, content)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    entry.mode = 0o755 if entry.mode & 0o100 else 0o644
    return entry
