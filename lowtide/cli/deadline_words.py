"""What `submit`, `jobs show` and `why` say of a job's deadline."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from lambdas.adapters.ledger import Ledger
from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.table import Table
from lambdas.domain.durations import format_duration
from lambdas.domain.fleet.lead import slowest
from lambdas.domain.jobs.job_record import JobRecord
from lambdas.domain.jobs.jobs import JobSpec, JobState
from lambdas.domain.jobs.recurrence import recurs_as
from lambdas.domain.jobs.terms import OnDemand
from lambdas.domain.jobs.work import EstimateFrom
from lambdas.domain.plan.outlook import chance_on_spot, seen_for
from lambdas.domain.plan.urgency import RESTORING, Verdict, allows, told
from lambdas.domain.pools.pools import CapacityType, Pool
from lambdas.domain.settings import Settings
from lowtide.cli.output import span
from lowtide.cli.pool_numbers import Seen, seen
from lowtide.jobfile import Job

SUBMITTED_MOST = 10
"""Jobs of one submission of which something is said, and jobs of a pool that `why` lists."""
_FROM = {EstimateFrom.ASKED: "as submitted", EstimateFrom.LEARNED: "the longest of its last runs here"}


# --- submit -----------------------------------------------------------------------------------------------------------


def submitted(table: Table, settings: Settings, jobs: Sequence[Job], now: datetime) -> Iterator[str]:
    """What is to be known of new jobs' deadlines: those that cannot be met, are best effort, or decide nothing.
    `settings` are the deployed stack's."""
    timely = [job for job in jobs if job.spec.deadline is not None]
    if not timely:
        return
    pools = {each.pool.name: each for each in seen(table, PoolConfig(table).pools())}
    ledger = Ledger(table, jobs_kept=settings.jobs_kept)
    for job in timely[:SUBMITTED_MOST]:
        for line in _submitted(job.spec, pools[job.spec.pool], ledger, settings.look_again, now):
            yield f"{job.job_id}: {line}"
    if len(timely) > SUBMITTED_MOST:
        yield f"and {len(timely) - SUBMITTED_MOST} more jobs with deadlines: `lowtide jobs show ID`"


def _submitted(spec: JobSpec, each: Seen, ledger: Ledger, look_again: timedelta, now: datetime) -> Iterator[str]:
    assert spec.deadline is not None
    if spec.deadline <= now:
        yield "its deadline has passed: it runs as ordinary work"
        return
    if (why := _best_effort(each.pool, spec.on_demand)) is not None:
        yield why
    work = spec.estimated_duration or _learned(spec, ledger)
    if work is None:
        yield _UNKNOWN
        return
    start = slowest(each.launch_times, each.pool) + look_again + RESTORING
    if now + work + start > spec.deadline:
        yield (
            f"its deadline cannot be met even on on-demand: it needs {_about(work)} and some {_about(start)} to start, "
            f"and has {_about(spec.deadline - now)}; it is run as fast as the pool allows"
        )


_UNKNOWN = (
    "nothing tells how long it takes, so that its deadline decides nothing yet: give estimated_duration, or have it "
    "write its progress to LOWTIDE_PROGRESS_FILE"
)


def _learned(spec: JobSpec, ledger: Ledger) -> timedelta | None:
    seconds = ledger.learned(spec.pool, recurs_as(spec))
    return None if seconds is None else timedelta(seconds=float(seconds))


def _best_effort(pool: Pool, word: OnDemand) -> str | None:
    """None: on-demand instances may be bought for it."""
    if allows(pool, word):
        return None
    if word is OnDemand.NEVER:
        return 'its deadline is best effort: its on_demand is "never", so that it waits for spot whatever comes'
    return (
        f"its deadline is best effort: pool {pool.name} allows no on-demand instances "
        "(its owner may set on_demand_fallback)"
    )


# --- jobs show, why ---------------------------------------------------------------------------------------------------


def document(job: JobRecord, each: Seen | None, now: datetime) -> dict[str, Any]:
    """The fields that `--json` has beside the others; every key there, null in a job without a deadline."""
    verdict = _verdict(job, each)
    chance = None if verdict is None or each is None else chance_on_spot(verdict, each.availability, now)
    return {
        **{"deadline": job.deadline, "deadline_missed": _missed(job, now)},
        **{"estimated_seconds": job.estimated_seconds, "estimate_from": job.estimate_from},
        "work_left_seconds": verdict and verdict.work_seconds,
        "slack_seconds": verdict and verdict.slack_seconds,
        "spot_alone_in_time": None if chance is None else round(Decimal(chance), 3),
        "on_demand_at": verdict and verdict.on_demand_at,
        "deadline_best_effort": None if job.deadline is None or each is None else not allows(each.pool, job.on_demand),
        **{"deadline_way": verdict and verdict.way, "deadline_why": verdict and verdict.why},
    }


