"""A pass's decision as it is kept: what was seen, what was done and why, and when one says something new.

A pool that waits is looked at every minute. Its decision is kept when it differs from the one before: in what was done,
in the pool's version, in the fleet's numbers or in the reasons; and once in `settings.look_again` when only the jobs'
numbers move, as they do all the time while jobs come and go.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from lambdas.domain.documents import document_of
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.reasons import Reason

_FLEET_NUMBERS = ("desired", "running", "launching", "draining", "unfulfilled")
_JOB_NUMBERS = ("idle", "queued_jobs", "running_jobs")

Summary = Mapping[str, Any]
"""The pool in numbers, as STATE holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    pool: str
    epoch: int
    at: datetime
    """The instant that the plan was made for."""
    pool_version: int
    actions: tuple[Mapping[str, Any], ...]
    """What was done: `{"action": "launch", "why": …, "result": "refused", "detail": …, "decision": id, "launched": […],
    "codes": […]}`; what is empty is left out."""
    summary: Summary
    reasons: tuple[Reason, ...]
    notes: tuple[str, ...]
    snapshot: Snapshot | None
    """What it was made from. None: it was too large to keep; `notes` say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What the last kept decision said, so that the next pass can tell whether it says something new."""

    fleet: str
    """Hash of the pool's version, the fleet's numbers and the reasons."""
    jobs: str
    """Hash of the jobs' numbers."""
    at: datetime


def mark_of(snapshot: Snapshot, summary: Summary, reasons: Iterable[Reason], at: datetime) -> Mark:
    told = [(str(r.reason_class), r.code, r.message, r.capacity_type) for r in reasons]
    told_of = [(r.instance_type, r.availability_zone) for r in reasons]
    seen = (snapshot.pool.version, snapshot.stack_closing, [summary.get(name) for name in _FLEET_NUMBERS])
    return Mark(fleet=_hash([seen, told, told_of]), jobs=_hash([summary.get(name) for name in _JOB_NUMBERS]), at=at)


def is_new(mark: Mark, last: Mark | None, *, acted: bool, every: timedelta) -> bool:
    """Whether a decision is worth keeping beside the last one kept. `every`: how often for the jobs' numbers alone."""
    if acted or last is None or mark.fleet != last.fleet:
        return True
    return mark.jobs != last.jobs and mark.at - last.at >= every


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=_text)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _text(value: Any) -> Any:
    return str(document_of(value))
