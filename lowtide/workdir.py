"""A directory as one job input: packed the same way every time, named by its content, uploaded once.

Files that `.lowtideignore` names (the patterns of .gitignore) stay out, as do `.git` and `__pycache__`.
"""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pathspec
from botocore.exceptions import ClientError

from lambdas import names

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

IGNORE_FILE = ".lowtideignore"
ALWAYS_LEFT_OUT = (".git/", "__pycache__/", "*.pyc")
LARGEST_MIB = 512
"""Packed size that is still uploaded without being asked for: every attempt of every job downloads it again."""


class TooLarge(ValueError):
    """The packed directory is above the limit."""


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

    Raises TooLarge above `largest_mib`, NotADirectoryError for anything that is not a directory."""
    if not directory.is_dir():
        raise NotADirectoryError(f"{directory} is not a directory")
    raw = io.BytesIO()
    count = 0
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in _files(directory):
            tar.add(path, arcname=str(path.relative_to(directory)), recursive=False, filter=_plain)
            count += 1
    data = gzip.compress(raw.getvalue(), mtime=0)
    if len(data) > largest_mib * 2**20:
        size = len(data) / 2**20
        raise TooLarge(
            f"{directory} packs to {size:.0f} MiB, above {largest_mib}: name what is not needed in {IGNORE_FILE}, "
            "put large data in S3 and list it in inputs, or raise --workdir-limit"
        )
    return Archive(data=data, sha256=hashlib.sha256(data).hexdigest(), files=count)


def upload(s3: "S3Client", bucket: str, archive: Archive) -> str:
    """The `s3://` address of the archive, uploaded unless it is there already."""
    try:
        s3.head_object(Bucket=bucket, Key=archive.key)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") not in (403, 404):
            raise
        s3.put_object(Bucket=bucket, Key=archive.key, Body=archive.data)
    return f"s3://{bucket}/{archive.key}"


def _files(directory: Path) -> Iterator[Path]:
    """Files and links to files in a fixed order; links that lead out of the directory are not followed but kept out."""
    ignore = directory / IGNORE_FILE
    lines = ignore.read_text(encoding="utf-8").splitlines() if ignore.is_file() else []
    spec = pathspec.GitIgnoreSpec.from_lines([*ALWAYS_LEFT_OUT, *lines])
    root = directory.resolve()
    for path in sorted(directory.rglob("*")):
        if (
            path.is_file()
            and not spec.match_file(str(path.relative_to(directory)))
            and path.resolve().is_relative_to(root)
        ):
            yield path


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    entry.mode = 0o755 if entry.mode & 0o100 else 0o644
    return entry
