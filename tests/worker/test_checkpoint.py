"""Saves of a checkpoint directory: complete or not at all, only what changed, the newest lease wins."""

import errno
import gzip
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.worker.stores import MemoryStore
from worker.checkpoint import Checkpoint, saves, uploads
from worker.checkpoint.checkpoint import REWRITE_AFTER_SECONDS
from worker.checkpoint.saves import Damaged, Piece
from worker.checkpoint.uploads import Uploads


class Bench:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.store = MemoryStore()
        self.now = time.time

    def attempt(self, fence: int) -> Checkpoint:
        """Restores into a directory of its own."""
        directory = self.folder(fence)
        directory.mkdir()
        made = self.made(fence)
        made.restore()
        made.settle()
        return made

    def made(self, fence: int, folder: Path | None = None) -> Checkpoint:
        directory = folder or self.folder(fence)
        return Checkpoint(
            self.store, pool="gpu", job_id="job", fence=fence, directory=directory, clock=lambda: self.now()
        )

    def folder(self, fence: int) -> Path:
        return self.place / str(fence)

    def write(self, fence: int, **files: str | bytes) -> None:
        for name, content in files.items():
            (self.folder(fence) / name).write_bytes(content.encode() if isinstance(content, str) else content)

    def read(self, fence: int) -> dict[str, bytes]:
        root = self.folder(fence)
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(uploads, "SMALL_BYTES", 64)
    monkeypatch.setattr(uploads, "PIECE_BYTES", 256)
    return Bench(tmp_path)


def test_the_next_attempt_finds_files_modes_links_and_empty_directories(bench: Bench) -> None:
    first = bench.attempt(1)
    root = bench.folder(1)
    (root / "deep" / "er").mkdir(parents=True)
    (root / "empty").mkdir(mode=0o700)
    (root / "deep" / "er" / "large").write_bytes(os.urandom(1000))
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o750)
    (root / "latest").symlink_to("deep/er/large")
    (root / "nothing").touch()
    report = first.save()
    assert report is not None
    assert report.files == 3
    bench.attempt(2)
    assert bench.read(2) == bench.read(1)
    assert (bench.folder(2) / "run.sh").stat().st_mode & 0o777 == 0o750
    assert (bench.folder(2) / "empty").stat().st_mode & 0o777 == 0o700
    assert (bench.folder(2) / "latest").readlink() == Path("deep/er/large")


def test_only_what_changed_is_uploaded(bench: Bench) -> None:
    first = bench.attempt(1)
    content = os.urandom(256 * 8)
    bench.write(1, model=content, step="1")
    first.save()
    bench.store.puts.clear()
    bench.write(1, step="2", model=content[:700] + b"!" + content[701:])
    report = first.save()
    assert report is not None
    assert report.uploaded_bytes == 256 + 1
    assert len(bench.store.puts) == 3, "one piece of the model, one object of small files, the save"
    bench.attempt(2)
    assert bench.read(2) == bench.read(1)


def test_nothing_is_uploaded_when_nothing_changed_not_even_after_a_restore(bench: Bench) -> None:
    bench.attempt(1)
    bench.write(1, a="x" * 1000, b="y")
    bench.made(1).save()
    second = bench.attempt(2)
    bench.store.puts.clear()
    assert second.save() is None
    assert bench.store.puts == []


def test_many_small_files_share_objects(bench: Bench) -> None:
    first = bench.attempt(1)
    bench.write(1, **{f"f{n}": f"{n:032d}" for n in range(80)})
    bench.store.puts.clear()
    first.save()
    assert len(bench.store.puts) == 80 * 32 / 256 + 1


def test_a_removed_file_is_not_restored(bench: Bench) -> None:
    first = bench.attempt(1)
    bench.write(1, a="1", b="2")
    first.save()
    (bench.folder(1) / "a").unlink()
    first.save()
    bench.attempt(2)
    assert bench.read(2) == {"b": b"2"}


def crash_points(bench: Bench, act: Callable[[], object]) -> int:
    """How many calls of the store `act` makes."""
    count = 0

    def counted(_operation: str, _key: str) -> None:
        nonlocal count
        count += 1

    bench.store.before = counted
    act()
    bench.store.before = lambda _operation, _key: None
    return count


class Killed(BaseException):
    """The worker is gone: nothing of it runs any more, no handler either."""


