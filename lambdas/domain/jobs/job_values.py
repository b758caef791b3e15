"""The values that a job's fields take: one reader per field. Which fields there are, and what together makes no job, is
in job_message.py.

A reader takes a JSON value and returns the parsed one, or raises BadValue: what is wrong with the value and the
remedy, as the end of a sentence that begins with the field's name ("slots is -1: ...").
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Any, TypeVar

from lambdas.domain.durations import parse_duration
from lambdas.domain.instants import from_text
from lambdas.domain.jobs.jobs import Input, Resources
from lambdas.domain.jobs.terms import OnDemand

LONGEST_ID = 128
LONGEST_ARGUMENT = 131_071
"""Bytes. Linux takes no longer single argument or NAME=value: MAX_ARG_STRLEN is 32 pages, the closing NUL included."""
MOST_TAGS = 50
"""As many as AWS allows on a resource; keys to 128 and values to 256 characters, as there."""
MOST_INPUTS = 100
RESERVED_ENV = frozenset(
    {
        "LOWTIDE_JOB_ID",
        "LOWTIDE_POOL",
        "LOWTIDE_ATTEMPT",
        "LOWTIDE_CHECKPOINT_DIR",
        "LOWTIDE_DONE_FILE",
        "LOWTIDE_NOTICE_FILE",
        "LOWTIDE_PROGRESS_FILE",
    }
)
"""What the worker sets for every job (worker/environment.py), over whatever its message says: a message that sets one
is no job. What it sets on some instances alone (CUDA_VISIBLE_DEVICES) holds as the message has it on the others."""

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_S3 = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.+)", re.ASCII | re.DOTALL)
_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}", re.ASCII)
_ARN = re.compile(r"arn:aws[a-z-]*:(secretsmanager|ssm):[a-z0-9-]+:[0-9]{12}:.+", re.ASCII)
_SHOWN = 80

T = TypeVar("T")
Reader = Callable[[Any], Any]


class BadValue(ValueError):
    """A field's value is not one it takes. `place` is where in the field: `[0].path`, `.gpus`, or nothing; `unquoted`
    the same text without the value."""

    def __init__(self, text: str, place: str = "", unquoted: str | None = None) -> None:
        super().__init__(text)
        self.place = place
        self.unquoted = text if unquoted is None else unquoted


def shown(value: Any) -> str:
    """The value as the submitter wrote it, cut where it is long."""
    text = json.dumps(value, default=_number, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _number(value: Any) -> float | str:
    """What was read as a Decimal is a number to who sent it."""
    return float(value) if isinstance(value, Decimal) else str(value)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that looks most like this one; None when there is none at all."""
    found = get_close_matches(word, sorted(known), n=1, cutoff=0.0)
    return found[0] if found else None


def _bad(value: Any, remedy: str) -> BadValue:
    return BadValue(f"is {shown(value)}: {remedy}", unquoted=f"cannot be taken (its value is not shown here): {remedy}")


def text(value: Any, remedy: str) -> str:
    """A string that can be stored and given to a process: valid Unicode, no NUL."""
    if not isinstance(value, str):
        raise _bad(value, remedy)
    if "\0" in value:
        raise _bad(value, "it holds a NUL character, which no process argument or name can; remove it")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _bad(value.encode(errors="replace").decode(), "it holds half a surrogate pair; send UTF-8") from error
    return value


def _argument(value: Any, remedy: str) -> str:
    read = text(value, remedy)
    if len(read.encode()) > LONGEST_ARGUMENT:
        raise _bad(value, f"it is over {LONGEST_ARGUMENT:,} bytes, which Linux refuses; put it into an input file")
    return read


def whole(least: int, most: int) -> Callable[[Any], int]:
    """A reader of whole numbers in these bounds, both included."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _bad(value, f"it takes a whole number from {least} to {most}")
        return value

    return read


def optional(read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    """A reader for which null is the same as not giving the field."""
    return lambda value: None if value is None else read(value)


def job_id(value: Any) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise _bad(value, f"it takes 1 to {LONGEST_ID} of the characters A-Z a-z 0-9 . _ : -")
    if value in (".", ".."):
        raise _bad(value, "it names a directory on the instance, where . and .. mean something else; take another")
    return value


def command(value: Any) -> tuple[str, ...]:
    """argv; a string becomes a shell's."""
    remedy = 'it takes a list of strings like ["python3", "train.py"], or one string for /bin/sh'
    if isinstance(value, str):
        if not value.strip():
            raise _bad(value, "it is empty; " + remedy)
        return ("/bin/sh", "-c", _argument(value, remedy))
    if not isinstance(value, list) or not value or not value[0]:
        raise _bad(value, remedy)
    return tuple(_argument(each, remedy) for each in value)


def duration(value: Any) -> timedelta:
    """Above zero."""
    remedy = 'it takes a duration above zero like "90s", "20m" or "1h30m"'
    if not isinstance(value, str):
        raise _bad(value, remedy)
    try:
        read = parse_duration(value)
    except ValueError as error:
        raise BadValue(str(error)) from error
    if not read:
        raise _bad(value, remedy)
    return read


def instant(value: Any) -> datetime:
    remedy = 'it takes an instant with its offset like "2026-11-23T15:00:00Z"'
    try:
        return from_text(text(value, remedy))
    except (ValueError, OverflowError) as error:
        raise _bad(value, remedy) from error


