"""EC2's vCPU quotas: which one counts an instance type, and how a refusal is told in its numbers.

EC2 counts vCPUs per Region and group of families, spot and on-demand apart; its refusals name no quota, and for spot no
number either. Names and codes are Service Quotas' own, the same in every Region.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lambdas.domain.pools import CapacityType


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    name: str
    code: str
    """In Service Quotas, of the service `ec2`."""
    capacity_type: CapacityType
    families: str
    """A pattern of the names of the types that it counts."""

    def counts(self, capacity_type: CapacityType, instance_type: str) -> bool:
        return capacity_type is self.capacity_type and re.match(self.families, instance_type) is not None


def _quotas(families: str, spot: tuple[str, str] | None, on_demand: tuple[str, str] | None) -> list[Quota]:
    named = ((CapacityType.SPOT, spot), (CapacityType.ON_DEMAND, on_demand))
    return [Quota(name=told[0], code=told[1], capacity_type=kind, families=families) for kind, told in named if told]


QUOTAS: tuple[Quota, ...] = (
    *_quotas(
        r"(a|c|d|h|i|im|is|m|r|t|z)\d",
        ("All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", "L-34B43A08"),
        ("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", "L-1216C47A"),
    ),
    *_quotas(
        r"(g|gr|vt)\d",
        ("All G and VT Spot Instance Requests", "L-3819A6DF"),
        ("Running On-Demand G and VT instances", "L-DB2E81BA"),
    ),
    *_quotas(r"p[234]", ("All P4, P3 and P2 Spot Instance Requests", "L-7212CCBC"), None),
    *_quotas(r"p5", ("All P5 Spot Instance Requests", "L-C4BD4855"), None),
    *_quotas(r"p\d", None, ("Running On-Demand P instances", "L-417A185B")),
    *_quotas(
        r"inf\d", ("All Inf Spot Instance Requests", "L-B5D1601B"), ("Running On-Demand Inf instances", "L-1945791B")
    ),
    *_quotas(
        r"trn\d", ("All Trn Spot Instance Requests", "L-6B0D517C"), ("Running On-Demand Trn instances", "L-2C3B7624")
    ),
    *_quotas(
        r"dl\d", ("All DL Spot Instance Requests", "L-85EED4F7"), ("Running On-Demand DL instances", "L-6E869C2A")
    ),
    *_quotas(
        r"f\d",
        ("All F Spot Instance Requests", "L-88CF9481"),
        ("Running On-Demand F instances", "L-74FC7D96"),
    ),
    *_quotas(
        r"x\d",
        ("All X Spot Instance Requests", "L-E3A00192"),
        ("Running On-Demand X instances", "L-7295265B"),
    ),
    *_quotas(r"hpc\d", None, ("Running On-Demand HPC instances", "L-F7808C92")),
    *_quotas(r"u-", None, ("Running On-Demand High Memory instances", "L-43DA4232")),
)


def quota_of(capacity_type: CapacityType, instance_type: str) -> Quota | None:
    """The quota that counts such an instance; None: a family that is not listed here."""
    return next((quota for quota in QUOTAS if quota.counts(capacity_type, instance_type)), None)


def named_in(message: str) -> Quota | None:
    """The quota that a message told by `in_numbers` names."""
    return next((quota for quota in QUOTAS if f"({quota.code})" in message), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """vCPUs of one quota."""

    asked: int
    """Of the request that was refused."""
    held: int
    """Of the pool's own instances. Other pools, and other users of the account, count too and are not seen."""
    most: int | None
    """The quota's value; None: it cannot be read."""


def in_numbers(quota: Quota, counted: Counted) -> str:
    """`8 vCPUs asked for; the quota All G and VT Spot Instance Requests (L-3819A6DF) is 96, of which this pool's
    instances take 92: at most 4 are free`."""
    told = f"{counted.asked} vCPUs asked for; the quota {quota.name} ({quota.code})"
    if counted.most is None:
        return f"{told} cannot be read; this pool's instances take {counted.held} of it"
    free = max(0, counted.most - counted.held)
    return f"{told} is {counted.most}, of which this pool's instances take {counted.held}: at most {free} are free"


def vcpus_of(quota: Quota, instances: Iterable[tuple[CapacityType, str]], vcpus: dict[str, int]) -> int:
    """What these (capacity type, instance type) count in the quota; types whose vCPUs are not known count nothing."""
    return sum(vcpus.get(name, 0) for kind, name in instances if quota.counts(kind, name))
