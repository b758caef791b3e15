"""What a check found, as values: in order, doubtful, or in the way of a launch."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from lambdas.domain.pools.pools import CapacityType
from lambdas.domain.reasons import Reason, ReasonClass
from lowtide.cli.pool_numbers import reason_object


class Status(StrEnum):
    OK = "ok"
    WARNING = "warning"
    """Launches work, but not all that is asked for may come; or it could not be looked at."""
    FAILURE = "failure"
    """A launch would fail, or a deployment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What makes a finding a reason like those of `status`."""

    reason_class: ReasonClass
    code: str
    capacity_type: CapacityType | None = None
    instance_type: str | None = None
    availability_zone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    check: str
    """The check's name; several findings may share it."""
    status: Status
    what: str
    """What was found, in one clause."""
    why: str = ""
    """Why it matters; empty where all is well."""
    remedy: str = ""
    """A command where there is one; empty where all is well."""
    pool: str | None = None
    """None: it is the account's or the stack's."""
    cause: Cause | None = None
    told: tuple[Reason, ...] = ()
    """Reasons as the control plane gave them, instead of `cause`."""

    def reasons(self, now: datetime) -> tuple[Reason, ...]:
        if self.told or self.cause is None:
            return self.told
        return (
            Reason(
                reason_class=self.cause.reason_class,
                code=self.cause.code,
                message=f"{self.what}: {self.why}" if self.why else self.what,
                remedy=self.remedy,
                since=now,
                last_seen=now,
                capacity_type=self.cause.capacity_type,
                instance_type=self.cause.instance_type,
                availability_zone=self.cause.availability_zone,
            ),
        )


def fine(check: str, what: str, *, pool: str | None = None) -> Finding:
    return Finding(check=check, status=Status.OK, what=what, pool=pool)


def document(finding: Finding, now: datetime) -> dict[str, Any]:
    """The finding in `doctor --json`; its reasons have the form of `status --json`."""
    return {
        **{"check": finding.check, "status": finding.status.value, "pool": finding.pool, "what": finding.what},
        **{"why": finding.why, "remedy": finding.remedy},
        "reasons": [reason_object(reason) for reason in finding.reasons(now)],
    }


def fails(findings: Sequence[Finding]) -> bool:
    return any(finding.status is Status.FAILURE for finding in findings)
