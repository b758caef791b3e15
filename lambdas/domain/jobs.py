"""A job: what a message may say, and what the ledger knows of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PARKED = "parked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    vcpus: Decimal
    memory_mib: int
    gpus: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A file or archive fetched into the working directory before each attempt."""

    s3: str
    path: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What the submitter asked for: contract section 3, validated, defaults filled in."""

    job_id: str
    pool: str
    command: tuple[str, ...]
    """argv; a string in the message has become `("/bin/sh", "-c", text)`."""
    slots: int = 1
    resources: Resources | None = None
    inputs: tuple[Input, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    timeout: timedelta | None = None
    """Running time summed over interruptions; None: none."""
    priority: int = 0
    max_attempts: int = 1
    max_interruptions: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedJob:
    """A queue entry: what the plan needs of a waiting job (at most 1 KB stored)."""

    job_id: str
    slots: int
    resources: Resources | None
    priority: int
    submitted_at: datetime
    queued_at: datetime
    """When it last entered the queue; an interrupted job keeps `submitted_at` and so its place."""
    interruptions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why a message is parked: the field, its value and the remedy, in one sentence each."""

    field: str | None
    reason: str
    job_id: str | None = None
    pool: str | None = None
