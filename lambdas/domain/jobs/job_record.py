"""What the ledger knows of a job beside what was asked, and how an attempt's end decides its fate. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from lambdas.domain.jobs.jobs import JobState, Resources
from lambdas.domain.jobs.terms import OnDemand
from lambdas.domain.jobs.work import UNTOLD, EstimateFrom, Kept, Standing

CANCELLED = "cancelled"
"""The reason of a job that a person cancelled."""
MOVED = "moved to spot"
"""The reason of an attempt that the plan ended because the job goes on at less cost elsewhere."""
POISON_INSTANCES = 3
"""A job that fails at once on so many instances, one after the other, is ended although it has attempts left. One bad
instance is an accident and two a coincidence; with a hundred attempts the rest would buy a hundred boots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """Everything that changes in a job's life, and what its queue entry is made from."""

    job_id: str
    pool: str
    state: JobState
    slots: int
    resources: Resources | None
    priority: int
    submitted_at: datetime
    queued_at: datetime
    """When it last entered the queue."""
    content: str
    """Hash of what was asked (jobs.content_hash)."""
    max_attempts: int = 1
    max_interruptions: int | None = None
    on_demand: OnDemand = OnDemand.AUTO
    spot_max_price: Decimal | None = None
    fence: int = 0
    """The last lease's number; rises with every claim."""
    attempts: int = 0
    """Attempts begun; a released lease is none."""
    failures: int = 0
    failed_at_once_on: tuple[str, ...] | None = None
    """The instances on which it failed within Settings.failed_at_once of its start, each named once, since an attempt
    last ran for longer; None: none."""
    interruptions: int = 0
    used_seconds: Decimal = Decimal(0)
    """Running time that interrupted attempts used of the timeout; begins anew after a failure."""
    instance_id: str | None = None
    """Where it runs, or last ran."""
    started_at: datetime | None = None
    """Begin of its first attempt."""
    finished_at: datetime | None = None
    exit_code: int | None = None
    reason: str | None = None
    """Why it failed or was parked: `exit 3`, `signal 9`, `timeout`, `out_of_memory`, `interrupted`, or the worker's own
    words; of one that was stopped early, so many words before them."""
    cost_usd: Decimal = Decimal(0)
    """Of its attempts that have ended; those whose instance had no known price are left out."""
    on_demand_cost_usd: Decimal = Decimal(0)
    """For the same time on on-demand instances of the same types."""
    interrupted_usd: Decimal = Decimal(0)
    """The part of `cost_usd` that went into interrupted attempts. What their last saves kept is not lost: the control
    plane knows of no saves, so this is the most that interruptions cost it."""
    cost_estimated: bool = False
    """True: of some attempt only the price limit was known, or nothing (Attempt.cost_estimated, .cost_usd)."""
    settled_fence: int | None = None
    """The last lease that its holder ended itself; repeating that end gives the same answer."""
    settled_state: JobState | None = None
    """That answer."""
    deadline: datetime | None = None
    estimated_seconds: Decimal | None = None
    """How long the whole job takes; None: nobody knows."""
    estimate_from: EstimateFrom | None = None
    recurs_as: str | None = None
    """What its runs have in common with those of other jobs (recurrence.py); None: it has no deadline."""
    kept_seconds: Decimal | None = None
    """This and the next two: what its ended attempts left (work.Kept), followed where it has a deadline."""
    kept_progress: Decimal | None = None
    restoring_seconds: Decimal | None = None

    @property
    def kept(self) -> Kept:
        return Kept(seconds=self.kept_seconds, progress=self.kept_progress, restoring_seconds=self.restoring_seconds)