@pytest.mark.parametrize("kind", [OSError, Killed])
def test_a_save_that_dies_at_any_call_leaves_the_one_before(tmp_path: Path, bench: Bench, kind: type) -> None:
    def story(number: int) -> tuple[Bench, Checkpoint]:
        fresh = Bench(tmp_path / f"{kind.__name__}{number}")
        fresh.place.mkdir()
        fresh.attempt(1)
        fresh.write(1, big=b"a" * 300, small="old")
        fresh.made(1).save()
        second = fresh.attempt(2)
        second.confirm(time.monotonic())
        fresh.write(2, big=os.urandom(1500), small="new", other="x")
        return fresh, second

    def cleared_and_saved(attempt: Checkpoint) -> bool:
        attempt.delete_old()
        return attempt.save() is not None

    counting, attempt = story(0)
    calls = crash_points(counting, lambda: cleared_and_saved(attempt))
    assert calls >= 8, "deleting, some data, and the save itself"
    for number in range(1, calls + 1):
        fresh, attempt = story(number)
        left = [number]

        def dies(_operation: str, _key: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] <= 0:
                raise kind("cut off")

        fresh.store.before = dies
        try:
            saved = cleared_and_saved(attempt)
        except (OSError, Killed):
            saved = False
        fresh.store.before = lambda _operation, _key: None
        fresh.attempt(3)
        assert not saved
        assert fresh.read(3) == {"big": b"a" * 300, "small": b"old"}, f"died at call {number} of {calls}"


def test_a_save_goes_on_with_what_a_failed_one_had_uploaded(bench: Bench) -> None:
    first = bench.attempt(1)
    bench.write(1, model=os.urandom(256 * 6))
    fails = [True]

    def no_save(operation: str, key: str) -> None:
        if fails[0] and operation == "put" and "/saves/" in key:
            raise OSError("S3 is gone")

    bench.store.before = no_save
    with pytest.raises(OSError, match="S3 is gone"):
        first.save()
    fails[0] = False
    bench.store.puts.clear()
    assert first.save() is not None
    assert len(bench.store.puts) == 1


def test_what_an_older_attempt_publishes_after_a_newer_one_began_never_counts(bench: Bench) -> None:
    old = bench.attempt(1)
    bench.write(1, step="1")
    old.save()
    bench.attempt(2)
    for step in range(20):
        bench.write(1, step=f"late {step}")
        old.save()
    bench.attempt(3)
    assert bench.read(3) == {"step": b"1"}


def test_an_older_attempt_that_is_cut_off_deletes_nothing_that_a_newer_one_needs(bench: Bench) -> None:
    old = bench.attempt(1)
    bench.write(1, step="1" * 500)
    old.save()
    old.confirm(time.monotonic())
    new = bench.attempt(2)
    for step in range(3):
        bench.write(1, step=f"{step}" * 600)
        old.delete_old()
        old.save()
    bench.write(2, other="2")
    assert new.save() is not None
    bench.attempt(3)
    assert bench.read(3) == {"step": b"1" * 500, "other": b"2"}


def test_what_no_save_needs_is_deleted_once_the_lease_is_confirmed_and_not_before(bench: Bench) -> None:
    bench.attempt(1)
    bench.write(1, step="1" * 500)
    bench.made(1).save()
    second = bench.attempt(2)
    began_before = time.monotonic()
    for step in range(3):
        bench.write(2, step=f"{step}" * 500)
        second.save()
        second.confirm(began_before)
        second.delete_old()
    held = len(bench.store.objects)
    second.delete_old()
    assert len(bench.store.objects) == held
    second.confirm(time.monotonic())
    left = iter([True, True])
    second.delete_old(lambda: next(left, False))
    assert len(bench.store.objects) == held - 2, "it stops when it is not wanted any more"
    second.delete_old()
    assert len([key for key in bench.store.objects if "/saves/" in key]) == 1
    assert len([key for key in bench.store.objects if "/data/" in key]) == 2, "the two pieces of the newest"
    bench.attempt(3)
    assert bench.read(3) == {"step": b"2" * 500}


def test_a_file_that_changes_while_it_is_copied_keeps_its_last_saved_contents(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bench.attempt(1)
    bench.write(1, restless=b"a" * 600, calm="1")
    first.save()
    bench.write(1, restless=b"b" * 600, calm="2")
    stock = Uploads.add

    def disturbed(into: Uploads, piece: Piece, content: bytes) -> None:
        if content.startswith(b"b"):
            time.sleep(0.02)
            with (bench.folder(1) / "restless").open("r+b") as file:
                file.write(b"b")
        stock(into, piece, content)

    monkeypatch.setattr(Uploads, "add", disturbed)
    report = first.save()
    assert report is not None
    assert report.unsettled == ("restless",)
    bench.attempt(2)
    assert bench.read(2) == {"restless": b"a" * 600, "calm": b"2"}


def test_nothing_outside_the_directory_is_ever_read_through_a_link(bench: Bench, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("of the worker")
    first = bench.attempt(1)
    (bench.folder(1) / "file").symlink_to(secret / "key")
    (bench.folder(1) / "folder").symlink_to(secret)
    os.mkfifo(bench.folder(1) / "pipe")
    report = first.save()
    assert report is not None
    assert (report.files, report.foreign) == (0, 1)
    assert not [key for key in bench.store.objects if "/data/" in key]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's file")
def test_another_users_file_is_not_saved(bench: Bench) -> None:
    bench.folder(1).mkdir()
    made = Checkpoint(bench.store, pool="gpu", job_id="job", fence=1, directory=bench.folder(1), owner=64917)
    made.restore()
    bench.write(1, mine="x", theirs="y")
    os.chown(bench.folder(1) / "mine", 64917, 64917)
    report = made.save()
    assert report is not None
    assert (report.files, report.foreign) == (1, 1)


@pytest.mark.parametrize("part", ["/data/", "/saves/"])
def test_a_save_that_cannot_be_read_back_gives_way_to_the_one_before_and_says_so(bench: Bench, part: str) -> None:
    first = bench.attempt(1)
    bench.write(1, step="1" * 300)
    first.save()
    bench.write(1, step="2" * 300)
    first.save()
    damaged = max(key for key in bench.store.objects if part in key)
    bench.store.objects[damaged] = b"not what was there"
    bench.folder(2).mkdir()
    files, wrong = bench.made(2).restore()
    assert (files, len(wrong)) == (1, 1)
    assert bench.read(2) == {"step": b"1" * 300}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        gzip.compress(b"[]"),
        gzip.compress(b'{"format": 1}'),
        gzip.compress(b'{"format": 1, "data": [], "pieces": [["a", 1, 7, 0, 0]], "files": []}'),
        gzip.compress(b'{"format": 1}')[:-9] + b"xxxxxxxxx",
    ],
    ids=["nothing", "a list", "half a save", "a piece of no object", "a broken end"],
)
def test_whatever_a_save_holds_that_is_none_it_is_told_as_damaged(body: bytes) -> None:
    with pytest.raises(Damaged):
        saves.read(body)


