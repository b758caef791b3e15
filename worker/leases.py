"""The values of the worker API (docs/worker-api.md): a lease as it is given, an outcome as it is reported."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple, Union

from worker.log import to_text


class Key(NamedTuple):
    """What names a lease: the job and the fence it was claimed with."""

    job_id: str
    fence: int

    def body(self) -> dict[str, Any]:
        return {"job_id": self.job_id, "fence": self.fence}


@dataclass(frozen=True)
class Input:
    bucket: str
    key: str
    path: str
    """Relative to the working directory."""
    sha256: str | None


class Resources(NamedTuple):
    vcpus: Decimal
    memory_mib: int
    gpus: int


@dataclass(frozen=True)
class Lease:
    key: Key
    attempt: int
    pool: str
    slots: int
    """0: an auxiliary job."""
    command: tuple[str, ...]
    env: dict[str, str]
    inputs: tuple[Input, ...]
    seconds_left: float | None
    """Running time that the job's timeout leaves to this attempt; None: no timeout."""
    image: str | None = None
    """The container image that it runs in; None: on the host."""
    secrets: dict[str, str] = field(default_factory=lambda: {})
    """Variable -> ARN of the secret or parameter that holds its value."""
    job_role: bool = False
    """The pool's jobs have a role of their own."""
    resources: Resources | None = None
    """What it takes of the instance; None: its slots' share."""
    gpus: int = 0
    """GPUs that are its alone."""

    @classmethod
    def parse(cls, given: dict[str, Any]) -> Lease:
        """Raises KeyError, TypeError or ValueError for what the API never sends."""
        timeout = given.get("timeout_seconds")
        return cls(
            key=Key(given["job_id"], int(given["fence"])),
            attempt=int(given["attempt"]),
            pool=given["pool"],
            slots=int(given["slots"]),
            command=tuple(given["command"]),
            env=dict(given.get("env") or {}),
            inputs=tuple(_input(one) for one in given.get("inputs") or ()),
            seconds_left=None if timeout is None else max(0.0, timeout - (given.get("used_seconds") or 0.0)),
            image=given.get("image"),
            secrets=dict(given.get("secrets") or {}),
            job_role=bool(given.get("job_role")),
            resources=_resources(given.get("resources")),
            gpus=int(given.get("gpus", given["slots"])),
        )


class Used(NamedTuple):
    """What several leases take together: slots of those without resources, and what the others name."""

    slots: int
    vcpus: Decimal
    memory_mib: int
    gpus: int
    aux: int


def used_by(leases: list[Lease]) -> Used:
    asked = [lease.resources for lease in leases if lease.resources is not None]
    return Used(
        slots=sum(lease.slots for lease in leases if lease.resources is None),
        vcpus=sum((each.vcpus for each in asked), Decimal(0)),
        memory_mib=sum(each.memory_mib for each in asked),
        gpus=sum(each.gpus for each in asked),
        aux=sum(lease.slots == 0 for lease in leases),
    )


def _resources(given: dict[str, Any] | None) -> Resources | None:
    if given is None:
        return None
    return Resources(Decimal(given["vcpus"]), int(given["memory_mib"]), int(given["gpus"]))


def _input(given: dict[str, Any]) -> Input:
    scheme, _, place = given["s3"].partition("://")
    bucket, _, key = place.partition("/")
    if scheme != "s3" or not bucket or not key:
        raise ValueError(f"{given['s3']!r} is not s3://bucket/key")
    return Input(bucket, key, given.get("path") or ".", given.get("sha256"))


class Stop(Enum):
    """Why the worker ends a job before its time."""

    INTERRUPTED = "interrupted"
    """A spot notice, a power-off, the worker's own end."""
    LEASE_LOST = "lease-lost"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed-out"


@dataclass(frozen=True)
class Ended:
    """An attempt whose process ran, or could not be started for the job's own fault."""

    started_at: datetime
    ended_at: datetime
    exit_code: int | None
    """None: ended by a signal, or never had a process."""
    signal: int | None
    stopped: Stop | None
    done: bool
    """The job wrote to LOWTIDE_DONE_FILE."""
    error: str | None
    out_of_memory: bool = False
    """It failed because it needed more memory than it has."""
    standing: dict[str, str] = field(default_factory=lambda: {})
    """How far it came and what its last save kept (progress.standing)."""

    def body(self, key: Key) -> dict[str, Any]:
        return {
            **key.body(),
            "started_at": to_text(self.started_at),
            "ended_at": to_text(self.ended_at),
            "exit_code": self.exit_code,
            "signal": self.signal,
            "timed_out": self.stopped is Stop.TIMED_OUT,
            "interrupted": self.stopped in (Stop.INTERRUPTED, Stop.LEASE_LOST),
            "done": self.done,
            "error": self.error,
            "out_of_memory": self.out_of_memory,
            **({"standing": self.standing} if self.standing else {}),
        }


@dataclass(frozen=True)
class NeverStarted:
    """A lease whose job never had a process here, for no fault of its own: it is given back."""

    reason: str

    def body(self, key: Key) -> dict[str, Any]:
        return {**key.body(), "reason": self.reason}


Outcome = Union[Ended, NeverStarted]
