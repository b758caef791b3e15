"""Messages a second through intake beside a function that does nothing, and a flood of which none is lost."""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from lambdas import names
from lambdas.adapters.ledger import Ledger
from lambdas.domain.settings import Settings
from lowtide.bench.chain import Chain
from lowtide.bench.functions import switched_off
from lowtide.bench.results import Result
from lowtide.bench.stage import Stage, await_that

MESSAGES = 1_000
"""In the queue before the function may begin."""
RUNS = 3
_FLOOD_MESSAGES = 3_000
_POOL = "intake"
_BATCH = 10
_SENDERS = 4
_PATIENCE = 1_800.0


def intake(stage: Stage) -> Result:
    stage.apply_pool(_POOL, most=1, paused=True)
    chain = Chain(stage, "bench-intake")
    sides = [stage.outputs[names.OUTPUT_JOB_QUEUE_URL], chain.lone_queue(_BATCH), chain.storing_queue(_BATCH)]
    stage.hosts.asleep = True
    try:
        rounds = [[_per_second(stage, url, f"{run}-{n}") for n, url in enumerate(sides)] for run in range(RUNS)]
        sent, accepted, seconds = _flooded(stage, sides[0], _FLOOD_MESSAGES)
    finally:
        stage.hosts.asleep = False
    medians = [f"{median(side):.0f}" for side in zip(*rounds, strict=True)]
    beside_nothing, beside_calls = (f"{median(each[0] / each[side] for each in rounds):.2f}" for side in (1, 2))
    return Result(
        name="intake",
        title="Messages a second",
        about=f"{MESSAGES:,} messages wait in a queue, then its function may begin; until the queue is empty, "
        f"median of {RUNS} rounds. All get at most {_BATCH} messages at once from as many pollers. Intake checks "
        "each message, stores the jobs in one transaction of three writes a job and asks for a pass; the second "
        "function returns; the third makes the same three calls of the same table with bare items and does nothing "
        "else: its items have three attributes, where a job's have some twenty. The aim: half as many as the second. "
        "Of the flood every message was sent while intake was at work, and is counted as a job in the ledger.",
        columns=(
            "what",
            "intake",
            "a function that does nothing",
            "one with the same calls",
            "intake / nothing",
            "intake / calls",
        ),
        rows=(
            ("messages a second", *medians, beside_nothing, beside_calls),
            (f"a flood of {sent:,}: jobs in the ledger", f"{accepted:,}", "", "", f"{accepted / sent:.4f}", ""),
            ("its jobs a second, end to end", f"{accepted / seconds:.0f}", "", "", "", ""),
        ),
    )


def _per_second(stage: Stage, url: str, prefix: str) -> float:
    with switched_off(stage):
        _send(stage, url, MESSAGES, prefix)
    began = time.monotonic()
    await_that(lambda: not _waiting(stage, url), what="an empty queue", seconds=_PATIENCE)
    return MESSAGES / (time.monotonic() - began)


def _flooded(stage: Stage, url: str, messages: int) -> tuple[int, int, float]:
    """(sent, jobs of them in the ledger, seconds from the first message to the last job). They come in portions, the
    next before the last is taken in, since the local AWS looks through a whole queue at each receive."""
    ledger = Ledger(stage.table, jobs_kept=Settings().jobs_kept)
    began = time.monotonic()
    for first in range(0, messages, MESSAGES):
        _send(stage, url, min(MESSAGES, messages - first), f"flood-{first}")
        await_that(lambda: _waiting(stage, url) < MESSAGES, what="room in the queue", seconds=_PATIENCE)
    await_that(lambda: not _waiting(stage, url), what="the end of the flood", seconds=_PATIENCE)
    seconds = time.monotonic() - began
    found = sum(job.job_id.startswith("flood-") for job in ledger.jobs(_POOL))
    return messages, found, seconds


def _send(stage: Stage, url: str, messages: int, prefix: str) -> None:
    sqs: Any = stage.world.client("sqs")

    def send(numbers: Sequence[int]) -> None:
        bodies = [json.dumps({"pool": _POOL, "command": ["true"], "id": f"{prefix}-{n}"}) for n in numbers]
        entries = [{"Id": str(place), "MessageBody": body} for place, body in enumerate(bodies)]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)

    with ThreadPoolExecutor(_SENDERS) as threads:
        list(threads.map(send, [range(n, min(n + _BATCH, messages)) for n in range(0, messages, _BATCH)]))


def _waiting(stage: Stage, url: str) -> int:
    """Messages that wait, and those in a function's hands."""
    wanted = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    told = stage.world.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=wanted)["Attributes"]
    return sum(int(count) for count in told.values())
