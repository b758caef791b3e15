"""The demo's end: what happened, as JSON and in words, and whether it proved what it has to (contract section 1)."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table

from lambdas.domain.jobs.job_record import Attempt, JobRecord, Outcome
from lambdas.domain.jobs.jobs import JobState
from lowtide.demo.watch import Moment, Record

INTERRUPTED_AT_LEAST = 3


def build(
    *,
    record: Record,
    last: Moment,
    attempts: Mapping[str, Sequence[Attempt]],
    minimums: Mapping[str, int],
    bill: Sequence[Mapping[str, Any]],
    alarm: str,
    total: int,
    seconds: float,
    seed: int,
) -> dict[str, Any]:
    """`demo-report.json`: every number of the report, and `checks` with each thing that had to be shown."""
    jobs = [_job(job, attempts[job.job_id]) for job in last.jobs]
    waits = sorted(job["waited_seconds"] for job in jobs if job["waited_seconds"] is not None)
    intervals = [
        {**asdict(i), "seconds": round((i.until - i.since).total_seconds(), 1)}
        for i in record.intervals
        if i.reason_class != "starting"
    ]
    spent, on_demand = (sum((row[key] for row in bill), Decimal(0)) for key in ("cost_usd", "on_demand_cost_usd"))
    return {
        "seed": seed,
        "seconds": round(seconds, 1),
        "jobs": {
            "submitted": total,
            "succeeded": sum(job["state"] == JobState.SUCCEEDED for job in jobs),
            "attempts": sum(job["attempts"] for job in jobs),
            "interrupted_in_mid_run": sum(job["interrupted_in_mid_run"] for job in jobs),
            "interruptions": sum(job["interruptions"] for job in jobs),
        },
        "waiting_seconds": _spread(waits),
        "unfulfilled": intervals,
        "alarms": record.alarms,
        "instances": len(bill),
        "cost": {"spent_usd": spent, "on_demand_usd": on_demand},
        "pools": [_pool_at_end(pool.name, pool.summary, minimums[pool.name]) for pool in last.pools],
        "checks": _checks(jobs, intervals, record.alarms.get(alarm, []), last, minimums, total),
        "every_job": jobs,
    }


def passed(report: Mapping[str, Any]) -> bool:
    return all(report["checks"].values())


def print_report(report: Mapping[str, Any], console: Console) -> None:
    """The same for people."""
    jobs, cost, waits = report["jobs"], report["cost"], report["waiting_seconds"]
    console.rule("report")
    console.print(
        f"[bold]{jobs['succeeded']} of {jobs['submitted']} jobs succeeded[/bold] in {report['seconds']:.0f} s, "
        f"{jobs['attempts']} attempts on {report['instances']} instances; {jobs['interrupted_in_mid_run']} jobs were "
        f"interrupted in mid-run, {jobs['interruptions']} times in all."
    )
    console.print(
        f"Waiting time: median {waits['median']} s, 95th percentile {waits['p95']} s, longest {waits['most']} s."
    )
    if cost["on_demand_usd"]:
        saved = 100 * (1 - cost["spent_usd"] / cost["on_demand_usd"])
        console.print(
            f"Instances cost ${cost['spent_usd']:.2f}; the same hours on demand ${cost['on_demand_usd']:.2f} "
            f"({saved:.0f} % saved, at the local market's prices)."
        )
    _print_intervals(report["unfulfilled"], console)
    for name, states in report["alarms"].items():
        if "ALARM" in states:
            console.print(f"Alarm {name}: {' → '.join(states)}")
    for check, held in report["checks"].items():
        console.print(f"{'[green]✓[/green]' if held else '[red]✗[/red]'} {check}")


def _print_intervals(intervals: Sequence[Mapping[str, Any]], console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", title="Missing capacity", title_justify="left")
    for column in ("pool", "class", "for", "missing", "why"):
        table.add_column(column)
    for row in intervals:
        seconds = f"{row['seconds']:.0f} s"
        table.add_row(row["pool"], row["reason_class"], seconds, str(row["most_missing"]), row["message"])
    if intervals:
        console.print(table)


def _job(job: JobRecord, attempts: Sequence[Attempt]) -> dict[str, Any]:
    cut_short = [a for a in attempts if a.outcome is Outcome.INTERRUPTED and a.ended_at and a.ended_at > a.started_at]
    return {
        **{"id": job.job_id, "pool": job.pool, "state": job.state.value, "slots": job.slots},
        **{"attempts": job.attempts, "interruptions": job.interruptions, "reason": job.reason},
        "interrupted_in_mid_run": bool(cut_short),
        "waited_seconds": _seconds(job.submitted_at, job.started_at),
        "total_seconds": _seconds(job.submitted_at, job.finished_at),
    }


def _seconds(begin: datetime, end: datetime | None) -> float | None:
    return None if end is None else round((end - begin).total_seconds(), 1)


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    """Median, 95th percentile and most of sorted values; None where there are none."""
    if not values:
        return {"median": None, "p95": None, "most": None}
    return {"median": statistics.median(values), "p95": values[int(0.95 * (len(values) - 1))], "most": values[-1]}


def _pool_at_end(name: str, summary: Mapping[str, Any], minimum: int) -> dict[str, Any]:
    kept = ("desired", "running", "launching", "draining", "unfulfilled", "queued_jobs", "running_jobs")
    return {"name": name, "min_instances": minimum, **{key: summary.get(key, 0) for key in kept}}


def at_rest(moment: Moment, minimums: Mapping[str, int]) -> bool:
    """Whether every pool has exactly its minimum, nothing starting and nothing draining."""
    return all(
        pool.number("running") == minimums[pool.name] and not pool.number("launching") and not pool.number("draining")
        for pool in moment.pools
    )


def _checks(
    jobs: Sequence[Mapping[str, Any]],
    intervals: Sequence[Mapping[str, Any]],
    alarm: Sequence[str],
    last: Moment,
    minimums: Mapping[str, int],
    total: int,
) -> dict[str, bool]:
    classes = {row["reason_class"] for row in intervals}
    raised = alarm.index("ALARM") if "ALARM" in alarm else None
    return {
        f"every one of {total} jobs succeeded": len(jobs) == total and all(j["state"] == "succeeded" for j in jobs),
        f"at least {INTERRUPTED_AT_LEAST} jobs were interrupted in mid-run and finished": sum(
            job["interrupted_in_mid_run"] and job["state"] == "succeeded" for job in jobs
        )
        >= INTERRUPTED_AT_LEAST,
        "a price shortage was recorded with its reason": "price" in classes,
        "a capacity shortage was recorded with its reason": "capacity" in classes,
        "the alarm on unfulfilled capacity went to ALARM and back to OK": raised is not None and "OK" in alarm[raised:],
        "every pool is at its minimum": at_rest(last, minimums),
    }
