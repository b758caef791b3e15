"""What the worker's saves and restores of 1 GiB take, in 10,000 files and in one, beside bare uploads of as many bytes.

The bucket is the local AWS's S3, which keeps objects in memory: what is measured is the worker and one machine.
"""

import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lowtide.bench.results import Result
from lowtide.local.world import World
from worker import boot
from worker.aws import S3
from worker.checkpoint import PIECE_BYTES, UPLOADS, Checkpoint

BYTES = 2**30
SHAPES = {"10,000 files": 10_000, "one file": 1}
_BUCKET = "bench"


def checkpoints() -> Result:
    with World() as world, tempfile.TemporaryDirectory() as place:
        world.client("s3").create_bucket(Bucket=_BUCKET)
        store = _store(world)
        bare = _bare(store)
        rows = tuple(
            _row(what, bare, _times(store, Path(place), name=f"{files}-files", files=files))
            for what, files in SHAPES.items()
        )
    return Result(
        name="checkpoints",
        title="Checkpoints of 1 GiB",
        about=f"Seconds, with the local AWS's S3 on the same machine; bare uploads of 1 GiB in objects of "
        f"{PIECE_BYTES // 2**20} MiB, {UPLOADS} at once, took {bare:.1f} s. A save reads every file that may "
        "have changed, hashes it and uploads what has. Of the one file, the 1 % that "
        "changed is in one place. Restored is into an empty directory on another instance.",
        columns=("1 GiB in", "first save", "nothing changed", "1 % changed", "restore", "first save / bare uploads"),
        rows=rows,
    )


def _row(what: str, bare: float, found: tuple[float, ...]) -> tuple[str, ...]:
    return (what, *(f"{seconds:.2f}" for seconds in found), f"{found[0] / bare:.2f}")


def _store(world: World) -> S3:
    given = world.environment()
    os.environ["AWS_ENDPOINT_URL"] = world.endpoint
    keys = boot.Credentials(given["AWS_ACCESS_KEY_ID"], given["AWS_SECRET_ACCESS_KEY"], "", "2099-01-01T00:00:00Z")
    return S3(world.region, lambda: _BUCKET, lambda: keys)


def _timed(act: Callable[[], object]) -> float:
    begin = time.monotonic()
    act()
    return time.monotonic() - begin


def _bare(store: S3) -> float:
    content, objects = os.urandom(PIECE_BYTES), range(BYTES // PIECE_BYTES)

    def upload(number: int) -> None:
        store.put(f"bare/{number}", content)

    with ThreadPoolExecutor(UPLOADS) as threads:
        seconds = _timed(lambda: list(threads.map(upload, objects)))
    for number in objects:
        store.delete(f"bare/{number}")
    return seconds


def _times(store: S3, place: Path, *, name: str, files: int) -> tuple[float, ...]:
    """Seconds for the first save, for one with nothing changed, for one with 1 % changed, and for a restore."""
    folder, other = place / name, place / f"{name}-again"
    folder.mkdir()
    other.mkdir()
    for number in range(files):
        (folder / f"{number:05d}").write_bytes(os.urandom(BYTES // files))
    saving = Checkpoint(store, pool="bench", job_id=name, fence=1, directory=folder)
    first, unchanged = _timed(saving.save), _timed(saving.save)
    touched = max(1, files // 100)
    for number in range(touched):
        with (folder / f"{number:05d}").open("r+b") as file:
            file.write(os.urandom(BYTES // 100 // touched))
    changed = _timed(saving.save)
    restored = _timed(Checkpoint(store, pool="bench", job_id=name, fence=2, directory=other).restore)
    assert (other / f"{files - 1:05d}").read_bytes() == (folder / f"{files - 1:05d}").read_bytes()
    return first, unchanged, changed, restored
