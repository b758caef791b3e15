"""`lowtide why`: why a pool has not what it wants, or a job does not run; now, at some time, or with another file."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from lambdas.adapters.decisions import Decisions
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.pool_config import PoolConfig
from lambdas.domain.documents import document_of
from lambdas.domain.durations import format_duration
from lambdas.domain.fleet.fleet import OfferingMark
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.jobs.job_record import JobRecord
from lambdas.domain.jobs.jobs import JobState
from lambdas.domain.plan.decision import Decision
from lambdas.domain.pools.pools import Pool
from lambdas.domain.reasons import ReasonClass
from lambdas.domain.words import several
from lowtide.cli import deadline_words, what_if, why_words
from lowtide.cli.connection import Deployment
from lowtide.cli.errors import Failure, Misuse
from lowtide.cli.job_reasons import job_reason, job_remedy
from lowtide.cli.moments import instant
from lowtide.cli.options import DEFAULT_STACK, AsJson, Stack
from lowtide.cli.output import clock_time, console, print_json
from lowtide.cli.parked_jobs import parked_job
from lowtide.cli.pool_apply import read_file, resolved, tell
from lowtide.cli.pool_numbers import Seen, document, reason_object, seen, tried
from lowtide.cli.remedies import Remedy, for_stack, remedy
from lowtide.poolfile.difference import without_secrets


def why(
    name: Annotated[str, typer.Argument(help="A pool, or a job's id.", metavar="POOL|JOB")],
    at: Annotated[str | None, typer.Option(help="The decision in force then: an instant, or 20m for ago.")] = None,
    changed: Annotated[
        Path | None, typer.Option("--with", help="Decide again with this pool file; show the difference.")
    ] = None,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Why capacity is missing: the one sentence first, then every reason with its numbers and its remedy."""
    deployment = Deployment(stack)
    pool = PoolConfig(deployment.table).pool(name)
    if pool is None and (at or changed):
        raise Misuse(f"there is no pool {name}: --at and --with are for pools, see `lowtide pools list`")
    if changed is not None:
        _with_file(deployment, name, at, changed, as_json=as_json)
    elif at is not None:
        _then(deployment, name, at, as_json=as_json)
    elif pool is not None:
        _now(deployment, pool, as_json=as_json)
    else:
        _job(deployment, name, as_json=as_json)


# --- now --------------------------------------------------------------------------------------------------------------


def _now(deployment: Deployment, pool: Pool, *, as_json: bool) -> None:
    (each,) = seen(deployment.table, [pool])
    pools = _sharing(deployment, each)
    marks = tried(deployment.table, pool.name) if each.reasons else []
    now = deployment.now()
    if as_json:
        print_json(_document(each, pools, marks, now, deployment.stack))
        return
    for line in (
        why_words.sentence(each, now),
        *why_words.estimate_lines(why_words.estimate(each, now)),
        *why_words.reason_lines(each.reasons, now, deployment.stack, each, pools),
        *_offerings(each, now),
        *why_words.tried_lines(marks, now),
        *deadline_words.of_pool(each),
        *_next_look(each, now),
    ):
        _say(line)


def _sharing(deployment: Deployment, each: Seen) -> list[Pool]:
    """Every pool, where the account's quotas matter."""
    quota = any(reason.reason_class is ReasonClass.QUOTA for reason in each.reasons)
    return PoolConfig(deployment.table).pools() if quota else []


def _document(
    each: Seen, pools: Sequence[Pool], marks: Sequence[OfferingMark], now: datetime, stack: str
) -> dict[str, Any]:
    """The pool as in `status --json`, and what only `why` says."""
    found = why_words.estimate(each, now)
    todo = remedy(each.reasons[0], each, now, pools) if each.reasons else Remedy()
    return {
        "sentence": why_words.sentence(each, now),
        **document(each, now),
        **{"next_look": each.next_look, "edit": todo.edit},
        "command": todo.command and for_stack(todo.command, stack),
        "estimate": found
        and {
            **{"likely_seconds": found.likely, "early_seconds": found.early, "late_seconds": found.late},
            **{"ground": found.ground, "sure": found.sure},
        },
        "deadlines": [document_of(verdict) for verdict in each.verdicts.values()],
        "limits": [
            {"instance_type": facts.name, "spot_max_price": why_words.limit_of(each, facts.name, now)}
            for facts in each.pool.types
        ],
        "tried": [
            {
                **{"capacity_type": mark.capacity_type, "instance_type": mark.instance_type},
                **{"availability_zone": mark.zone, "code": mark.code, "at": mark.marked_at, "until": mark.until},
                **{"in_a_row": mark.strikes, "last_price": mark.last_price},
            }
            for mark in marks
        ],
    }


def _next_look(each: Seen, now: datetime) -> list[str]:
    if not each.reasons or each.next_look is None:
        return []
    at = "now" if each.next_look <= now else f"at {clock_time(each.next_look, now)}"
    return ["", f"The pool is looked at again {at}, and whenever something changes."]


def _offerings(each: Seen, now: datetime) -> list[str]:
    return list(why_words.offering_lines(each, now)) if each.counts["unfulfilled"] else []


