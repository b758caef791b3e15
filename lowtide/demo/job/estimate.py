"""A small piece of real work: estimates pi by throwing darts, in batches, and goes on where an earlier attempt stopped.

    python3 estimate.py SEED BATCHES

Progress is kept in LOWTIDE_CHECKPOINT_DIR. Each batch computes for a few milliseconds and then waits, as a job that
reads its data from somewhere would.
"""

import json
import os
import random
import sys
import time
from pathlib import Path

DARTS = 4_000
WAIT_SECONDS = 0.08


def main() -> None:
    seed, batches = int(sys.argv[1]), int(sys.argv[2])
    progress = Path(os.environ["LOWTIDE_CHECKPOINT_DIR"]) / "progress.json"
    done, hits = json.loads(progress.read_text()) if progress.exists() else (0, 0)
    if done:
        print(f"going on after batch {done}", flush=True)
    for batch in range(done, batches):
        darts = random.Random(f"{seed}/{batch}")  # noqa: S311 - darts are no secret
        hits += sum(darts.random() ** 2 + darts.random() ** 2 <= 1 for _ in range(DARTS))
        done = batch + 1
        partial = progress.with_suffix(".partial")
        partial.write_text(json.dumps([done, hits]))
        partial.rename(progress)
        time.sleep(WAIT_SECONDS)
    print(f"pi is about {4 * hits / (done * DARTS):.5f} after {done * DARTS} darts")


if __name__ == "__main__":
    main()