def price(value: Any) -> Decimal:
    """USD per instance-hour. EC2 refuses 0.001 and less; above 1,000 nothing is sold."""
    remedy = 'it takes USD per instance-hour, above 0.001 and at most 1000, like "0.35"'
    written = str(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value
    if not isinstance(written, str) or not re.fullmatch(r"[0-9]{1,8}(\.[0-9]{1,12})?", written, re.ASCII):
        raise _bad(value, remedy)
    if not Decimal("0.001") < Decimal(written) <= 1000:
        raise _bad(value, remedy)
    return Decimal(written)


def on_demand(value: Any) -> OnDemand:
    try:
        return OnDemand(value)
    except ValueError as error:
        raise _bad(value, f"it takes one of {', '.join(OnDemand)}") from error


def _vcpus(value: Any) -> Decimal:
    remedy = "it takes a number above 0 and at most 10000, at most three decimals"
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 < value <= 10_000:
        raise _bad(value, remedy)
    if Decimal(value) * 1000 % 1:
        raise _bad(value, remedy)
    return Decimal(value).normalize()


def _object(value: Any, readers: Mapping[str, Reader], required: tuple[str, ...]) -> dict[str, Any]:
    """The parsed members of a nested object; unknown and missing ones are told by name."""
    if not isinstance(value, dict):
        raise _bad(value, f"it takes an object with {', '.join(readers)}")
    for key in value:
        if key not in readers:
            raise BadValue(f"is not known: did you mean {nearest(key, readers)}?", f".{key}")
    for key in required:
        if key not in value:
            raise BadValue(f"is missing: give {', '.join(required)}", f".{key}")
    return {key: _placed(readers[key], member, f".{key}") for key, member in value.items()}


def _placed(read: Callable[[Any], T], value: Any, place: str) -> T:
    try:
        return read(value)
    except BadValue as error:
        raise BadValue(str(error), place + error.place, error.unquoted) from error


def resources(value: Any) -> Resources:
    readers = {"vcpus": _vcpus, "memory_mib": whole(1, 100_000_000), "gpus": whole(0, 1_000)}
    return Resources(**_object(value, readers, ("vcpus", "memory_mib")))


def _s3(value: Any) -> str:
    remedy = "it takes the address of one object like s3://bucket/key"
    read = text(value, remedy)
    found = _S3.fullmatch(read)
    if not found or len(found[2].encode()) > 1024:
        raise _bad(value, remedy)
    return read


def _path(value: Any) -> str:
    """Relative, and inside the working directory whatever follows it."""
    remedy = "it takes a relative path inside the working directory, like data/train.csv or ."
    read = text(value, remedy)
    if not read or len(read) > 1024 or "\\" in read or "\n" in read:
        raise _bad(value, remedy)
    if PurePosixPath(read).is_absolute() or ".." in PurePosixPath(read).parts:
        raise _bad(value, remedy)
    return read


def _sha256(value: Any) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise _bad(value, "it takes 64 hexadecimal digits, as sha256sum prints them")
    return value.lower()


def inputs(value: Any) -> tuple[Input, ...]:
    readers: dict[str, Reader] = {"s3": _s3, "path": _path, "sha256": optional(_sha256)}
    if not isinstance(value, list) or len(value) > MOST_INPUTS:
        raise _bad(value, f"it takes a list of at most {MOST_INPUTS} objects with s3, path and sha256")
    return tuple(
        Input(**_placed(lambda v: _object(v, readers, ("s3", "path")), each, f"[{n}]")) for n, each in enumerate(value)
    )


def _strings(value: Any, remedy: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _bad(value, remedy)
    return {
        _placed(lambda k: text(k, remedy), key, f"[{shown(key)}]"): _placed(
            lambda v: text(v, "it takes a string; write numbers and booleans in quotes"), member, f"[{shown(key)}]"
        )
        for key, member in value.items()
    }


def env(value: Any) -> tuple[tuple[str, str], ...]:
    """(name, value), ordered by name. What is wrong with a value is said without it: refusals are kept and listed, and
    it may be a password."""
    try:
        return _variables(value)
    except BadValue as error:
        raise BadValue(error.unquoted, error.place) from None


def _variables(value: Any) -> tuple[tuple[str, str], ...]:
    read = _strings(value, 'it takes an object of strings like {"SEED": "1"}')
    for name, member in read.items():
        place = f"[{shown(name)}]"
        if not _NAME.fullmatch(name):
            raise BadValue("is no environment variable's name: use letters, digits and _, no digit first", place)
        if name in RESERVED_ENV:
            raise BadValue("is set by Lowtide for every job: take another name", place)
        _placed(lambda v, n=name: _argument(f"{n}={v}", ""), member, place)
    return tuple(sorted(read.items()))


def tags(value: Any) -> tuple[tuple[str, str], ...]:
    """(key, value), ordered by key."""
    read = _strings(value, 'it takes an object of strings like {"team": "vision"}')
    if len(read) > MOST_TAGS:
        raise BadValue(f"holds {len(read)} tags: it takes at most {MOST_TAGS}")
    for key, member in read.items():
        if not 1 <= len(key) <= 128 or len(member) > 256:
            raise BadValue("is too long: a key takes 1 to 128 characters, a value at most 256", f"[{shown(key)}]")
    return tuple(sorted(read.items()))


def secrets(value: Any) -> tuple[tuple[str, str], ...]:
    """(name, ARN of a Secrets Manager secret or SSM parameter), ordered by name."""
    read = env(value)
    for name, arn in read:
        if not _ARN.fullmatch(arn):
            raise BadValue("takes the ARN of a Secrets Manager secret or an SSM parameter", f"[{shown(name)}]")
    return read


def image(value: Any) -> str:
    """An image's name as docker takes it. It begins with a letter or digit, so that it is no option of a client's."""
    remedy = "it takes a container image's name like ubuntu:24.04"
    read = text(value, remedy)
    if not _IMAGE.fullmatch(read):
        raise _bad(value, remedy)
    return read