def _job(deployment: Deployment, job_id: str, *, as_json: bool) -> None:
    ledger = Ledger(deployment.table, jobs_kept=deployment.settings.jobs_kept)
    job = ledger.job(job_id) or parked_job(deployment.table, job_id)
    if job is None:
        raise Failure(f"there is no pool and no job {job_id}: see `lowtide pools list` and `lowtide jobs list`")
    position = ledger.position(job)
    pools = [found for found in [PoolConfig(deployment.table).pool(job.pool)] if found]
    each = next(iter(seen(deployment.table, pools)), None)
    told = why_words.sentence(each, deployment.now()) if each else f"pool {job.pool} is no more"
    own, todo = job_reason(job), job_remedy(job)
    if as_json:
        reasons = [own] if own else each.reasons if each and job.state is JobState.QUEUED else ()
        command = todo.command and for_stack(todo.command, deployment.stack)
        place = {"id": job.job_id, "pool": job.pool, "state": job.state.value, "position": position}
        told_reasons = {"reasons": [reason_object(reason) for reason in reasons], "command": command}
        outlook = deadline_words.document(job, each, deployment.now())
        print_json({"sentence": _sentence(job, position, told), **place, **told_reasons, **outlook})
        return
    _say(_sentence(job, position, told))
    if own:
        for line in why_words.job_reason_lines(own, todo, deployment.now(), deployment.stack):
            _say(line)
    for name, value in deadline_words.rows(job, each, deployment.now()).items():
        _say(f"{name}: {value}")
    if each and job.state is JobState.QUEUED:
        now = deployment.now()
        for line in (
            *why_words.estimate_lines(why_words.estimate(each, now)),
            *why_words.reason_lines(each.reasons, now, deployment.stack, each, _sharing(deployment, each)),
        ):
            _say(line)


def _sentence(job: JobRecord, position: int | None, pool: str) -> str:
    if job.state is JobState.QUEUED:
        place = f"number {position} of" if position else "in"
        return f"{job.job_id} waits, {place} the queue of {pool}"
    if job.state is JobState.RUNNING:
        return f"{job.job_id} runs on {job.instance_id}: see `lowtide jobs show {job.job_id}`"
    return f"{job.job_id} {job.state.value}" + (f": {job.reason}" if job.reason else "")


# --- then, and what if ------------------------------------------------------------------------------------------------


def _decision(deployment: Deployment, pool: str, at: str | None) -> Decision:
    """The one in force. Raises Failure where none is kept from then."""
    now = deployment.now()
    when = now if at is None else instant("--at", at, now)
    if (found := Decisions(deployment.table).in_force(pool, when)) is None:
        raise Failure(
            f"no decision about {pool} is kept from {when:%Y-%m-%d %H:%M:%S} UTC or before: "
            f"they are kept for {_days(deployment.settings.decisions_kept)}, from a pool's first pass on"
        )
    return found


def _days(period: timedelta) -> str:
    """`35 days`, and `36h` for what is no number of days."""
    return format_duration(period) if period % timedelta(days=1) else several(period.days, "day")


def _then(deployment: Deployment, pool: str, at: str, *, as_json: bool) -> None:
    decision = _decision(deployment, pool, at)
    if as_json:
        print_json(_decision_document(decision))
        return
    for line in why_words.decision_lines(decision, deployment.now(), deployment.stack):
        _say(line)


def _decision_document(decision: Decision) -> dict[str, Any]:
    snapshot = decision.snapshot
    return {
        **{"pool": decision.pool, "at": decision.at, "pass": decision.epoch, "pool_version": decision.pool_version},
        **{"numbers": dict(decision.summary), "actions": [dict(action) for action in decision.actions]},
        "reasons": [reason_object(reason) for reason in decision.reasons],
        "notes": list(decision.notes),
        "snapshot": None if snapshot is None else _shown(snapshot),
    }


def _shown(snapshot: Snapshot) -> dict[str, Any]:
    document = document_of(snapshot)
    return {**document, "pool": without_secrets(document["pool"])}


def _with_file(deployment: Deployment, pool: str, at: str | None, file: Path, *, as_json: bool) -> None:
    decision = _decision(deployment, pool, at)
    if decision.snapshot is None:
        raise Failure(f"the decision of {decision.at:%Y-%m-%d %H:%M:%S} UTC has no snapshot: it was too large to keep")
    found = what_if.what_if(decision, decision.snapshot, _changed(deployment, pool, file, decision.snapshot))
    if as_json:
        print_json({"pool": pool, **what_if.document(found), "kept_notes": list(decision.notes)})
        return
    _say(f"{pool}: with {file}, at {decision.at:%Y-%m-%d %H:%M:%S} UTC:")
    for line in what_if.lines(found):
        _say(f"  {line}")
    for note in (*found.notes, *decision.notes):
        _say(f"note: {note}")


def _changed(deployment: Deployment, pool: str, file: Path, snapshot: Snapshot) -> Pool:
    found = read_file(file)
    if found.problems:
        tell(found)
        raise Failure(f"{file} is not a valid pool file: see `lowtide pools validate {file}`")
    named = tuple(entry for entry in found.entries if entry.pool_name == pool)
    if not named:
        there = ", ".join(entry.pool_name for entry in found.entries)
        raise Misuse(f"{file} has no pool {pool}: it has {there}")
    (wanted,) = resolved(deployment, replace(found, entries=named))
    return replace(wanted, images=snapshot.pool.images)


def _say(line: str) -> None:
    console().print(line, markup=False)
