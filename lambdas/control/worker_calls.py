"""What a worker may send (docs/worker-api.md): bodies parsed once, the first wrong field named."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from lambdas.adapters.heartbeats import Notice, NoticeKind
from lambdas.domain.instants import from_text
from lambdas.domain.jobs.fit import Used
from lambdas.domain.jobs.job_record import Result
from lambdas.domain.jobs.work import UNTOLD, Standing

T = TypeVar("T")

_LONGEST_TEXT = 1_000
"""Characters kept of a worker's own words: the last ones, since the end of a job's output says why it failed."""
_LONGEST_RUN = Decimal(10**9)
"""Seconds an attempt may be said to have run: thirty years."""
_MOST_LEASES = 1_000
"""Leases one claim may ask for, or one heartbeat name."""


class BadCall(Exception):
    """A body that is malformed: the worker and the control plane do not speak the same version."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}")
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    boot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    request_id: str
    free_slots: int
    free_aux_slots: int
    most: int
    running: Used | None = None
    """What its running jobs take together, of leases too that are over unknown to it; None: a worker that counts slots
    alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    leases: Mapping[str, int]
    """Job id -> fence."""
    notice: Notice | None
    standings: Mapping[str, Standing] = field(default_factory=dict[str, Standing])
    """Job id -> what is told of it; of some jobs nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    job_id: str
    fence: int
    result: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    job_id: str
    fence: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCredentialsCall:
    job_id: str
    fence: int


def read_body(text: str | None) -> dict[str, Any]:
    try:
        body = json.loads(text or "")
    except ValueError as error:
        raise BadCall("body", f"is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadCall("body", "is not a JSON object")
    return body


def hello(body: Mapping[str, Any]) -> Hello:
    return Hello(boot_id=_text(body, "boot_id"))


def claim(body: Mapping[str, Any]) -> Claim:
    return Claim(
        request_id=_text(body, "request_id"),
        free_slots=_count(body, "free_slots"),
        free_aux_slots=_count(body, "free_aux_slots"),
        most=min(_count(body, "most"), _MOST_LEASES),
        running=_optional(body, "running", _used),
    )


def heartbeat(body: Mapping[str, Any]) -> Heartbeat:
    leases = body.get("leases")
    if not isinstance(leases, list) or len(leases) > _MOST_LEASES:
        raise BadCall("leases", f"is not a list of at most {_MOST_LEASES} leases")
    given = list(map(_object, leases))
    told = {_text(lease, "job_id"): _optional(lease, "standing", _standing) for lease in given}
    return Heartbeat(
        leases={_text(lease, "job_id"): _count(lease, "fence") for lease in given},
        notice=_optional(body, "notice", _notice),
        standings={job_id: standing for job_id, standing in told.items() if standing is not None},
    )


def finish(body: Mapping[str, Any]) -> Finish:
    result = Result(
        started_at=_instant(body, "started_at"),
        ended_at=_instant(body, "ended_at"),
        exit_code=_optional(body, "exit_code", _whole),
        signal=_optional(body, "signal", _whole),
        timed_out=_flag(body, "timed_out"),
        interrupted=_flag(body, "interrupted"),
        done=_flag(body, "done"),
        error=_optional(body, "error", _words),
        out_of_memory="out_of_memory" in body and _flag(body, "out_of_memory"),
        standing=_optional(body, "standing", _standing) or UNTOLD,
    )
    if not (result.interrupted or result.timed_out) and result.exit_code is result.signal is result.error is None:
        raise BadCall("exit_code", "is missing, and so are signal and error: an attempt ends with one of them")
    return Finish(job_id=_text(body, "job_id"), fence=_count(body, "fence"), result=result)


def release(body: Mapping[str, Any]) -> Release:
    return Release(job_id=_text(body, "job_id"), fence=_count(body, "fence"), reason=_line(body.get("reason")))


def job_credentials(body: Mapping[str, Any]) -> JobCredentialsCall:
    return JobCredentialsCall(job_id=_text(body, "job_id"), fence=_count(body, "fence"))


def _used(value: Any) -> Used:
    given = _object(value)
    return Used(
        slots=_count(given, "slots"),
        vcpus=_decimal(given, "vcpus"),
        memory_mib=_count(given, "memory_mib"),
        gpus=_count(given, "gpus"),
        aux=_count(given, "aux_slots"),
    )


def _decimal(body: Mapping[str, Any], field: str) -> Decimal:
    """Sent as text, as every exact number is."""
    try:
        value = Decimal(_text(body, field))
    except InvalidOperation as error:
        raise BadCall(field, "is not a decimal number") from error
    if not value.is_finite() or value < 0 or value * 1000 % 1:
        raise BadCall(field, "is not a number from 0 with at most three decimals")
    return value


def _standing(value: Any) -> Standing:
    given = _object(value)
    ran, saved = (_optional_decimal(given, name, _LONGEST_RUN) for name in ("ran_seconds", "saved_seconds"))
    progress, kept = (_optional_decimal(given, name, Decimal(1)) for name in ("progress", "saved_progress"))
    return Standing(ran_seconds=ran, saved_seconds=saved, progress=progress, saved_progress=kept)


def _optional_decimal(body: Mapping[str, Any], field: str, most: Decimal) -> Decimal | None:
    if body.get(field) is None:
        return None
    if (value := _decimal(body, field)) > most:
        raise BadCall(field, f"is not at most {most}")
    return value


def _notice(value: Any) -> Notice:
    given = _object(value)
    try:
        kind = NoticeKind(given.get("kind"))
    except ValueError as error:
        raise BadCall("notice.kind", "is neither interruption nor rebalance") from error
    return Notice(kind=kind, at=_instant(given, "at"))


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadCall("leases, running or notice", "holds something that is not a JSON object")
    return value


def _text(body: Mapping[str, Any], field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not 0 < len(value) <= 256:
        raise BadCall(field, "is not a text of 1 to 256 characters")
    return value


def _words(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise BadCall("error or reason", "is not a text")
    return value[-_LONGEST_TEXT:]


def _line(value: Any) -> str:
    """Words that anybody may print and any store takes: one line, without control characters or half surrogates."""
    line = "".join(each if each.isprintable() else " " for each in _words(value))
    return " ".join(line.split()) or "no reason that can be shown"


def _count(body: Mapping[str, Any], field: str) -> int:
    value = body.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadCall(field, "is not a whole number from 0")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**31:
        raise BadCall("exit_code or signal", "is not a whole number")
    return value


def _flag(body: Mapping[str, Any], field: str) -> bool:
    value = body.get(field)
    if not isinstance(value, bool):
        raise BadCall(field, "is neither true nor false")
    return value


def _instant(body: Mapping[str, Any], field: str) -> datetime:
    try:
        return from_text(str(body.get(field)))
    except ValueError as error:
        raise BadCall(field, f"is no instant: {error}") from error


def _optional(body: Mapping[str, Any], field: str, read: Callable[[Any], T]) -> T | None:
    value = body.get(field)
    return None if value is None else read(value)
