"""Jobs to submit, from a JSON-lines file or from options: each with an id that is the same the next time.

Who submits the same file twice submits nothing twice: a job without an id of its own gets one made from its content and
from how many equal jobs stand before it.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lambdas.domain.jobs.job_message import parse_message
from lambdas.domain.jobs.jobs import JobSpec, Rejection, content_hash
from lambdas.domain.pools.pools import Pool

Message = dict[str, Any]
"""The body of a message on the job queue, before it is JSON text."""

_ID_DIGITS = 24
"""Of a sha256 in hexadecimal: 96 bits, so that no two contents of a deployment's life meet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A line that is no job, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job that the stack would accept."""

    job_id: str
    body: str
    """JSON text, its id included."""
    content: str
    """Hash of what is asked for; the ledger keeps the same."""
    spec: JobSpec
    """The same, read; its id is that of no job."""


def read_lines(lines: Iterable[str], defaults: Mapping[str, Any]) -> Iterator[tuple[int, Message | Wrong]]:
    """(line number from 1, message) of every line that is not blank. `defaults` fill in what a line leaves out."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            read = json.loads(line, parse_float=Decimal)
        except ValueError as error:
            yield number, Wrong(line=number, reason=f"not JSON: {error}")
            continue
        if isinstance(read, dict):
            yield number, {**defaults, **read}
        else:
            yield number, Wrong(line=number, reason="not a JSON object: write one job a line")


def checked(
    messages: Iterable[tuple[int, Message | Wrong]], pools: Mapping[str, Pool]
) -> tuple[list[Job], list[Wrong]]:
    """The jobs in order, and what is wrong: by line, the first thing of each."""
    jobs: list[Job] = []
    wrong: list[Wrong] = []
    equal: Counter[str] = Counter()
    lines: dict[str, int] = {}
    for number, message in messages:
        if isinstance(message, Wrong):
            wrong.append(message)
            continue
        read = parse_message(to_text(message), message_id="-", pools=pools)
        if isinstance(read, Rejection):
            wrong.append(Wrong(line=number, reason=read.reason))
            continue
        job = _named(message, read, equal)
        if job.job_id in lines:
            reason = f"id {job.job_id!r} is that of line {lines[job.job_id]} too: give each job an id of its own"
            wrong.append(Wrong(line=number, reason=reason))
            continue
        lines[job.job_id] = number
        jobs.append(job)
    return jobs, wrong


def _named(message: Message, read: JobSpec, equal: Counter[str]) -> Job:
    content = content_hash(read)
    if "id" in message:
        return Job(job_id=read.job_id, body=to_text(message), content=content, spec=read)
    equal[content] += 1
    job_id = stable_id(content, equal[content])
    return Job(job_id=job_id, body=to_text({"id": job_id, **message}), content=content, spec=read)


def stable_id(content: str, number: int = 1) -> str:
    """The id of the `number`-th job of this content: `job-` and 24 hexadecimal digits."""
    return "job-" + hashlib.sha256(f"{content}\n{number}".encode()).hexdigest()[:_ID_DIGITS]


def to_text(message: Mapping[str, Any]) -> str:
    return json.dumps(message, default=_number)


def _number(value: Any) -> float | int:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def told(wrong: Sequence[Wrong], most: int = 10) -> str:
    """The first few in one sentence."""
    lines = "; ".join(f"line {each.line}: {each.reason}" for each in wrong[:most])
    return lines + (f"; and {len(wrong) - most} lines more" if len(wrong) > most else "")