def test_a_restore_without_a_bucket_fails_instead_of_beginning_anew(bench: Bench) -> None:
    bench.attempt(1)
    bench.write(1, step="1" * 300)
    bench.made(1).save()

    def gone(operation: str, key: str) -> None:
        if operation == "get" and "/data/" in key:
            raise OSError("S3 is gone")

    bench.store.before = gone
    with pytest.raises(OSError, match="S3 is gone"):
        bench.attempt(2)


def test_old_data_is_uploaded_anew_before_the_bucket_deletes_it(bench: Bench) -> None:
    first = bench.attempt(1)
    bench.write(1, model=b"m" * 600, step="1")
    first.save()
    bench.store.puts.clear()
    bench.now = lambda: time.time() + REWRITE_AFTER_SECONDS + 1
    assert first.save() is not None
    assert len([key for key in bench.store.puts if "/data/" in key]) == 3
    assert REWRITE_AFTER_SECONDS < 90 * 24 * 3600 / 2


def test_a_save_that_is_not_wanted_any_more_is_not_published(bench: Bench) -> None:
    first = bench.attempt(1)
    bench.write(1, step="1")
    assert first.save(lambda: False) is None
    bench.attempt(2)
    assert bench.read(2) == {}


def smaller_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "SMALL_BYTES", 2**20)
    monkeypatch.setattr(uploads, "PIECE_BYTES", 2**24)


def write_sparse(place: Path, *, size: int, at: int, content: bytes) -> None:
    """A file that is all hole but for this."""
    with place.open("wb") as made:
        made.truncate(size)
        made.seek(at)
        made.write(content)


def test_a_sparse_file_takes_no_more_room_after_a_restore_than_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller_pieces(monkeypatch)
    first = bench.attempt(1)
    write_sparse(bench.folder(1) / "map", size=40 * 2**20 + 5, at=20 * 2**20 - 3, content=b"across")
    first.save()
    bench.attempt(2)
    before, after = (bench.folder(fence) / "map" for fence in (1, 2))
    assert after.read_bytes() == before.read_bytes()
    assert after.stat().st_blocks * 512 <= 256 * 1024


def test_a_file_that_is_all_hole_but_a_little_is_saved_and_restored_without_reading_the_hole(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller_pieces(monkeypatch)
    first = bench.attempt(1)
    write_sparse(bench.folder(1) / "map", size=2**30, at=2**29, content=b"middle")
    read, pread = list[int](), os.pread
    monkeypatch.setattr(os, "pread", lambda *given: read.append(given[2]) or pread(*given))
    report = first.save()
    assert read == [2**29, 2**30], "the piece with something in it, and the end"
    assert report is not None
    assert report.uploaded_bytes == 2 * 2**24, "a piece of zeros, and the one that is none"
    bench.attempt(2)
    with (bench.folder(2) / "map").open("rb") as restored:
        restored.seek(2**29 - 1)
        assert restored.read(8) == b"\0middle\0"
        assert restored.seek(0, os.SEEK_END) == 2**30


def test_a_directory_that_cannot_be_looked_into_ends_the_save_instead_of_missing_in_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bench.attempt(1)
    (bench.folder(1) / "deep").mkdir()
    (bench.folder(1) / "deep" / "model").write_text("kept")
    first.save()
    bench.write(1, step="2")
    opened = os.open

    def failing(path: Any, *given: Any, **named: Any) -> int:
        if path == "deep":
            raise OSError(errno.EIO, "Input/output error")
        return opened(path, *given, **named)

    with monkeypatch.context() as broken:
        broken.setattr(os, "open", failing)
        with pytest.raises(OSError, match="Input/output"):
            first.save()
    bench.attempt(2)
    assert bench.read(2) == {"deep/model": b"kept"}
