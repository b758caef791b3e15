"""What a backtest found, as one JSON-like document: what `--json` prints, what the page and the summary are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from lambdas.domain.pools.pools import CapacityType
from lowtide.backtest.accounts import HANDOVER
from lowtide.backtest.play import Assumptions, Played
from lowtide.backtest.yard import Progress

HOUR = timedelta(hours=1)
REASONS: Mapping[str, str] = {
    "starting": "an instance was on its way",
    HANDOVER: "a worker with room was about to ask",
    "limit": "the pool was at its maximum",
    "capacity": "EC2 had no capacity",
    "price": "the market was above the limit",
    "budget": "max_hourly_cost was reached",
    "paused": "the pool was paused",
    "transient": "the next look asked for the rest",
    "never_fits": "no instance type holds the job",
    "quota": "a quota was reached",
    "configuration": "the configuration forbade it",
    "permission": "a permission was missing",
    "throttling": "EC2's request rate was used up",
}
"""What each class of reasons means in a backtest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One column of the comparison."""

    name: str
    rule: str
    played: Sequence[Played]


def document(
    scenarios: Sequence[Scenario],
    *,
    market: str,
    jobs: str,
    region: str,
    begin: datetime,
    until: datetime,
    assumptions: Assumptions,
    notes: Sequence[str],
) -> dict[str, Any]:
    checkpoint = assumptions.checkpoint
    return {
        **{"market": market, "jobs": jobs, "region": region, "begin": begin, "until": until},
        "assumptions": {
            "boot_seconds": assumptions.boot.total_seconds(),
            "bare_metal_boot_seconds": assumptions.bare_metal_boot.total_seconds(),
            "checkpoint_seconds": None if checkpoint is None else checkpoint.total_seconds(),
            "restart_seconds": assumptions.restart.total_seconds(),
            "unwarned": assumptions.unwarned,
            "seed": assumptions.seed,
        },
        "notes": list(dict.fromkeys(notes)),
        "scenarios": [_scenario(each) for each in scenarios],
    }


def _scenario(scenario: Scenario) -> dict[str, Any]:
    every = [progress for played in scenario.played for progress in played.progress]
    accounts = [played.accounts for played in scenario.played]
    end = max(played.end for played in scenario.played)
    return {
        **{"name": scenario.name, "rule": scenario.rule, "pools": [played.pool.name for played in scenario.played]},
        "ended_at": end,
        "cost_usd": round(float(sum(each.cost_usd for each in accounts)), 4),
        "on_demand_cost_usd": round(float(sum(each.on_demand_usd for each in accounts)), 4),
        "idle_usd": round(float(sum(each.idle_usd for each in accounts)), 4),
        "instance_hours": _hours(sum((each.instance_time for each in accounts), timedelta(0))),
        "idle_hours": _hours(sum((each.idle for each in accounts), timedelta(0))),
        "launched": {
            str(kind): sum(launch.capacity_type is kind for each in accounts for launch in each.launches)
            for kind in CapacityType
        },
        "instances_taken_back": sum(each.interrupted_instances for each in accounts),
        "jobs": _jobs(scenario.played, every, end),
        "waiting_seconds": _waiting(every, end),
        "turnaround_seconds": _mean([_seconds(p.finished_at, p) for p in every if p.finished_at is not None]),
        "interruptions": sum(progress.interruptions for progress in every),
        "work_hours": _hours(sum((progress.job.work for progress in every), timedelta(0))),
        "work_redone_hours": _hours(sum((progress.redone for progress in every), timedelta(0))),
        "unfulfilled": _unfulfilled(scenario.played),
        "refusals": {
            code: sum(each.refusals[code] for each in accounts)
            for code in sorted({code for each in accounts for code in each.refusals})
        },
        "points": _points(scenario.played, end),
    }


def _jobs(played: Sequence[Played], every: Sequence[Progress], end: datetime) -> dict[str, int]:
    failed = sum(len(each.given_up) for each in played)
    finished = sum(progress.finished_at is not None for progress in every)
    never = sum(len(each.never_fits) for each in played)
    bound = [progress for progress in every if progress.job.deadline is not None]
    bound += [Progress(job) for each in played for job in each.never_fits if job.deadline is not None]
    return {
        **{"sent": len(every) + never, "finished": finished, "failed": failed},
        **{"unfinished": len(every) - finished - failed, "never_fit": never},
        **{"with_deadline": len(bound), "missed_deadlines": sum(_missed(progress, end) for progress in bound)},
    }


def _missed(progress: Progress, end: datetime) -> bool:
    """It ended too late, or has not ended although its deadline is over."""
    return progress.job.deadline is not None and (progress.finished_at or end) > progress.job.deadline


def _waiting(every: Sequence[Progress], end: datetime) -> dict[str, float | None]:
    """From being sent to the first start; of a job that never started, to the end."""
    waits = sorted(_seconds(progress.started_at or end, progress) for progress in every)
    return {
        "mean": _mean(waits),
        "median": _quantile(waits, 0.5),
        "p95": _quantile(waits, 0.95),
        "most": _quantile(waits, 1.0),
        "whole_mean": _mean([progress.waited.total_seconds() for progress in every]),
    }


def _seconds(at: datetime | None, progress: Progress) -> float:
    return 0.0 if at is None else (at - progress.job.submitted_at).total_seconds()


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 3) if values else None


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) if ordered else None


def _hours(span: timedelta) -> float:
    return round(span / HOUR, 4)


def _unfulfilled(played: Sequence[Played]) -> list[dict[str, Any]]:
    """By the class of the first reason: how long instances were missing, how many times how long, and what jobs waited
    through; the longest waiting first."""
    names = {name for each in played for name in (*each.accounts.waiting_jobs, *each.accounts.unfulfilled_time)}
    rows = [
        {
            "reason": name,
            "meaning": REASONS.get(name, name),
            "hours": _hours(sum((each.accounts.unfulfilled_time[name] for each in played), timedelta(0))),
            "instance_hours": round(sum(each.accounts.unfulfilled_instances[name] for each in played), 4),
            "job_hours": round(sum(each.accounts.waiting_jobs[name] for each in played), 4),
        }
        for name in sorted(names)
    ]
    return sorted(rows, key=lambda row: (-row["hours"], -row["job_hours"]))


def _points(played: Sequence[Played], end: datetime) -> list[dict[str, Any]]:
    """Means of each stretch of time; money as it was spent up to its end."""
    begin, bucket = played[0].begin, played[0].accounts.bucket
    lines = {
        "instances": [each.accounts.instances_line.means(end) for each in played],
        "waiting_jobs": [each.accounts.waiting_line.means(end) for each in played],
        "missing": [each.accounts.missing_line.means(end) for each in played],
    }
    count = max((len(line) for found in lines.values() for line in found), default=0)
    spent_in = _spent_in(played, count)
    points: list[dict[str, Any]] = []
    spent = 0.0
    for number in range(count):
        spent += spent_in[number]
        values = {
            name: round(sum(line[number] for line in found if number < len(line)), 3) for name, found in lines.items()
        }
        points.append({"at": begin + number * bucket, "spent_usd": round(spent, 4), **values})
    return points


def _spent_in(played: Sequence[Played], count: int) -> list[float]:
    """USD by stretch. What lies behind the last one is the last one's: an instance costs a minute at least, even where
    the backtest ends before."""
    found = [0.0] * count
    for each in played:
        for number, usd in each.accounts.spent.items():
            found[min(number, count - 1)] += usd
    return found
