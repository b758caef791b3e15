"""Waiting for jobs to end, a few or many thousands: one look at all of them every two seconds."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lambdas.adapters.ledger import Ledger
from lambdas.domain.jobs.job_record import JobRecord
from lambdas.domain.jobs.jobs import JobState
from lowtide.cli.connection import Deployment, utc_now
from lowtide.cli.errors import Failure
from lowtide.cli.output import console
from lowtide.cli.parked_jobs import EVER, parked_jobs

ENDED = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.PARKED}
POLL_SECONDS = 2.0


def ledger_of(deployment: Deployment) -> Ledger:
    return Ledger(deployment.table, jobs_kept=deployment.settings.jobs_kept)


def wait_for(
    deployment: Deployment, job_ids: Sequence[str], *, timeout: float | None = None, sent_since: datetime = EVER
) -> int:
    """0 when every job succeeded, else 1. A job that the stack has not accepted yet is waited for too, unless its
    message, sent since then, was parked.

    Says how each ended. Raises Failure when the time is over."""
    ledger = ledger_of(deployment)
    waiting = list(dict.fromkeys(job_ids))
    give_up = None if timeout is None else utc_now() + timedelta(seconds=timeout)
    failed = 0
    with bar("jobs ended", len(waiting)) as progress:
        task = progress.task_ids[0]
        while waiting:
            known = ledger.found(waiting)
            known |= parked_jobs(deployment.table, set(waiting) - set(known), sent_since)
            ended = {key: job for key, job in known.items() if job.state in ENDED}
            for job_id in (each for each in waiting if each in ended):
                console().print(_told(ended[job_id]), markup=False)
            failed += sum(job.state is not JobState.SUCCEEDED for job in ended.values())
            waiting = [job_id for job_id in waiting if job_id not in ended]
            progress.advance(task, len(ended))
            if waiting:
                _pause(waiting, give_up)
    return 1 if failed else 0


def bar(title: str, total: int) -> Progress:
    """A progress bar on stderr with one task, where that is a terminal; else one that shows nothing."""
    shown = Console(stderr=True)
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal or total < 2)
    progress.add_task(title, total=total)
    return progress


def _told(job: JobRecord) -> str:
    return f"{job.job_id} {job.state.value}" + (f": {job.reason}" if job.reason else "")


def _pause(waiting: Sequence[str], give_up: datetime | None) -> None:
    if give_up is not None and utc_now() >= give_up:
        more = f" and {len(waiting) - 3} more" if len(waiting) > 3 else ""
        raise Failure(f"still waiting for {', '.join(waiting[:3])}{more}: see `lowtide jobs show {waiting[0]}`")
    time.sleep(POLL_SECONDS)
