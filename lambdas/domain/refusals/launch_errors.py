"""A launch error that stands: what `launch_error_timeout` and `launch_error_retries` mean.

As in Determined: once EC2 has refused an offering more than `launch_error_retries` times in a row, nothing more is
launched for `launch_error_timeout`, and queued jobs that no instance of the pool would hold fail with EC2's words
instead of waiting. At the default, a timeout of nothing, this never happens: jobs wait until AWS has capacity.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from lambdas.domain.durations import format_duration
from lambdas.domain.fleet.actions import FailQueued
from lambdas.domain.fleet.fleet import OfferingMark
from lambdas.domain.fleet.fleet_view import FleetView, suits
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.jobs.fit import fits_some_type
from lambdas.domain.reasons import Reason
from lambdas.domain.refusals.refusals import reasons_of_marks

SAME_ANSWER = timedelta(minutes=1)
"""An instance that was launched so long before a refusal may have come with the same answer: a pass makes its calls
within half a minute (control/reconcile.py, LAUNCH_RESERVE)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchError:
    mark: OfferingMark
    """The last refusal."""
    until: datetime

    def reason(self) -> Reason:
        """As EC2's refusal, with when the next try is."""
        (told,) = reasons_of_marks([self.mark], None)
        message = f"{told.message}; after {self.mark.strikes} refusals in a row nothing is launched for a while"
        return replace(told, message=message, next_attempt=self.until)


def launch_error(snapshot: Snapshot, now: datetime) -> LaunchError | None:
    """The error of the pool's own capacity type that stands; over once an instance came, the pool was changed, or its
    time has passed."""
    pool = snapshot.pool
    own = [mark for mark in snapshot.marks if mark.capacity_type is pool.capacity_type()]
    refused = [mark for mark in own if mark.strikes > pool.launch_error_retries]
    if not pool.launch_error_timeout or not refused:
        return None
    last = max(refused, key=lambda mark: (mark.marked_at, mark.instance_type, mark.zone))
    came = any(each.launched_at >= last.marked_at - SAME_ANSWER for each in snapshot.instances)
    changed = pool.applied_at is not None and pool.applied_at > last.marked_at
    until = last.marked_at + pool.launch_error_timeout
    return None if came or changed or now >= until else LaunchError(mark=last, until=until)


def failed(snapshot: Snapshot, fleet: FleetView, now: datetime) -> Sequence[FailQueued]:
    """Queued jobs that only a new instance would hold, and that no other way to get one is open to: a pool with
    `on_demand_fallback` fails none. A job that never fits waits as always (reason `never_fits`)."""
    error = launch_error(snapshot, now)
    if error is None or snapshot.pool.on_demand_fallback is not None or snapshot.intentions:
        return []
    there = (*fleet.running, *fleet.silent, *fleet.launching)
    lost = tuple(
        job.job_id
        for job in snapshot.queue
        if not any(suits(job, each, snapshot.pool) for each in there)
        and fits_some_type(job.slots, job.resources, snapshot.pool)
    )
    period = format_duration(snapshot.pool.launch_error_timeout)
    why = f"launch error: {error.mark.code}: {error.mark.message} (launch_error_timeout {period})"
    return [FailQueued(job_ids=lost, why=why)] if lost else []
