"""A job: what was asked for, and what the ledger knows of it. What a message may say is in job_message.py."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Self

from lambdas.domain.instants import from_text, to_text
from lambdas.domain.jobs.terms import OnDemand, Terms
from lambdas.domain.jobs.work import EstimateFrom, Kept

Document = dict[str, Any]
"""JSON values only; decimals are strings, durations seconds."""


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

    def to_document(self) -> Document:
        return {"vcpus": str(self.vcpus), "memory_mib": self.memory_mib, "gpus": self.gpus}

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """The inverse of `to_document`. Counts may be Decimal (DynamoDB's)."""
        return cls(vcpus=Decimal(document["vcpus"]), memory_mib=int(document["memory_mib"]), gpus=int(document["gpus"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A file or archive fetched into the working directory before each attempt."""

    s3: str
    path: str
    sha256: str | None = None
    """64 lower-case hexadecimal digits; None: not checked."""

    def to_document(self) -> Document:
        return {"s3": self.s3, "path": self.path, "sha256": self.sha256}


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
    image: str | None = None
    """The container image it runs in; None: on the host."""
    env: tuple[tuple[str, str], ...] = ()
    secrets: tuple[tuple[str, str], ...] = ()
    """(variable, ARN of the Secrets Manager secret or SSM parameter that its value is read from on the instance)."""
    tags: tuple[tuple[str, str], ...] = ()
    timeout: timedelta | None = None
    """Running time summed over interruptions; None: none."""
    priority: int = 0
    max_attempts: int = 1
    max_interruptions: int | None = None
    on_demand: OnDemand = OnDemand.AUTO
    spot_max_price: Decimal | None = None
    """USD per hour: its own limit; None: the pool's."""
    deadline: datetime | None = None
    """It is to be finished by then; None: whenever."""
    estimated_duration: timedelta | None = None
    """Running time on one instance, as the submitter thinks; None: not said."""

    def to_document(self) -> Document:
        """Every field, in JSON values; the same job is always the same document, key order included."""
        return {
            **{"job_id": self.job_id, "pool": self.pool, "command": list(self.command), "slots": self.slots},
            "resources": self.resources and self.resources.to_document(),
            "inputs": [each.to_document() for each in self.inputs],
            "image": self.image,
            **{"env": dict(sorted(self.env)), "tags": dict(sorted(self.tags))},
            "secrets": dict(sorted(self.secrets)),
            "timeout": None if self.timeout is None else self.timeout.total_seconds(),
            **{"priority": self.priority, "max_attempts": self.max_attempts},
            "max_interruptions": self.max_interruptions,
            "on_demand": self.on_demand.value,
            "spot_max_price": None if self.spot_max_price is None else f"{self.spot_max_price.normalize():f}",
            "deadline": self.deadline and to_text(self.deadline),
            "estimated_duration": self.estimated_duration and self.estimated_duration.total_seconds(),
        }

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """The inverse of `to_document`. A field that the document lacks has its default."""
        given: Document = {key: value for key, value in document.items() if value is not None}
        return cls(**{key: _READERS.get(key, _as_it_is)(value) for key, value in given.items()})


def _as_it_is(value: Any) -> Any:
    return value


def _inputs(documents: list[Document]) -> tuple[Input, ...]:
    return tuple(Input(**each) for each in documents)


def _seconds(number: Any) -> timedelta:
    return timedelta(seconds=float(number))


def _pairs(mapping: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(mapping.items()))


_READERS: dict[str, Callable[[Any], Any]] = {
    **{"command": tuple, "resources": Resources.from_document, "inputs": _inputs},
    **{"env": _pairs, "secrets": _pairs, "tags": _pairs, "timeout": _seconds},
    **{"on_demand": OnDemand, "spot_max_price": Decimal},
    **{"deadline": from_text, "estimated_duration": _seconds},
}


def content_hash(spec: JobSpec) -> str:
    """sha256 (hex) of everything asked for but the id: the same content in another key order has the same hash.

    Fields at their default are left out, so that a field which a later version adds changes no stored job's hash.
    """
    document = spec.to_document()
    plain = JobSpec(job_id=spec.job_id, pool="", command=()).to_document()
    told = {key: value for key, value in document.items() if key != "job_id" and value != plain[key]}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


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
    on_demand: OnDemand = OnDemand.AUTO
    spot_max_price: Decimal | None = None
    """The job's own limit, USD per hour."""
    deadline: datetime | None = None
    estimated_seconds: Decimal | None = None
    """How long the whole job takes; None: nobody knows."""
    estimate_from: EstimateFrom | None = None
    kept_seconds: Decimal | None = None
    """This and the next two: what its earlier attempts left (work.Kept), where it has a deadline."""
    kept_progress: Decimal | None = None
    restoring_seconds: Decimal | None = None

    @property
    def terms(self) -> Terms:
        return Terms(on_demand=self.on_demand, spot_max_price=self.spot_max_price)

    @property
    def kept(self) -> Kept:
        return Kept(seconds=self.kept_seconds, progress=self.kept_progress, restoring_seconds=self.restoring_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why a message is parked: the field, its value and the remedy, in one sentence each."""

    field: str | None
    reason: str
    job_id: str | None = None
    pool: str | None = None
