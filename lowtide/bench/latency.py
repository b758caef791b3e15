"""From SendMessage to the CreateFleet call and to the job's start, beside what the local AWS takes for the hops."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from lambdas import names
from lambdas.adapters import keys
from lambdas.adapters.ledger import Ledger
from lambdas.domain.instants import from_text
from lambdas.domain.settings import Settings
from lowtide.bench.chain import GIVE_UP_SECONDS, Chain, sent
from lowtide.bench.results import Result, middle_and_tail
from lowtide.bench.stage import Stage, await_that

SAMPLES = 40
WARM_UP = 3
"""Samples that are thrown away: functions start, images and prices are read for the first time."""
BACKLOG = 1_000
BACKLOG_SAMPLES = 5
STARTED_SAMPLES = 10
CALLS_BEFORE = (3, 9)
"""Calls of the table by intake and by the pass before a warm stack calls CreateFleet; intake's SendMessage and
CreateFleet itself come on top, as the empty chain has two. Held against the simulated control plane in tests/bench."""
_POOL, _CROWD, _STARTING = "latency", "crowd", "starting"


def latency(stage: Stage) -> Result:
    stage.apply_pool(_POOL, most=SAMPLES + WARM_UP + BACKLOG_SAMPLES)
    stage.apply_pool(_STARTING, most=STARTED_SAMPLES)
    stage.apply_pool(_CROWD, most=1, paused=True)
    chain = Chain(stage, "bench-latency")
    started = [_started(stage, chain, number) for number in range(STARTED_SAMPLES)]
    stage.hosts.asleep = True
    try:
        both = (chain, Chain(stage, "bench-calling", CALLS_BEFORE))
        idle = [_launched(stage, both, number) for number in range(SAMPLES + WARM_UP)][WARM_UP:]
        numbers = range(SAMPLES + WARM_UP, SAMPLES + WARM_UP + BACKLOG_SAMPLES)
        crowded = [_launched(stage, (chain,), number, before=BACKLOG) for number in numbers]
    finally:
        stage.hosts.asleep = False
    return Result(
        name="latency",
        title="From SendMessage to CreateFleet and to the job's start",
        about=f"{SAMPLES} jobs, one after the other, each of which needs an instance of its own; {BACKLOG_SAMPLES} "
        f"with {BACKLOG:,} messages that functions take first; {STARTED_SAMPLES} until the job has started. The floor "
        "of the first is as many hops of empty functions: a queue, a function that sends to a FIFO queue, a function "
        "that sends to a last queue, with as many messages before it in the first; that of the last adds the boot "
        "of its own instance, from launch to its worker's first call, and two calls of an empty function. What the "
        "local AWS needs for a hop is in every figure. The aim: at most 1.5 times the floor. With as many calls: "
        f"functions that read an item of the table {CALLS_BEFORE[0]} and {CALLS_BEFORE[1]} times before they send, as "
        "often as intake and the pass call it: what is above it is Lowtide's own thinking, and that its calls are "
        "dearer than such reads. Ratios travel between machines, milliseconds do not.",
        columns=(
            "what",
            "samples",
            "median ms",
            "95th percentile ms",
            "floor: median",
            "floor: 95th percentile",
            "median / floor",
            "with as many calls: median",
            "median / that",
        ),
        rows=(
            _row("SendMessage to CreateFleet", idle),
            _row(f"the same behind {BACKLOG:,} messages", crowded),
            _row("SendMessage to the job's start", started),
        ),
    )


Sample = tuple[float, ...]
"""Seconds of ours, of the floor that was measured right after it, and, where it was measured, of as many calls."""


def _row(what: str, samples: Sequence[Sample]) -> tuple[str, ...]:
    ours, floor, *calling = (middle_and_tail(side) for side in zip(*samples, strict=True))
    times = (f"{seconds * 1000:.0f}" for seconds in (*ours, *floor))
    beside_calls = [(f"{median * 1000:.0f}", f"{ours[0] / median:.2f}") for median, _ in calling] or [("", "")]
    return what, str(len(samples)), *times, f"{ours[0] / floor[0]:.2f}", *beside_calls[0]


def _launched(stage: Stage, chains: Sequence[Chain], number: int, *, before: int = 0) -> Sample:
    # A pause of chance, so that no sample meets the pollers of the queues at the same moment of their rounds,
    # and long enough for the stack's share of CreateFleet's rate (2 a second).
    time.sleep(stage.random.uniform(0.3, 0.7))
    return _launch(stage, number, before), *(chain.hops(before) for chain in chains)


def _launch(stage: Stage, number: int, before: int) -> float:
    """Seconds from the message to the market's record of the launch. Jobs before it are of a pool that is paused."""
    url = stage.outputs[names.OUTPUT_JOB_QUEUE_URL]
    _, seen = stage.market.history_page(0)
    crowd = [_body(_CROWD, f"crowd-{number}-{each}") for each in range(before)]
    began = sent(stage, url, _body(_POOL, f"latency-{number}"), behind=crowd)
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < deadline:
        if launched := [line for line in stage.market.history(seen) if line.what == "launched"]:
            return (launched[0].at - began).total_seconds()
        time.sleep(0.01)
    raise RuntimeError(f"no CreateFleet within {GIVE_UP_SECONDS:.0f} s: {stage.state(_POOL).get('reasons')}")


def _started(stage: Stage, chain: Chain, number: int) -> Sample:
    """Until the job runs on an instance that boots for it and stays busy with it."""
    ledger, job_id = Ledger(stage.table, jobs_kept=Settings().jobs_kept), f"started-{number}"
    began = datetime.now(UTC)
    body = json.dumps({"pool": _STARTING, "command": ["sleep", "900"], "id": job_id})
    stage.world.client("sqs").send_message(QueueUrl=stage.outputs[names.OUTPUT_JOB_QUEUE_URL], MessageBody=body)
    await_that(lambda: _running(ledger, job_id), what="the job's start", seconds=GIVE_UP_SECONDS)
    job = ledger.job(job_id)
    assert job is not None
    assert job.started_at is not None
    known = stage.table.get(keys.pool(_STARTING), keys.instance(job.instance_id or "")) or {}
    boot = (from_text(known["reported_at"]) - from_text(known["launched_at"])).total_seconds()
    return (job.started_at - began).total_seconds(), chain.hops(0) + boot + 2 * chain.bare()


def _running(ledger: Ledger, job_id: str) -> bool:
    job = ledger.job(job_id)
    return job is not None and job.started_at is not None


def _body(pool: str, job_id: str) -> str:
    return json.dumps({"pool": pool, "command": ["true"], "id": job_id})
