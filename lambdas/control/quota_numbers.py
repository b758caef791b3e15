"""Tells a refusal for a vCPU quota in numbers: EC2 says only that the quota is reached."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from lambdas.domain.fleet.fleet import LaunchRequest
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.refusals.quotas import Counted, Quota, in_numbers, quota_of, vcpus_of
from lambdas.domain.refusals.refusals import Refusal

VCPU_CODES = frozenset({"MaxSpotInstanceCountExceeded", "VcpuLimitExceeded"})


class Values(Protocol):
    """What is asked of Service Quotas (adapters/quotas.py)."""

    def value(self, code: str) -> int | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaNumbers:
    values: Values

    def told(self, refusals: Sequence[Refusal], request: LaunchRequest, snapshot: Snapshot) -> list[Refusal]:
        """The refusals, those for a vCPU quota with its name, its value and what the pool takes of it before EC2's own
        words. Each quota is read once."""
        read: dict[Quota, int | None] = {}
        told: list[Refusal] = []
        for refusal in refusals:
            kind = refusal.instance_type or request.overrides[0].instance_type
            quota = quota_of(kind, refusal.capacity_type) if refusal.code in VCPU_CODES else None
            if quota is None:
                told.append(refusal)
                continue
            if quota not in read:
                read[quota] = self.values.value(quota.code)
            numbers = in_numbers(quota, _counted(quota, kind, request, snapshot, read[quota]))
            told.append(replace(refusal, message=f"{numbers}. {refusal.message}"))
        return told


def _counted(quota: Quota, kind: str, request: LaunchRequest, snapshot: Snapshot, most: int | None) -> Counted:
    vcpus = {facts.name: facts.vcpus for facts in snapshot.pool.types}
    there = [(each.capacity_type, each.instance_type) for each in snapshot.instances]
    return Counted(asked=vcpus.get(kind, 0) * request.count, held=vcpus_of(quota, there, vcpus), most=most)
