"""Inputs: fetched over HTTP, checked, unpacked; nothing ever leaves the working directory."""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.worker.control import Control
from worker import boot
from worker.inputs import TRIES, BadInput, Fetcher, Stopped, Unavailable
from worker.leases import Input

KEYS = boot.Credentials("AKID", "secret", "", "2099-01-01T00:00:00Z")


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    place = tmp_path / "attempt" / "work"
    place.mkdir(parents=True)
    return place


def fetch(workdir: Path, key: str, path: str = ".", sha256: str | None = None) -> None:
    waits: list[float] = []
    fetcher = Fetcher("us-east-1", lambda _bucket: KEYS, sleep=waits.append)
    fetcher.fetch((Input("b", key, path, sha256),), workdir, lambda: False)


def tar(*members: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return held.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(("path", "expected"), [(".", "data.csv"), ("in/", "in/data.csv"), ("in/x.csv", "in/x.csv")])
def test_a_plain_object_goes_where_its_path_says(control: Control, workdir: Path, path: str, expected: str) -> None:
    control.objects["/b/some/data.csv"] = b"1,2"
    fetch(workdir, "some/data.csv", path, hashlib.sha256(b"1,2").hexdigest())
    assert (workdir / expected).read_bytes() == b"1,2"


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz"])
def test_a_tar_archive_is_unpacked(control: Control, workdir: Path, name: str) -> None:
    control.objects[f"/b/{name}"] = tar(("./src/main.py", b"pass"), link("src/again.py", "main.py"))
    fetch(workdir, name, "code")
    assert (workdir / "code/src/again.py").read_bytes() == b"pass"


def test_a_zip_archive_is_unpacked_and_keeps_what_is_executable(control: Control, workdir: Path) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        info = zipfile.ZipInfo("run.sh")
        info.external_attr = 0o104755 << 16
        archive.writestr(info, "#!/bin/sh\n")
        archive.writestr("sub/data", "x")
    control.objects["/b/a.zip"] = held.getvalue()
    fetch(workdir, "a.zip")
    assert (workdir / "run.sh").stat().st_mode & 0o7777 == 0o755
    assert (workdir / "sub/data").read_text() == "x"


def test_another_hash_than_the_jobs_is_refused(control: Control, workdir: Path) -> None:
    control.objects["/b/k"] = b"changed"
    with pytest.raises(BadInput, match="its sha256 is"):
        fetch(workdir, "k", "k", "0" * 64)
    assert not list(workdir.iterdir())


def test_an_object_that_is_not_there_is_the_jobs_fault(control: Control, workdir: Path) -> None:
    with pytest.raises(BadInput, match="404"):
        fetch(workdir, "missing")


def _device() -> bytes:
    info = tarfile.TarInfo("dev")
    info.type = tarfile.CHRTYPE
    return tar(info)


def _zip_with(name: str, mode: int = 0) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, "/etc/passwd")
    return held.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("up.tgz", tar(("../outside", b"x"))),
        ("absolute.tgz", tar(("/tmp/outside", b"x"))),
        ("link.tgz", tar(link("out", "../.."))),
        ("through.tgz", tar(link("out", ".."), ("out/outside", b"x"))),
        ("chain.tgz", tar(link("x", "y/.."), link("y", "."), ("x/outside", b"x"))),
        ("late.tgz", tar(link("x", "y/.."), link("y", "."))),
        ("hard.tgz", tar(link("out", "/etc/passwd", tarfile.LNKTYPE))),
        ("device.tgz", _device()),
        ("up.zip", _zip_with("../outside")),
        ("link.zip", _zip_with("out", 0o120777)),
        ("broken.tgz", b"not an archive"),
        ("broken.zip", b"not an archive"),
    ],
    ids=lambda given: given if isinstance(given, str) else "archive",  # a gzip's bytes tell the second it was made in
)
def test_an_unsafe_or_broken_archive_is_refused_and_writes_nothing_outside(
    control: Control, workdir: Path, name: str, content: bytes
) -> None:
    control.objects[f"/b/{name}"] = content
    with pytest.raises(BadInput):
        fetch(workdir, name)
    assert [entry.name for entry in workdir.parent.iterdir()] == ["work"]
    assert not list(workdir.parent.parent.rglob("outside"))


def test_an_input_cannot_be_put_outside_the_working_directory(control: Control, workdir: Path) -> None:
    control.objects["/b/k"] = b"x"
    with pytest.raises(BadInput, match="leaves its directory"):
        fetch(workdir, "k", "../k")


def test_a_file_is_not_written_through_a_link_of_an_earlier_input(control: Control, workdir: Path) -> None:
    (workdir / "out").symlink_to(workdir.parent)
    control.objects["/b/k"] = b"x"
    with pytest.raises(BadInput, match="leaves its directory"):
        fetch(workdir, "k", "out/k")


def test_s3_that_does_not_answer_is_asked_again_and_then_is_nobodys_fault(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    waits: list[float] = []
    with pytest.raises(Unavailable):
        Fetcher("us-east-1", lambda _bucket: KEYS, waits.append).fetch(
            (Input("b", "k", ".", None),), workdir, lambda: False
        )
    assert sum(waits) == 2.0 ** (TRIES - 1) - 1


def test_an_attempt_that_is_stopped_fetches_no_further(control: Control, workdir: Path) -> None:
    control.objects["/b/k"] = b"x"
    stopped: Callable[[], bool] = lambda: True  # noqa: E731
    with pytest.raises(Stopped):
        Fetcher("us-east-1", lambda _bucket: KEYS).fetch((Input("b", "k", ".", None),), workdir, stopped)
