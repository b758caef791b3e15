"""`lowtide jobs`: what was asked of the queue, and what became of it."""

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import typer

from lambdas import names
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.pool_config import PoolConfig
from lambdas.domain.jobs.job_record import Attempt, JobRecord, Release, charged
from lambdas.domain.jobs.jobs import JobState, Resources
from lambdas.domain.words import several
from lowtide.cli import deadline_words, job_changes
from lowtide.cli.connection import Deployment, utc_now
from lowtide.cli.job_changes import job_of
from lowtide.cli.options import DEFAULT_STACK, AsJson, Stack
from lowtide.cli.output import ago, console, print_json, print_rows
from lowtide.cli.parked_jobs import parked_job
from lowtide.cli.pool_numbers import Seen, reason_object, seen
from lowtide.cli.remedies import for_stack
from lowtide.cli.waiting import ENDED, ledger_of, wait_for
from lowtide.joblogs import JobLogs

app = typer.Typer(help="Jobs: list, show, wait, logs, cancel, retry.", no_args_is_help=True)
app.command("cancel")(job_changes.cancel)
app.command("retry")(job_changes.retry)

LIST_LIMIT = 100

Id = Annotated[str, typer.Argument(help="Job id.")]


@app.command("list")
def list_jobs(
    pool: Annotated[str | None, typer.Option(help="Only this pool's.")] = None,
    state: Annotated[JobState | None, typer.Option(help="Only in this state.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = LIST_LIMIT,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Jobs, the last changed first."""
    deployment = Deployment(stack)
    jobs = _listed(deployment, pool, state, limit)
    if as_json:
        print_json([_summary(job) for job in jobs])
        return
    now = utc_now()
    rows = [{**_summary(job), "age": ago(job.submitted_at, now), "reason": job.reason} for job in jobs]
    print_rows(("id", "pool", "state", "slots", "attempts", "interruptions", "age", "reason"), rows, empty="No jobs.")


@app.command()
def show(job_id: Id, stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """One job with every attempt."""
    deployment = Deployment(stack)
    ledger = ledger_of(deployment)
    job = ledger.job(job_id) or parked_job(deployment.table, job_id) or job_of(ledger, job_id)
    each = _pool_of(deployment, job) if job.state is JobState.QUEUED or job.deadline else None
    waits = next(iter(each.reasons), None) if each and job.state is JobState.QUEUED else None
    told = None if waits is None else reason_object(waits)
    now = deployment.now()
    outlook = deadline_words.document(job, each, now)
    given_back = [_release(each) for each in ledger.releases(job)]
    document: dict[str, Any] = {**described(ledger, job, now), "releases": given_back, "pool_reason": told, **outlook}
    if as_json:
        print_json(document)
        return
    attempts, releases = document.pop("attempts"), document.pop("releases")
    for name in outlook:
        del document[name]
    document.update(deadline_words.rows(job, each, now))
    document["resources"] = job.resources and _in_words(job.resources)
    if waits is not None:
        document["pool_reason"] = f"{waits.reason_class.value}: {waits.message}"
        document["to_do"] = for_stack(waits.remedy, stack)
    if job.state is JobState.PARKED:
        document["to_do"] = for_stack(f"`lowtide parked list --job {job_id}`", stack)
    for key, value in document.items():
        if value is not None:
            console().print(f"{key.replace('_', ' '):<18} {value}", markup=False)
    columns = (
        "n",
        "instance_id",
        "instance_type",
        "availability_zone",
        "lifecycle",
        "started_at",
        "ended_at",
        "outcome",
    )
    print_rows((*columns, "exit_code", "cost_usd"), attempts, empty="No attempt yet.")
    for each in releases:
        console().print(_given_back(each), markup=False)


def _pool_of(deployment: Deployment, job: JobRecord) -> Seen | None:
    """What the job's pool concluded last; None: the pool is no more."""
    pool = PoolConfig(deployment.table).pool(job.pool)
    return None if pool is None else seen(deployment.table, [pool])[0]


@app.command()
def wait(
    job_ids: Annotated[list[str], typer.Argument(help="Job ids.")],
    timeout: Annotated[float | None, typer.Option(help="Give up after so many seconds.", min=0)] = None,
    stack: Stack = DEFAULT_STACK,
) -> None:
    """Wait until the jobs have ended; exit 0 only if every one succeeded."""
    raise typer.Exit(wait_for(Deployment(stack), job_ids, timeout=timeout))


@app.command()
def logs(
    job_id: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until the job ends.")] = False,
    attempt: Annotated[int | None, typer.Option(help="This attempt; default: the last.", min=1)] = None,
    stack: Stack = DEFAULT_STACK,
) -> None:
    """What a job wrote: stdout and stderr, in order."""
    deployment = Deployment(stack)
    ledger = ledger_of(deployment)
    job = job_of(ledger, job_id)
    reader = JobLogs(deployment.client("logs"), deployment.output(names.OUTPUT_WORKER_LOG_GROUP_NAME))
    for line in _lines(reader, ledger, job, attempt, follow=follow):
        typer.echo(line)


def _lines(reader: JobLogs, ledger: Ledger, job: JobRecord, attempt: int | None, *, follow: bool) -> Iterator[str]:
    """One attempt's lines; following without a named attempt goes on with the attempts to come."""
    if not follow:
        yield from reader.lines(job.pool, job.job_id, attempt or job.attempts)
        return
    number = attempt or max(1, job.attempts)
    while True:
        yield from reader.follow(
            job.pool,
            job.job_id,
            number,
            running=partial(_on_attempt, ledger, job.job_id, number, waits=attempt is None),
        )
        now = job_of(ledger, job.job_id)
        if attempt is not None or (now.state in ENDED and now.attempts <= number):
            return
        number += 1


def _on_attempt(ledger: Ledger, job_id: str, number: int, *, waits: bool) -> bool:
    """Whether this attempt runs, or, where it is waited for, may yet begin."""
    job = job_of(ledger, job_id)
    if job.attempts < number:
        return waits and job.state not in ENDED
    return job.attempts == number and job.state is JobState.RUNNING


def described(ledger: Ledger, job: JobRecord, now: datetime) -> dict[str, Any]:
    """The job as `jobs show --json` prints it (contract section 3). An attempt that runs costs what it has so far, and
    so does its job."""
    attempts = ledger.attempts(job, now)
    for running in (attempt for attempt in attempts if attempt.ended_at is None):
        job = charged(job, running)
    return {
        **_summary(job),
        "attempts": [_attempt(attempt) for attempt in attempts],
        "exit_code": job.exit_code,
        "reason": job.reason,
        "position": ledger.position(job) if job.state is JobState.QUEUED else None,
        **{"cost_usd": job.cost_usd, "on_demand_cost_usd": job.on_demand_cost_usd},
        **{"interrupted_usd": job.interrupted_usd, "cost_estimated": job.cost_estimated},
    }


def _listed(deployment: Deployment, pool: str | None, state: JobState | None, limit: int) -> list[JobRecord]:
    ledger = ledger_of(deployment)
    pools = [pool] if pool else [found.name for found in PoolConfig(deployment.table).pools()]
    jobs = [job for name in pools for job in _first(ledger.jobs(name, state=state), limit)]
    return sorted(jobs, key=lambda job: job.finished_at or job.started_at or job.submitted_at, reverse=True)[:limit]


def _first(jobs: Iterator[JobRecord], limit: int) -> Iterator[JobRecord]:
    return (job for _, job in zip(range(limit), jobs, strict=False))


def _in_words(resources: Resources) -> str:
    gpus = f", {several(resources.gpus, 'GPU')}" if resources.gpus else ""
    return f"{resources.vcpus:f} {'vCPU' if resources.vcpus == 1 else 'vCPUs'}, {resources.memory_mib} MiB{gpus}"


def _summary(job: JobRecord) -> dict[str, Any]:
    resources = job.resources and {
        "vcpus": job.resources.vcpus,
        "memory_mib": job.resources.memory_mib,
        "gpus": job.resources.gpus,
    }
    return {
        **{"id": job.job_id, "pool": job.pool, "state": job.state.value, "slots": job.slots, "resources": resources},
        **{"priority": job.priority, "submitted_at": job.submitted_at, "started_at": job.started_at},
        **{"finished_at": job.finished_at, "attempts": job.attempts, "interruptions": job.interruptions},
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        **{"n": attempt.n, "instance_id": attempt.instance_id, "instance_type": attempt.instance_type},
        **{"availability_zone": attempt.availability_zone, "lifecycle": attempt.lifecycle},
        **{"started_at": attempt.started_at, "ended_at": attempt.ended_at},
        **{"outcome": attempt.outcome and attempt.outcome.value, "exit_code": attempt.exit_code},
        **{"cost_usd": attempt.cost_usd, "cost_estimated": attempt.cost_estimated},
    }


def _release(release: Release) -> dict[str, Any]:
    return {
        **{"n": release.n, "times": release.times, "instance_id": release.instance_id},
        **{"at": release.at, "reason": release.reason},
    }


def _given_back(release: dict[str, Any]) -> str:
    often = "" if release["times"] == 1 else f" {release['times']} times, the last"
    where = f"by {release['instance_id']} at {release['at']:%Y-%m-%d %H:%M:%S} UTC"
    return f"Attempt {release['n']} was given back before it began{often and ','}{often} {where}: {release['reason']}"