class Outcome(StrEnum):
    """How one attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt that ended. One that runs is in the ledger as its lease."""

    n: int
    instance_id: str
    instance_type: str | None
    """None: the instance's record was gone when the attempt ended."""
    availability_zone: str | None
    lifecycle: str | None
    """`spot` or `on-demand`."""
    started_at: datetime
    ended_at: datetime | None
    """None: running."""
    outcome: Outcome | None
    """None: running."""
    exit_code: int | None = None
    reason: str | None = None
    cost_usd: Decimal | None = None
    """Its slots' share of its instance from its claim to its end; of one that runs, until now. None: the instance's
    record was gone, or no price of it was ever known."""
    on_demand_cost_usd: Decimal | None = None
    """The same on an on-demand instance of that type; None with `cost_usd`."""
    cost_estimated: bool = False
    """True: some of the time is reckoned at the instance's price limit, the most that it can have cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Why an attempt could not begin: the last time that a lease for it was given back, and how often that was."""

    n: int
    """Of the attempt that was to begin; the next lease has the same."""
    times: int
    instance_id: str
    at: datetime
    reason: str
    """The worker's own words, on one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a worker says of an attempt that ended (docs/worker-api.md, finish)."""

    started_at: datetime
    ended_at: datetime
    exit_code: int | None = None
    signal: int | None = None
    timed_out: bool = False
    interrupted: bool = False
    """It ended after a notice, a drain or a lost lease."""
    done: bool = False
    """The job wrote to LOWTIDE_DONE_FILE: with exit code 0 it succeeded even if interrupted."""
    error: str | None = None
    """The worker's own words where the job never ran (its inputs, its command)."""
    out_of_memory: bool = False
    """It was ended because it needed more memory than its share of the instance."""
    standing: Standing = UNTOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What an attempt's end makes of its job."""

    state: JobState
    outcome: Outcome
    reason: str | None
    """Of the attempt; the job's own where it failed for good."""
    failures: int
    failed_at_once_on: tuple[str, ...] | None
    interruptions: int
    used_seconds: Decimal


def settle(job: JobRecord, result: Result, *, at_once: timedelta, moved: bool = False) -> Settlement:
    """Succeeded, failed for good, or queued again. Interruptions never count as failures, nor failures as
    interruptions; the time of interrupted attempts adds up against the timeout, that of failed ones does not.

    A failure within `at_once` of the attempt's start is one of the job itself, not of its luck: once that has happened
    on POISON_INSTANCES different instances with no longer attempt in between, the job has failed for good. An
    interruption within that time proves nothing either way. A job that always gets the same instance back is not
    stopped early: there it may be the instance. `moved`: the plan had it stopped, to run on elsewhere; that is no
    interruption of the job's."""
    if moved and result.interrupted and not (result.done and result.exit_code == 0):
        told = _interrupted(replace(job, max_interruptions=None), result, at_once)
        return replace(told, interruptions=job.interruptions, reason=MOVED)
    if result.interrupted and not (result.done and result.exit_code == 0):
        return _interrupted(job, result, at_once)
    if result.exit_code == 0 and not result.timed_out:
        return _settlement(job, JobState.SUCCEEDED, Outcome.SUCCEEDED, None)
    return _failed(job, result, at_once)


def lost(job: JobRecord, started_at: datetime, last_heard_at: datetime, why: str) -> Settlement:
    """The settlement of an attempt whose end nobody reports: an interruption that lasted until it was last heard of.
    It says nothing of whether the job fails at once."""
    result = Result(started_at=started_at, ended_at=last_heard_at, interrupted=True, error=why)
    return settle(job, result, at_once=timedelta.max)


def cancelled(job: JobRecord) -> Settlement:
    """The settlement of an attempt that a person ended for good; it counts neither as a failure nor an interruption."""
    return _settlement(job, JobState.CANCELLED, Outcome.CANCELLED, CANCELLED)


def tried_again(job: JobRecord, attempts: int) -> JobRecord:
    """An ended job's record with room for so many more failures, for as many more interruptions as it was given at
    first, and with its whole timeout before it."""
    return replace(
        job,
        max_attempts=job.failures + attempts,
        failed_at_once_on=None,
        max_interruptions=None if job.max_interruptions is None else job.interruptions + job.max_interruptions,
        used_seconds=Decimal(0),
    )


