"""The comparison as rows of words, one column a scenario: for the terminal and for the page alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lowtide.report.page import span, usd

Scenario = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    name: str
    cells: Sequence[str]
    best: frozenset[int]
    """Columns with the least value, where less is better and the columns differ."""


def rows(document: Mapping[str, Any]) -> list[Row]:
    found: Sequence[Scenario] = document["scenarios"]
    told = [
        _row(found, "cost", lambda s: s["cost_usd"], usd, least=True),
        _row(found, "the same instances on demand", lambda s: s["on_demand_cost_usd"], usd),
        _row(found, "of the cost, idle", lambda s: s["idle_usd"], usd, least=True),
        _row(found, "waiting for a first start, mean", lambda s: s["waiting_seconds"]["mean"], span, least=True),
        _row(found, "median", lambda s: s["waiting_seconds"]["median"], span, least=True),
        _row(found, "95th percentile", lambda s: s["waiting_seconds"]["p95"], span, least=True),
        _row(found, "longest", lambda s: s["waiting_seconds"]["most"], span, least=True),
        _row(found, "from sent to done, mean", lambda s: s["turnaround_seconds"], span, least=True),
        _row(found, "jobs done", lambda s: s["jobs"]["finished"], _count),
        *_rare(found),
        _row(found, "attempts interrupted", lambda s: s["interruptions"], _count, least=True),
        _row(found, "instances taken back", lambda s: s["instances_taken_back"], _count, least=True),
        _row(found, "work done again", lambda s: s["work_redone_hours"] * 3600, span, least=True),
        _row(found, "deadlines missed", lambda s: s["jobs"]["missed_deadlines"], _count, least=True),
        _row(found, "instances launched, spot", lambda s: s["launched"]["spot"], _count),
        _row(found, "instances launched, on-demand", lambda s: s["launched"]["on-demand"], _count),
        _row(found, "instance hours", lambda s: s["instance_hours"], _hours),
        _row(found, "of these, without a job", lambda s: s["idle_hours"], _hours, least=True),
    ]
    return [*told, *_unfulfilled(found)]


def _rare(found: Sequence[Scenario]) -> list[Row]:
    """What is said only where there is any."""
    names = {"unfinished": "jobs not done at the end", "failed": "jobs failed", "never_fit": "jobs that fit no type"}
    return [
        _row(found, words, lambda s, key=key: s["jobs"][key], _count, least=True)
        for key, words in names.items()
        if any(each["jobs"][key] for each in found)
    ]


def _unfulfilled(found: Sequence[Scenario]) -> list[Row]:
    """Time in which instances were missing, by reason, then the hours that jobs waited through, by reason."""
    names = list(dict.fromkeys(each["reason"] for s in found for each in s["unfulfilled"]))
    missing = [
        _row(found, f"instances missing: {name}", lambda s, name=name: 3600 * _of(s, name, "hours"), span, least=True)
        for name in names
        if any(_of(s, name, "hours") for s in found)
    ]
    waited = [
        _row(found, f"job-hours waited: {name}", lambda s, name=name: _of(s, name, "job_hours"), _hours, least=True)
        for name in names
        if any(_of(s, name, "job_hours") for s in found)
    ]
    return [*missing, *waited]


def _of(scenario: Scenario, name: str, field: str) -> float:
    return next((each[field] for each in scenario["unfulfilled"] if each["reason"] == name), 0.0)


def _row(
    found: Sequence[Scenario],
    name: str,
    value: Callable[[Scenario], float | None],
    words: Callable[[float], str],
    *,
    least: bool = False,
) -> Row:
    values = [value(each) for each in found]
    cells = ["–" if each is None else words(each) for each in values]
    known = [each for each in values if each is not None]
    differ = least and len(known) > 1 and len(set(cells)) > 1
    best = frozenset(n for n, each in enumerate(values) if differ and each == min(known))
    return Row(name=name, cells=cells, best=best)


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _hours(value: float) -> str:
    return f"{value:,.1f} h"
