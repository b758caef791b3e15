"""Recorded jobs as files. What is wrong with one is told with its line and field.

JSON Lines (`.jsonl`): the fields of a message (contract section 3; `command` may be missing) with `submitted_at` and
`run_seconds`, how long the job computes on one instance:

    {"submitted_at": "2026-11-01T08:00:00Z", "run_seconds": 5400, "pool": "gpu", "slots": 1, "deadline": …}

Standard Workload Format (`.swf`, `.swf.gz`): fields 2 (submit time), 4 (run time) and 5 (processors), with
`UnixStartTime` of its header. Jobs without a run time are left out.

CSV (`.csv`): columns `run_seconds` (or `runtime`) and, if there are any, `submitted_at`, `slots`, `pool`, `id`,
`priority`, `deadline`. Without `submitted_at` the jobs' order and submissions are drawn: so many, evenly over the days,
by a seed.
"""

import csv
import gzip
import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

from lambdas.domain.instants import from_text
from lambdas.domain.jobs.job_message import READERS
from lambdas.domain.jobs.job_values import BadValue, nearest
from lambdas.domain.jobs.jobs import Resources
from lowtide.backtest.jobs import Job
from lowtide.backtest.market_files import UNDATED
from lowtide.backtest.wrong import WrongField, WrongFile, wrong_at

_UNPLAYED = frozenset(
    {"command", "inputs", "image", "env", "secrets", "timeout", "tags", "max_attempts", "max_interruptions"}
)
"""Fields of a message that change nothing in a backtest."""
_PLAYED = ("slots", "resources", "priority", "on_demand", "spot_max_price", "deadline", "estimated_duration")
_OWN = ("submitted_at", "run_seconds")
_COLUMNS = ("run_seconds", "runtime", "submitted_at", "slots", "pool", "id", "priority", "deadline")
_LONGEST = 366 * 86_400.0
"""Seconds that one job may run."""
_LOG = 100 * _LONGEST
"""Seconds that a workload log may cover."""
_YEARS = range(1970, 2200)
"""Of submissions: far from the ends of the calendar, so that a backtest may go on behind its last job."""


class Width(StrEnum):
    """What a processor of a workload log is taken for."""

    ONE = "one"
    """A job takes one slot, however wide it was."""
    SLOTS = "slots"
    VCPUS = "vcpus"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """How jobs of a file without submissions are sent."""

    count: int = 10_000
    days: float = 30.0
    seed: int = 1


def jobs_of(
    path: Path, *, width: Width = Width.SLOTS, drawn: Drawn | None = None, pool: str | None = None
) -> list[Job]:
    """Every job of the file, in the order of submission. `pool`: of jobs that name none. Raises WrongFile."""
    name = path.name.removesuffix(".gz")
    with wrong_at(path):
        content = path.read_bytes()
        # Spreadsheets begin a file in UTF-8 with a mark.
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    if name.endswith((".jsonl", ".json")):
        found = list(_of_lines(path, text))
    elif name.endswith(".swf"):
        found = list(_of_log(path, text, width))
    elif name.endswith(".csv"):
        found = _of_table(path, text, drawn or Drawn())
    else:
        raise WrongFile(f"{path} is none of .jsonl, .swf, .swf.gz and .csv: its name says what it is")
    if not found:
        raise WrongFile(f"{path} has no jobs")
    named = [job if job.pool or pool is None else replace(job, pool=pool) for job in found]
    _refuse_repeated(path, named)
    return sorted(named, key=lambda job: (job.submitted_at, job.job_id))


def _refuse_repeated(path: Path, jobs: list[Job]) -> None:
    seen: set[str] = set()
    for job in jobs:
        if job.job_id in seen:
            raise WrongFile(f"{path}, line {job.line}: id: {job.job_id} is given twice; give each job its own")
        seen.add(job.job_id)


# --- JSON Lines -------------------------------------------------------------------------------------------------------


def _of_lines(path: Path, text: str) -> Iterator[Job]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            with wrong_at(path, number):
                yield _job(json.loads(line, parse_float=Decimal), number)


def _job(read: Any, number: int) -> Job:
    if not isinstance(read, dict):
        raise WrongField("", "is no object: write one job a line")
    given: dict[str, Any] = read
    for field in given:
        if field not in READERS and field not in _OWN:
            raise WrongField(field, f"is not a field of a job: did you mean {nearest(field, [*READERS, *_OWN])}?")
    for field in _OWN:
        if field not in given:
            raise WrongField(field, "is missing")
    if "slots" in given and given.get("resources") is not None:
        raise WrongField("resources", "resources and slots are both given; give one of them")
    values = {field: _value(field, given[field]) for field in _PLAYED if field in given}
    return Job(
        job_id=str(_value("id", given["id"])) if "id" in given else f"line-{number}",
        submitted_at=_submission(given["submitted_at"]),
        work=_seconds(given["run_seconds"], "run_seconds"),
        pool=_value("pool", given["pool"]) if "pool" in given else None,
        line=number,
        **_known(values),
    )


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """An instant where the message's reader leaves text."""
    deadline = values.get("deadline")
    return {**values, **({"deadline": _instant(deadline, "deadline")} if isinstance(deadline, str) else {})}


def _value(field: str, value: Any) -> Any:
    try:
        return READERS[field](value)
    except BadValue as error:
        raise WrongField(f"{field}{error.place}", str(error)) from error


# --- Standard Workload Format -----------------------------------------------------------------------------------------

