"""A job of a backtest: when it was sent, what it takes, and how long it computes. What files say of jobs is read in
job_files.py."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from lambdas.domain.fleet.fleet import Lease
from lambdas.domain.jobs.jobs import QueuedJob, Resources
from lambdas.domain.jobs.terms import OnDemand


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    job_id: str
    submitted_at: datetime
    work: timedelta
    """Compute time on one instance, were it never interrupted."""
    pool: str | None = None
    """None: the only pool of the pools file."""
    slots: int = 1
    resources: Resources | None = None
    priority: int = 0
    on_demand: OnDemand = OnDemand.AUTO
    spot_max_price: Decimal | None = None
    deadline: datetime | None = None
    estimated_duration: timedelta | None = None
    """What its sender told the deadline policy; None: nothing."""
    line: int = 0
    """Of the file that it was read from; 0: it is from no file."""

    def moved(self, by: timedelta) -> "Job":
        """The same job sent earlier or later, its deadline with it."""
        deadline = None if self.deadline is None else _moved(self.deadline, by)
        return replace(self, submitted_at=self.submitted_at + by, deadline=deadline)


def _moved(deadline: datetime, by: timedelta) -> datetime:
    """One at an end of the calendar, which stands for never, stays there."""
    try:
        return deadline + by
    except OverflowError:
        return deadline


def queued(job: Job, now: datetime, *, interruptions: int, saved: timedelta) -> QueuedJob:
    """Its queue entry from now on; `saved`: the work that its earlier attempts left."""
    return QueuedJob(
        job_id=job.job_id,
        slots=job.slots,
        resources=job.resources,
        submitted_at=job.submitted_at,
        queued_at=now,
        interruptions=interruptions,
        **_shared(job, saved),
    )


def leased(job: Job, saved: timedelta, values: dict[str, Any]) -> Lease:
    """The lease of a claim, with `values` beside what the job itself says."""
    return Lease(job_id=job.job_id, submitted_at=job.submitted_at, **_shared(job, saved), **values)


def _shared(job: Job, saved: timedelta) -> dict[str, Any]:
    estimated = None if job.estimated_duration is None else _seconds(job.estimated_duration)
    return {
        **{"priority": job.priority, "on_demand": job.on_demand, "spot_max_price": job.spot_max_price},
        **{"deadline": job.deadline, "estimated_seconds": estimated},
        "kept_seconds": _seconds(saved) if saved else None,
    }


def told(lease: Lease, ran: timedelta, saved: timedelta) -> Lease:
    """The lease with what its worker tells of the running attempt."""
    return replace(lease, ran_seconds=_seconds(ran), saved_seconds=_seconds(saved) if saved else None)


def _seconds(period: timedelta) -> Decimal:
    return Decimal(round(period.total_seconds()))


def period(jobs: Sequence[Job]) -> tuple[datetime, datetime]:
    """From the first to the last submission."""
    instants = [job.submitted_at for job in jobs]
    return min(instants), max(instants)
