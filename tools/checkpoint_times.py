"""How long checkpoints take on the local S3: 1 GiB in 10,000 files and in one file. Prints one JSON object.

python tools/checkpoint_times.py [MiB]
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lowtide.local.world import World
from worker import boot
from worker.aws import S3
from worker.checkpoint import Checkpoint

MIB = 2**20


def timed(act: Callable[[], object]) -> float:
    begin = time.monotonic()
    act()
    return round(time.monotonic() - begin, 2)


def times(store: S3, place: Path, *, name: str, files: int, size: int) -> dict[str, float]:
    """Seconds for the first save, for one with nothing changed, for one with 1% changed, and for a restore."""
    folder, other = place / name, place / f"{name}-again"
    folder.mkdir()
    other.mkdir()
    for number in range(files):
        (folder / f"{number:05d}").write_bytes(os.urandom(size // files))
    saving = Checkpoint(store, pool="bench", job_id=name, fence=1, directory=folder)
    found = {"save": timed(saving.save), "save_unchanged": timed(saving.save)}
    for number in range(max(1, files // 100)):
        with (folder / f"{number:05d}").open("r+b") as file:
            file.write(os.urandom(size // 100 // max(1, files // 100)))
    found["save_1_percent_changed"] = timed(saving.save)
    restoring = Checkpoint(store, pool="bench", job_id=name, fence=2, directory=other)
    found["restore"] = timed(restoring.restore)
    assert (other / f"{files - 1:05d}").read_bytes() == (folder / f"{files - 1:05d}").read_bytes()
    return found


def main(mebibytes: int) -> None:
    with World() as world, tempfile.TemporaryDirectory() as place:
        world.client("s3").create_bucket(Bucket="bench")
        given = world.environment()
        os.environ["AWS_ENDPOINT_URL"] = world.endpoint
        keys = boot.Credentials(given["AWS_ACCESS_KEY_ID"], given["AWS_SECRET_ACCESS_KEY"], "", "2099-01-01T00:00:00Z")
        store = S3(world.region, lambda: "bench", lambda: keys)
        found = {
            name: times(store, Path(place), name=name, files=files, size=mebibytes * MIB)
            for name, files in (("10000-files", 10_000), ("1-file", 1))
        }
    sys.stdout.write(json.dumps({"mib": mebibytes, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1024)