_SUBMIT, _RUN, _PROCESSORS, _ASKED = 1, 3, 4, 7
"""Columns from 0. Processors that were asked for stand in where those that were used are not known."""
_FIELDS = 18


def _of_log(path: Path, text: str, width: Width) -> Iterator[Job]:
    begin = UNDATED
    for number, line in enumerate(text.splitlines(), start=1):
        with wrong_at(path, number):
            if line.lstrip().startswith(";"):
                begin = _start_time(line, begin)
            elif line.strip() and (job := _logged(line.split(), number, begin, width)) is not None:
                yield job


def _start_time(line: str, begin: datetime) -> datetime:
    key, _, value = line.lstrip("; \t").partition(":")
    if key.strip() != "UnixStartTime":
        return begin
    seconds = _whole(value.strip(), "UnixStartTime")
    if not 0 <= seconds <= _LOG:
        raise WrongField("UnixStartTime", f"is {seconds}; it takes seconds since 1970")
    return datetime.fromtimestamp(seconds, UTC)


def _logged(fields: list[str], number: int, begin: datetime, width: Width) -> Job | None:
    if len(fields) != _FIELDS:
        raise WrongField("", f"has {len(fields)} fields; a line of the Standard Workload Format has {_FIELDS}")
    submit, run = _real(fields[_SUBMIT], "field 2 (submit time)"), _real(fields[_RUN], "field 4 (run time)")
    used = _whole(fields[_PROCESSORS], "field 5 (processors)")
    asked = _whole(fields[_ASKED], "field 8 (processors asked for)")
    if run <= 0:
        return None
    processors = max(1, used if used > 0 else asked)
    if not 0 <= submit <= _LOG:
        raise WrongField("field 2 (submit time)", f"is {submit:g}; it takes seconds from the log's start")
    return Job(
        job_id=f"job-{fields[0]}",
        submitted_at=begin + timedelta(seconds=submit),
        work=timedelta(seconds=min(run, _LONGEST)),
        slots=processors if width is Width.SLOTS else 1,
        resources=Resources(vcpus=Decimal(processors), memory_mib=1) if width is Width.VCPUS else None,
        line=number,
    )


def _real(text: str, field: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise WrongField(field, f"is {text!r}; it takes a number") from None


def _whole(text: str, field: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise WrongField(field, f"is {text!r}; it takes a whole number")
    return int(number)


# --- CSV --------------------------------------------------------------------------------------------------------------


def _of_table(path: Path, text: str, drawn: Drawn) -> list[Job]:
    reader = csv.DictReader(text.splitlines())
    columns = list(reader.fieldnames or ())
    with wrong_at(path, 1):
        for column in columns:
            if column not in _COLUMNS:
                raise WrongField(column, f"is no column of a job: known are {', '.join(_COLUMNS)}")
        if not {"run_seconds", "runtime"} & set(columns):
            raise WrongField("run_seconds", "is missing: the first line names the columns")
    jobs: list[Job] = []
    for row in reader:
        with wrong_at(path, reader.line_num):
            if (job := _tabled(row, reader.line_num)) is not None:
                jobs.append(job)
    return jobs if "submitted_at" in columns else _drawn(jobs, drawn)


def _tabled(row: Mapping[str, Any], number: int) -> Job | None:
    """None: it ran for no time at all."""
    values = {column: text.strip() for column, text in row.items() if isinstance(text, str) and text.strip()}
    field = "run_seconds" if "run_seconds" in row else "runtime"
    if field not in values:
        raise WrongField(field, "is missing")
    if (seconds := _real(values[field], field)) == 0:
        return None
    whole = {name: _value(name, _whole(values[name], name)) for name in ("slots", "priority") if name in values}
    return Job(
        job_id=values.get("id", f"line-{number}"),
        submitted_at=_submission(values["submitted_at"]) if "submitted_at" in values else UNDATED,
        work=_seconds(seconds, field),
        pool=values.get("pool"),
        deadline=_instant(values["deadline"], "deadline") if "deadline" in values else None,
        line=number,
        **whole,
    )


def _drawn(jobs: list[Job], drawn: Drawn) -> list[Job]:
    """So many of them, sent at instants drawn evenly over the days: a Poisson process's, given their number."""
    chance = random.Random(drawn.seed)  # noqa: S311 (a draw of jobs, no secret)
    chosen = chance.sample(jobs, min(drawn.count, len(jobs)))
    instants = sorted(chance.uniform(0, drawn.days * 86_400) for _ in chosen)
    return [
        replace(job, submitted_at=UNDATED + timedelta(seconds=round(at)))
        for job, at in zip(chosen, instants, strict=True)
    ]


# --- values -----------------------------------------------------------------------------------------------------------


def _seconds(value: Any, field: str) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not 0 < value <= _LONGEST:
        raise WrongField(field, f"is {value}; it takes seconds above 0, a year at most")
    return timedelta(seconds=float(value))


def _submission(value: Any) -> datetime:
    at = _instant(value, "submitted_at")
    if at.year not in _YEARS:
        raise WrongField("submitted_at", f"is {value!r}; it takes an instant from {_YEARS[0]} to {_YEARS[-1]}")
    return at


def _instant(value: Any, field: str) -> datetime:
    try:
        return from_text(str(value))
    except (ValueError, OverflowError):
        raise WrongField(field, f"is {value!r}; it takes an ISO 8601 instant with offset") from None
