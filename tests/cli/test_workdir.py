"""A directory as an input: same content, same bytes; what is not needed stays out."""

import errno
import io
import os
import tarfile
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from lowtide.workdir import STILL_FRESH, TooLarge, Unpackable, pack, upload
from worker.inputs import _untar  # pyright: ignore[reportPrivateUsage] (what takes these archives)


def names_in(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        return tar.getnames()


def make(directory: Path, **files: str) -> Path:
    directory.mkdir(exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("_", ".")).write_text(text)
    return directory


def test_the_same_content_packs_to_the_same_bytes_whenever_and_wherever(tmp_path: Path) -> None:
    first = make(tmp_path / "a", train_py="x", data_txt="y")
    second = make(tmp_path / "b", data_txt="y", train_py="x")
    os.utime(second / "train.py", (1, 1))
    assert pack(first).sha256 == pack(second).sha256


def test_changed_content_has_another_name(tmp_path: Path) -> None:
    before = pack(make(tmp_path / "a", train_py="x")).key
    assert pack(make(tmp_path / "a", train_py="z")).key != before


def test_the_ignore_file_keeps_things_out(tmp_path: Path) -> None:
    directory = make(tmp_path / "a", train_py="x", big_bin="y")
    (directory / ".lowtideignore").write_text("*.bin\n")
    (directory / ".git").mkdir()
    (directory / ".git" / "config").write_text("z")
    assert names_in(pack(directory).data) == [".lowtideignore", "train.py"]


def test_a_link_out_of_the_directory_is_kept_out(tmp_path: Path) -> None:
    directory = make(tmp_path / "a", train_py="x")
    (directory / "secret").symlink_to("/etc/passwd")
    assert names_in(pack(directory).data) == ["train.py"]


def unpacked(data: bytes, place: Path) -> Path:
    """As the worker unpacks it."""
    place.mkdir()
    _untar(io.BytesIO(data), place)
    return place


def test_a_file_with_two_names_arrives_under_both(tmp_path: Path) -> None:
    directory = make(tmp_path / "a", train_py="x")
    (directory / "same.py").hardlink_to(directory / "train.py")
    arrived = unpacked(pack(directory).data, tmp_path / "there")
    assert [(arrived / name).read_text() for name in ("same.py", "train.py")] == ["x", "x"]


def test_a_link_to_a_directory_arrives(tmp_path: Path) -> None:
    directory = make(tmp_path / "a")
    make(directory / "v2", model_bin="m")
    (directory / "current").symlink_to("v2")
    arrived = unpacked(pack(directory).data, tmp_path / "there")
    assert ((arrived / "current").is_symlink(), (arrived / "current" / "model.bin").read_text()) == (True, "m")


def test_a_link_by_the_whole_path_leads_to_the_copy(tmp_path: Path) -> None:
    directory = make(tmp_path / "a")
    make(directory / "v2", model_bin="m")
    (directory / "v2" / "best").symlink_to(directory / "v2" / "model.bin")
    arrived = unpacked(pack(directory).data, tmp_path / "there")
    assert (arrived / "v2" / "best").readlink() == Path("model.bin")


@pytest.mark.parametrize("patterns", [b"\xff\xfe", b"!\n"])
def test_an_ignore_file_that_is_none_is_named(tmp_path: Path, patterns: bytes) -> None:
    directory = make(tmp_path / "a", train_py="x")
    (directory / ".lowtideignore").write_bytes(patterns)
    with pytest.raises(Unpackable, match=r"a/\.lowtideignore is no list of patterns"):
        pack(directory)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for `open`, since root may read everything."""
    directory, opened = make(tmp_path / "a", key_pem="x", train_py="x"), Path.open

    def refused(path: Path, *given: Any) -> Any:
        if path.name == "key.pem":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *given)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(Unpackable, match=r"a/key\.pem cannot be packed \(Permission denied\)"):
        pack(directory)


def test_a_directory_above_the_limit_is_refused_with_what_to_do(tmp_path: Path) -> None:
    directory = tmp_path / "a"
    directory.mkdir()
    (directory / "noise").write_bytes(os.urandom(2**20 + 4096))
    with pytest.raises(TooLarge, match=r"more than 1 MiB.*\.lowtideignore"):
        pack(directory, largest_mib=1)


def test_a_directory_far_above_the_limit_is_never_held_in_memory(tmp_path: Path) -> None:
    """`--workdir .` in the wrong place must not take the machine's memory before it says so."""
    directory = tmp_path / "a"
    directory.mkdir()
    for n in range(24):
        (directory / f"noise-{n}").write_bytes(os.urandom(2**20))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            pack(directory, largest_mib=1)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 * 2**20


class Bucket:
    """What of S3 an upload asks for: one object that was uploaded at an instant."""

    def __init__(self, uploaded_at: datetime) -> None:
        self.uploaded_at = uploaded_at
        self.put: list[str] = []

    def head_object(self, *, Bucket: str, Key: str) -> dict[str, datetime]:
        return {"LastModified": self.uploaded_at}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> None:
        self.put.append(Key)


@pytest.mark.parametrize(("age", "again"), [(STILL_FRESH, False), (STILL_FRESH + timedelta(seconds=1), True)])
def test_what_the_bucket_will_delete_before_long_is_uploaded_anew(tmp_path: Path, age: timedelta, again: bool) -> None:
    """A job that waits for weeks still finds its input."""
    now = datetime(2026, 11, 23, tzinfo=UTC)
    archive, bucket = pack(make(tmp_path / "a", train_py="x")), Bucket(now - age)
    upload(cast(Any, bucket), "b", archive, now)
    assert bool(bucket.put) is again