def charged(job: JobRecord, attempt: Attempt) -> JobRecord:
    """The job with an ended attempt's cost added."""
    if attempt.cost_usd is None:
        return replace(job, cost_estimated=True)
    interrupted = attempt.cost_usd if attempt.outcome is Outcome.INTERRUPTED else Decimal(0)
    return replace(
        job,
        cost_usd=job.cost_usd + attempt.cost_usd,
        on_demand_cost_usd=job.on_demand_cost_usd + (attempt.on_demand_cost_usd or Decimal(0)),
        interrupted_usd=job.interrupted_usd + interrupted,
        cost_estimated=job.cost_estimated or attempt.cost_estimated,
    )


def _failed(job: JobRecord, result: Result, at_once: timedelta) -> Settlement:
    failures, why = job.failures + 1, _why_failed(result)
    early = _early(result, at_once) and not result.timed_out
    struck = tuple(dict.fromkeys(filter(None, (*_struck(job), job.instance_id)))) if early else ()
    exhausted, poison = failures >= job.max_attempts, len(struck) >= POISON_INSTANCES
    if poison and not exhausted:
        why = f"stopped early, having failed at once on {len(struck)} instances one after the other: {why}"
    return _settlement(
        job,
        JobState.FAILED if exhausted or poison else JobState.QUEUED,
        _how_failed(result),
        why,
        failures=failures,
        failed_at_once_on=struck,
        used_seconds=Decimal(0),
    )


def _early(result: Result, at_once: timedelta) -> bool:
    return result.ended_at - result.started_at < at_once


def _struck(job: JobRecord) -> tuple[str, ...]:
    return job.failed_at_once_on or ()


def _interrupted(job: JobRecord, result: Result, at_once: timedelta) -> Settlement:
    interruptions = job.interruptions + 1
    enough = job.max_interruptions is not None and interruptions >= job.max_interruptions
    return _settlement(
        job,
        JobState.FAILED if enough else JobState.QUEUED,
        Outcome.INTERRUPTED,
        "interrupted" if enough else result.error,
        failed_at_once_on=_struck(job) if _early(result, at_once) else (),
        interruptions=interruptions,
        used_seconds=job.used_seconds + running_seconds(result.started_at, result.ended_at),
    )


def running_seconds(started_at: datetime, ended_at: datetime) -> Decimal:
    """To the millisecond; 0 where a clock ran backwards."""
    return max(Decimal(0), Decimal(round((ended_at - started_at).total_seconds() * 1000)) / 1000)


def _how_failed(result: Result) -> Outcome:
    if result.timed_out:
        return Outcome.TIMEOUT
    return Outcome.OUT_OF_MEMORY if result.out_of_memory else Outcome.FAILED


def _why_failed(result: Result) -> str:
    """A code of ours where there is one; else the worker's words, which quote the job's last ones."""
    if (how := _how_failed(result)) is not Outcome.FAILED:
        return how.value
    if result.error is not None:
        return result.error
    return f"signal {result.signal}" if result.exit_code is None else f"exit {result.exit_code}"


def _settlement(
    job: JobRecord,
    state: JobState,
    outcome: Outcome,
    reason: str | None,
    *,
    failures: int | None = None,
    failed_at_once_on: tuple[str, ...] = (),
    interruptions: int | None = None,
    used_seconds: Decimal | None = None,
) -> Settlement:
    return Settlement(
        state=state,
        outcome=outcome,
        reason=reason,
        failures=job.failures if failures is None else failures,
        failed_at_once_on=failed_at_once_on or None,
        interruptions=job.interruptions if interruptions is None else interruptions,
        used_seconds=job.used_seconds if used_seconds is None else used_seconds,
    )
