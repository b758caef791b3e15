"""How many AWS calls a job costs, and how many a minute in which nothing happens."""

import json
import time
from collections import Counter

from lambdas import names
from lambdas.adapters.ledger import Ledger
from lambdas.domain.jobs.jobs import JobState
from lambdas.domain.settings import Settings
from lowtide.bench.results import Result
from lowtide.bench.stage import PACE, Stage, await_that

JOBS = 20
INSTANCES = 2
IDLE_MINUTES = 4
_POOL = "calls"
Calls = Counter[tuple[str, str]]


def calls(stage: Stage) -> Result:
    stage.apply_pool(_POOL, most=INSTANCES)
    await_that(lambda: stage.at_rest(_POOL), what="coming to rest")
    await_that(lambda: not _of_minutes(stage, 1)["reconcile", "dynamodb"], what="a minute without a pass")
    idle = _of_minutes(stage, IDLE_MINUTES)
    jobs, minutes = _of_jobs(stage)
    return Result(
        name="calls",
        title="AWS calls",
        about=f"Counted at the local AWS's door. Jobs: {JOBS} short ones on at most {INSTANCES} instances, from the "
        f"first message until the pool is at rest again: claims, launches, idle polls and ends included, and the "
        f"{minutes:.0f} ticks that fell into that time. Idle: a deployment with one pool at rest. A minute is AWS's: "
        f"here it lasts {60 / PACE:.0f} s.",
        columns=("caller", "service", "per job", "per idle minute"),
        rows=_rows(jobs, idle),
    )


def _of_minutes(stage: Stage, minutes: int) -> Calls:
    """What is called in the next minutes of AWS's."""
    before = stage.calls.copy()
    time.sleep(minutes * 60 / PACE)
    return stage.calls - before


def _of_jobs(stage: Stage) -> tuple[Calls, float]:
    """The calls, and how many of AWS's minutes it took."""
    before, began = stage.calls.copy(), time.monotonic()
    url, sqs = stage.outputs[names.OUTPUT_JOB_QUEUE_URL], stage.world.client("sqs")
    bodies = [json.dumps({"pool": _POOL, "command": ["true"], "id": f"calls-{n}"}) for n in range(JOBS)]
    for first in range(0, JOBS, 10):
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[first : first + 10])]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)
    ledger = Ledger(stage.table, jobs_kept=Settings().jobs_kept)
    await_that(
        lambda: sum(job.state == JobState.SUCCEEDED for job in ledger.jobs(_POOL)) == JOBS,
        what=f"the end of {JOBS} jobs",
        seconds=120,
    )
    await_that(lambda: stage.at_rest(_POOL), what="coming to rest", seconds=120)
    return stage.calls - before, (time.monotonic() - began) * PACE / 60


def _rows(jobs: Calls, idle: Calls) -> tuple[tuple[str, ...], ...]:
    rows = [
        (who, service, f"{jobs[who, service] / JOBS:.1f}", f"{idle[who, service] / IDLE_MINUTES:.1f}")
        for who, service in sorted({*jobs, *idle})
    ]
    return (*rows, ("all", "", f"{jobs.total() / JOBS:.1f}", f"{idle.total() / IDLE_MINUTES:.1f}"))
