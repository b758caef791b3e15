"""`lowtide jobs cancel` and `lowtide jobs retry`: a person's word on jobs that are in the ledger."""

from collections.abc import Callable
from typing import Annotated

import typer

from lambdas.adapters.ledger import Ledger
from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.table import Conflict
from lambdas.domain.jobs.job_record import JobRecord
from lambdas.domain.jobs.jobs import JobState
from lowtide.cli import changes
from lowtide.cli.asking import confirm
from lowtide.cli.connection import Deployment
from lowtide.cli.errors import Failure
from lowtide.cli.options import DEFAULT_STACK, Stack, Yes
from lowtide.cli.waiting import ledger_of

_TRIES = 5
"""How often a job that moves while it is being changed is read anew."""

Ids = Annotated[list[str], typer.Argument(help="Job ids.")]


def cancel(job_ids: Ids, stack: Stack = DEFAULT_STACK, yes: Yes = False) -> None:
    """End jobs that wait or run. A running one gets SIGTERM at its worker's next heartbeat, SIGKILL 30 s later."""
    _each(stack, job_ids, "Cancel", _cancelled, yes=yes)


def retry(
    job_ids: Ids,
    attempts: Annotated[int, typer.Option(help="So many more tries.", min=1, max=1000)] = 1,
    stack: Stack = DEFAULT_STACK,
    yes: Yes = False,
) -> None:
    """Let jobs that failed or were cancelled run again, under their ids and from their last checkpoints."""
    _each(stack, job_ids, "Run again", lambda d, ledger, job_id: _retried(d, ledger, job_id, attempts), yes=yes)


Change = Callable[[Deployment, Ledger, str], str]
"""Does it to one job; what it came to, in words."""


def _each(stack: str, job_ids: list[str], verb: str, change: Change, *, yes: bool) -> None:
    deployment = Deployment(stack)
    deployment.announce()
    wanted = list(dict.fromkeys(job_ids))
    if len(wanted) > 1:
        confirm(f"{verb} {len(wanted)} jobs?", yes=yes)
    ledger = ledger_of(deployment)
    changes.make(lambda job_id: change(deployment, ledger, job_id), wanted)


def _cancelled(deployment: Deployment, ledger: Ledger, job_id: str) -> str:
    for _ in range(_TRIES):
        job = job_of(ledger, job_id)
        if job.state is JobState.CANCELLED:
            return "cancelled already"
        if job.state not in (JobState.QUEUED, JobState.RUNNING):
            remedy = f"`lowtide parked delete` forgets it (`lowtide parked list --job {job_id}`)"
            raise Failure(
                f"{job_id} is {job.state.value}, so there is nothing to cancel"
                + (f": {remedy}" if job.state is JobState.PARKED else "")
            )
        if ledger.cancel(job, deployment.now()):
            running = job.state is JobState.RUNNING
            return f"cancelled; {job.instance_id} stops it within a heartbeat" if running else "cancelled"
    raise _moving(job_id)


def _retried(deployment: Deployment, ledger: Ledger, job_id: str, attempts: int) -> str:
    for _ in range(_TRIES):
        job = job_of(ledger, job_id)
        _refuse(deployment, job)
        try:
            ledger.retry(job, attempts, deployment.now())
        except Conflict:
            if ledger.spec(job_id) is None:
                raise Failure(f"what {job_id} was asked to run is not kept any more: submit it anew") from None
            continue
        return f"queued again, attempt {job.attempts + 1}"
    raise _moving(job_id)


def _refuse(deployment: Deployment, job: JobRecord) -> None:
    match job.state:
        case JobState.QUEUED | JobState.RUNNING:
            raise Failure(f"{job.job_id} is {job.state.value}: cancel it first, or wait for its end")
        case JobState.SUCCEEDED:
            raise Failure(f"{job.job_id} succeeded: submit it under another id to run it once more")
        case JobState.PARKED:
            raise Failure(
                f"{job.job_id} is parked: `lowtide parked list --job {job.job_id}` says why, "
                "`lowtide parked redrive` sends it again"
            )
        case _:
            pool = PoolConfig(deployment.table).pool(job.pool)
            if pool is None or pool.deleted:
                raise Failure(f"pool {job.pool} of {job.job_id} is gone: submit the job to another pool")


def job_of(ledger: Ledger, job_id: str) -> JobRecord:
    if (job := ledger.job(job_id)) is None:
        remedy = f"see `lowtide parked list --job {job_id}`"
        raise Failure(f"there is no job {job_id}: it ended long ago, or was never accepted ({remedy})")
    return job


def _moving(job_id: str) -> Failure:
    return Failure(f"{job_id} keeps changing its state: try again, and see `lowtide jobs show {job_id}`")