def rows(job: JobRecord, each: Seen | None, now: datetime) -> dict[str, str]:
    """The same for people: name and sentence; nothing of a job without a deadline."""
    if job.deadline is None:
        return {}
    found = {"deadline": f"{job.deadline:%Y-%m-%d %H:%M:%S} UTC, {_how_near(job, now)}"}
    if job.finished_at is not None:
        return found
    found["estimate"] = _estimate(job)
    if each is not None and (why := _best_effort(each.pool, job.on_demand)) is not None:
        found["best effort"] = why
    verdict = _verdict(job, each)
    if each is None or verdict is None:
        found["slack"] = "known with the pool's next pass"
        return found
    return found | _thought(verdict, each, now)


def _thought(verdict: Verdict, each: Seen, now: datetime) -> dict[str, str]:
    """What the last pass made of it."""
    found = {"decision": f"{verdict.way}: {verdict.why}" if verdict.way else verdict.why}
    if verdict.work_seconds is None or verdict.slack_seconds is None:
        return found
    found["slack"] = _slack(verdict)
    if each.pool.spot and verdict.deadline > now:
        found["spot alone"] = _chance(verdict, each, now)
        if verdict.on_demand_at is not None:
            found["on-demand"] = _when(verdict, now)
    return found


def of_pool(each: Seen) -> Iterator[str]:
    """The pool's jobs with deadlines, the least slack first, as the last pass thought of them."""
    if not each.verdicts:
        return
    yield ""
    yield "Deadlines, the least slack first:"
    for verdict in sorted(each.verdicts.values(), key=lambda v: (v.slack_seconds is None, v.slack_seconds or 0))[
        :SUBMITTED_MOST
    ]:
        yield f"   {told(verdict)}"


def _verdict(job: JobRecord, each: Seen | None) -> Verdict | None:
    if each is None or job.deadline is None or job.state not in (JobState.QUEUED, JobState.RUNNING):
        return None
    return each.verdicts.get(job.job_id)


def _missed(job: JobRecord, now: datetime) -> bool | None:
    """A job that ended without success has not been done by then either."""
    if job.deadline is None:
        return None
    if job.state is JobState.SUCCEEDED and job.finished_at is not None:
        return job.finished_at > job.deadline
    return job.finished_at is not None or now > job.deadline


def _how_near(job: JobRecord, now: datetime) -> str:
    assert job.deadline is not None
    if job.state is JobState.SUCCEEDED and job.finished_at is not None:
        spare = job.deadline - job.finished_at
        return f"met {span(spare)} before" if spare >= timedelta() else f"missed by {span(-spare)}"
    if job.finished_at is not None:
        return f"missed: the job {job.state.value}"
    left = job.deadline - now
    return f"in {span(left)}" if left > timedelta() else f"missed {span(-left)} ago: it runs on as ordinary work"


def _estimate(job: JobRecord) -> str:
    if job.estimated_seconds is None or job.estimate_from is None:
        return "none: by its progress, once it reports some in LOWTIDE_PROGRESS_FILE"
    return f"{_about(timedelta(seconds=float(job.estimated_seconds)))}, {_FROM[job.estimate_from]}"


def _slack(verdict: Verdict) -> str:
    work, slack = timedelta(seconds=verdict.work_seconds or 0), timedelta(seconds=verdict.slack_seconds or 0)
    start = "" if verdict.runs_on else f" and {_about(timedelta(seconds=verdict.restart_seconds))} to start"
    if slack >= timedelta():
        return f"{_about(slack)}, beside {_about(work)} of work{start}"
    return f"none: {_about(-slack)} too little, even on on-demand, for {_about(work)} of work{start}"


def _chance(verdict: Verdict, each: Seen, now: datetime) -> str:
    chance, record = chance_on_spot(verdict, each.availability, now), seen_for(each.availability, now)
    if chance is None:
        return f"not known whether it would do: this pool's record of its market is {_about(record)} long"
    return f"in time in {chance:.0%} of cases, as far as the last {_about(record)} of this pool's market tell"


def _when(verdict: Verdict, now: datetime) -> str:
    at = verdict.on_demand_at
    assert at is not None
    when = "now" if at <= now else f"at {at:%Y-%m-%d %H:%M:%S} UTC"
    if verdict.runs_on is CapacityType.SPOT:
        return f"not while its spot instance lasts; waiting for another would be safe until {when}"
    return f"{when} at the latest, unless spot comes first"


def _about(period: timedelta) -> str:
    """To the minute, from an hour on; else to the second."""
    unit = timedelta(minutes=1) if period >= timedelta(hours=1) else timedelta(seconds=1)
    return format_duration(round(period / unit) * unit)
