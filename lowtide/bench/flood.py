"""A flood of messages through the deployed intake in the simulated control plane: none is lost, none counts twice.

LOWTIDE_BENCH_MESSAGES says how many: 20,000 if nothing is said, which takes half a minute.
"""

import logging
import os
import time
from datetime import timedelta

from lambdas.adapters import keys
from lowtide.bench.counting import pool, world
from lowtide.bench.results import Result

MESSAGES = "LOWTIDE_BENCH_MESSAGES"
_MESSAGES = 20_000
_PORTION = 1_000
"""So many wait at once: the simulated queue is the slower the fuller it is."""
_REPEATED_EVERY = 10
_POOL = "flood"


def flood() -> Result:
    messages = int(os.environ.get(MESSAGES, _MESSAGES))
    logging.getLogger("lambdas").setLevel(logging.WARNING)  # else a line for each of thousands of invocations
    made, counter = world()
    made.observers.remove(counter)
    made.hook = None
    made.apply(pool(_POOL, most=1, paused=True))
    began = time.process_time()
    for first in range(0, messages, _PORTION):
        for number in range(first, min(first + _PORTION, messages)):
            for _ in range(1 + (number % _REPEATED_EVERY == 0)):
                made.send({"pool": _POOL, "command": ["true"], "id": f"flood-{number}"})
        made.run(lambda: not made.sqs.queues[made.jobs_url].messages, timedelta(days=1))
    seconds = time.process_time() - began
    kept = sum(item["sk"] == keys.JOB for item in made.stored())
    return Result(
        name="flood",
        title="A flood of messages",
        about=f"{_PORTION:,} at a time, one in {_REPEATED_EVERY} of them twice, they go through the deployed intake in "
        "the simulated control plane; each is counted as a job in the ledger at the end. The local AWS has a smaller "
        "flood (messages a second, below): its queue and its table take the longer the fuller they are.",
        columns=("messages", "jobs in the ledger", "share", "jobs a CPU second"),
        rows=((f"{messages:,}", f"{kept:,}", f"{kept / messages:.4f}", f"{kept / seconds:.0f}"),),
    )
