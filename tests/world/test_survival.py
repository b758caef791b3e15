"""Forty jobs in a market that takes an instance every twenty seconds of its time, every third without a word."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count, pairwise
from random import Random

import pytest

from lambdas import names
from lambdas.adapters.ledger import Ledger
from lambdas.domain.jobs.job_record import Attempt, JobRecord, Outcome
from lambdas.domain.jobs.jobs import JobState
from lambdas.domain.settings import Settings
from lowtide.joblogs import JobLogs
from lowtide.market.fleet import Refused
from tests.world.conftest import CHECKPOINT, ENDED, PACE, Stack, spot, until

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
"""The first test waits for all forty jobs; on a machine that is busy with other things that takes its time."""
POOL = "survival"
JOBS, INSTANCES = 40, 10
STEPS, STEP = 16, timedelta(seconds=0.5)
"""A job's work: eight seconds here, 160 of the market's."""
EVERY = timedelta(seconds=20) / PACE
"""From one interruption to the next."""
INTERRUPTIONS = 18
"""Then the market is calm: on a machine that is busy with other things the jobs must come to an end too."""
UNWARNED = 3
"""Each such interruption has no notice."""
WORK = f"""
step=$(cat "$LOWTIDE_CHECKPOINT_DIR/step" 2>/dev/null || echo 0)
echo "going on after $step"
trap 'echo "told to stop"; exit 0' TERM
while [ "$step" -lt {STEPS} ]; do
    sleep {STEP.total_seconds()}
    step=$((step + 1))
    echo "$step" >"$LOWTIDE_CHECKPOINT_DIR/.step"
    mv "$LOWTIDE_CHECKPOINT_DIR/.step" "$LOWTIDE_CHECKPOINT_DIR/step"
    echo "step $step"
done
echo "finished"
"""
STEPS_PER_CHECKPOINT = int(CHECKPOINT / STEP)
"""At most: a step takes its time or longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What became of the forty jobs."""

    jobs: list[JobRecord]
    attempts: dict[str, list[Attempt]]
    logs: dict[tuple[str, int], list[str]]
    """By job and attempt, without the worker's own lines."""
    interrupted: list[str]
    """Instances, in the order in which they were taken; the market may take others too."""


@pytest.fixture(scope="module")
def course(stack: Stack) -> Course:
    stack.apply(spot(pool_name=POOL, max_instances=INSTANCES))
    ids = [stack.send({"pool": POOL, "command": WORK}) for _ in range(JOBS)]
    ledger = Ledger(stack.table, jobs_kept=Settings().jobs_kept)
    interrupted = _interrupt_until_all_end(stack, ledger, ids)
    jobs = list(ledger.found(ids).values())
    attempts = {job.job_id: ledger.attempts(job) for job in jobs}
    group = stack.outputs[names.OUTPUT_WORKER_LOG_GROUP_NAME]
    logs = JobLogs(stack.aws.world.client("logs"), group, pause=lambda _: None)
    lines = {
        (job_id, each.n): [line for line in logs.lines(POOL, job_id, each.n) if not line.startswith("[lowtide]")]
        for job_id, tried in attempts.items()
        for each in tried
    }
    return Course(jobs=jobs, attempts=attempts, logs=lines, interrupted=interrupted)


def _interrupt_until_all_end(stack: Stack, ledger: Ledger, ids: list[str]) -> list[str]:
    chance, numbers, taken = Random(7), count(1), list[str]()

    def ended() -> dict[str, int]:
        jobs = ledger.found(ids).values()
        at_work = sorted({str(job.instance_id) for job in jobs if job.state is JobState.RUNNING} - {*taken})
        chosen = chance.choice(at_work) if at_work and len(taken) < INTERRUPTIONS else None
        if chosen is not None and stack.aws.hosts.busy(chosen):
            taken.append(chosen)
            _take(stack, chosen, notice=next(numbers) % UNWARNED > 0)
        time.sleep(EVERY.total_seconds())
        return {"ended": sum(job.state in ENDED for job in jobs), "interrupted": len(taken)}

    until("forty jobs to end", ended, lambda seen: seen["ended"] == JOBS, seconds=600)
    return taken


def _take(stack: Stack, instance_id: str, *, notice: bool) -> None:
    try:
        stack.aws.market.interrupt(instance_id, notice=notice)
    except Refused:  # it ended by itself a moment ago
        return


def test_every_job_ends_once_and_well(course: Course) -> None:
    assert [job.state for job in course.jobs] == [JobState.SUCCEEDED] * JOBS
    for job in course.jobs:
        *before, last = course.attempts[job.job_id]
        assert [each.outcome for each in before] == [Outcome.INTERRUPTED] * job.interruptions
        assert (last.outcome, last.exit_code, last.n) == (Outcome.SUCCEEDED, 0, job.interruptions + 1)
        assert job.failures == 0


def test_they_were_really_interrupted_and_some_without_notice(stack: Stack, course: Course) -> None:
    warned = {instance_id for instance_id in course.interrupted if stack.happened("warned", instance_id)}
    ran_on = {each.instance_id for tried in course.attempts.values() for each in tried[:-1]}
    assert len(ran_on) >= INTERRUPTIONS / 2
    assert ran_on & warned
    assert ran_on - warned


def _begin_and_steps(lines: list[str]) -> tuple[int, list[int]]:
    begin = re.fullmatch(r"going on after (\d+)", lines[0])
    assert begin is not None, lines
    return int(begin[1]), [int(line.removeprefix("step ")) for line in lines if line.startswith("step ")]


def _tried(course: Course) -> Iterator[tuple[Attempt, list[str]]]:
    for job in course.jobs:
        for each in course.attempts[job.job_id]:
            yield each, course.logs[job.job_id, each.n]


def test_every_log_is_whole(course: Course) -> None:
    """An attempt whose worker could report its end has all of its log. One that was cut off has every line up to some
    point, and none is missing before that: what was never sent went with the instance."""
    for attempt, lines in _tried(course):
        reported = attempt.exit_code is not None
        if not reported and not lines:
            continue
        begin, steps = _begin_and_steps(lines)
        assert steps == list(range(begin + 1, begin + 1 + len(steps))), "in order, each once"
        if reported:
            ends = {"finished"} if attempt.outcome is Outcome.SUCCEEDED else {"finished", "told to stop"}
            assert lines[-1] in ends, "a notice may come while it finishes"


def test_the_work_done_again_is_below_the_checkpoint_period_per_interruption(course: Course) -> None:
    """Counted in the jobs' own steps, so that a slow machine changes nothing."""
    again = []
    for job in course.jobs:
        told = [course.logs[job.job_id, each.n] for each in course.attempts[job.job_id]]
        found = [_begin_and_steps(lines) for lines in told if lines]
        again += [max(0, steps[-1] - begin) for (_, steps), (begin, _) in pairwise(found) if steps]
    interruptions = sum(job.interruptions for job in course.jobs)
    assert sum(again) < interruptions * STEPS_PER_CHECKPOINT, again
    assert any(begin > 0 for begin, _ in (_begin_and_steps(lines) for _, lines in _tried(course) if lines))
