"""The report's document as one HTML page: no network, no file beside it, nothing of a user's that is not escaped.

The page's Content-Security-Policy allows its own style and script by their hashes and nothing else, so that markup
which slipped through could still do nothing.
"""

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lambdas.domain.instants import from_text
from lambdas.domain.jobs.job_record import Outcome
from lambdas.domain.words import several
from lowtide.report.charts import OWNERS, cost_charts, fleet_charts

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_STATES = ("queued", "running", "succeeded", "failed", "cancelled", "parked")


def page(document: Mapping[str, Any]) -> str:
    """`document` as collect.collect gives it."""
    style, script = asset("page.css"), asset("page.js")
    since, until = from_text(document["since"]), from_text(document["until"])
    cost = document["cost"]
    template = environment("lowtide.report").get_template("page.html.j2")
    return template.render(
        report=document,
        style=style,
        script=script,
        policy=policy(style, script),
        overview=overview(document),
        charts={pool["name"]: fleet_charts(pool, since, until) for pool in document["pools"] if pool["timeline"]},
        cost_charts=cost_charts(cost, since, until) if cost else (),
        shortages=[(pool["name"], each) for pool in document["pools"] for each in pool["shortages"]],
    ).lstrip()


def overview(document: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers at the page's head."""
    jobs, pools, cost = document["jobs"], document["pools"], document["cost"]
    since = from_text(document["since"])
    states = {state: sum(job["state"] == state for job in jobs) for state in _STATES}
    every = [each for pool in pools for each in pool["shortages"]]
    shortages = [each for each in every if each["most_missing"] and each["class"] not in OWNERS]
    waits = sorted(job["waited_seconds"] for job in jobs if job["waited_seconds"] is not None)
    saved = 1 - cost["spent_usd"] / cost["on_demand_usd"] if cost and cost["on_demand_usd"] else None
    return {
        "jobs": len(jobs),
        "states": {state: count for state, count in states.items() if count},
        "succeeded": states["succeeded"],
        "taken": sum(len(pool["interruptions"]) for pool in pools),
        "attempts_interrupted": sum(_was_interrupted(each, since) for job in jobs for each in job["attempts"]),
        "survived": sum(job["state"] == "succeeded" and job["interruptions"] > 0 for job in jobs),
        "shortages": len(shortages),
        "longest": max(shortages, key=lambda each: each["seconds"], default=None),
        "median_wait": waits[len(waits) // 2] if waits else None,
        "longest_wait": waits[-1] if waits else None,
        "saved_percent": None if saved is None else round(100 * saved),
    }


def _was_interrupted(attempt: Mapping[str, Any], since: datetime) -> bool:
    """In the period: a job that is in it may have been interrupted before, too."""
    return attempt["outcome"] == Outcome.INTERRUPTED and from_text(attempt["ended_at"]) >= since


def asset(name: str) -> str:
    """The page's style or script, which other pages of the same kind carry too."""
    return (files("lowtide.report") / name).read_text(encoding="utf-8")


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy of a page with this style and script and nothing else."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def environment(package: str) -> Environment:
    """For the templates that lie in the package, with the filters of this module."""
    made: Any = Environment(
        loader=PackageLoader(package, package_path=""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(instant=instant, span=span, usd=usd, several=several, millis=millis, brief=brief)
    return made


# --- numbers as people read them --------------------------------------------------------------------------------------


def instant(text: str) -> str:
    """`2026-11-23 15:00:00`; UTC, as the page says once."""
    return f"{from_text(text):%Y-%m-%d %H:%M:%S}"


def brief(text: str, report: Mapping[str, Any]) -> str:
    """Without the date where the whole period lies in one day and this does too."""
    days = {from_text(each).date() for each in (report["since"], report["until"], text)}
    return f"{from_text(text):%H:%M:%S}" if len(days) == 1 else instant(text)


def millis(text: str) -> int:
    """For the page's script: as JavaScript counts time."""
    return round(from_text(text).timestamp() * 1000)


def span(seconds: float) -> str:
    """`0.4 s`, `45 s`, `4 min 12 s`, `3 h 5 min`, `2 d 4 h`: two units at most."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    for (size, unit), (small, small_unit) in pairwise(_UNITS):
        if round(seconds) >= size:
            count, left = divmod(round(seconds), size)
            return f"{count} {unit}" + (f" {left // small} {small_unit}" if left >= small else "")
    return f"{seconds:.0f} s"


def usd(value: float) -> str:
    """`$12.31`; below ten cents as finely as AWS prices: `$0.0416`."""
    return f"${value:,.4f}" if 0 < abs(value) < 0.1 else f"${value:,.2f}"
