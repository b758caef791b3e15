"""EC2's vCPU quotas: one for each group of instance families, spot and on-demand apart, counted per Region; and how a
refusal is told in their numbers, since EC2's own words name no quota, and for spot no number either.

Names and codes are those of Service Quotas (service `ec2`), the same in every Region.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lambdas.domain.pools.pools import CapacityType


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    capacity_type: CapacityType
    family: str
    """The group's short name, the same for both capacity types."""
    types: str
    """Begins the name of every instance type that counts (a regular expression)."""
    name: str
    code: str

    def counts(self, capacity_type: CapacityType, instance_type: str) -> bool:
        return capacity_type is self.capacity_type and re.match(self.types, instance_type) is not None


def _quota(capacity_type: CapacityType, family: str, types: str, name: str, code: str) -> Quota:
    return Quota(capacity_type=capacity_type, family=family, types=types, name=name, code=code)


_VALUE = re.compile(r"\) is ([0-9]+), of which")
_SPOT, _ON_DEMAND = CapacityType.SPOT, CapacityType.ON_DEMAND
_STANDARD = r"(a|c|d|h|i|im|is|m|r|t|z)\d"

QUOTAS: tuple[Quota, ...] = (
    _quota(
        _SPOT,
        "Standard",
        _STANDARD,
        "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
        "L-34B43A08",
    ),
    _quota(_SPOT, "G and VT", r"(g|gr|vt)\d", "All G and VT Spot Instance Requests", "L-3819A6DF"),
    _quota(_SPOT, "P", r"p[234]", "All P4, P3 and P2 Spot Instance Requests", "L-7212CCBC"),
    _quota(_SPOT, "P", r"p5", "All P5 Spot Instance Requests", "L-C4BD4855"),
    _quota(_SPOT, "Inf", r"inf\d", "All Inf Spot Instance Requests", "L-B5D1601B"),
    _quota(_SPOT, "Trn", r"trn\d", "All Trn Spot Instance Requests", "L-6B0D517C"),
    _quota(_SPOT, "DL", r"dl\d", "All DL Spot Instance Requests", "L-85EED4F7"),
    _quota(_SPOT, "F", r"f\d", "All F Spot Instance Requests", "L-88CF9481"),
    _quota(_SPOT, "X", r"x\d", "All X Spot Instance Requests", "L-E3A00192"),
    _quota(_ON_DEMAND, "Standard", _STANDARD, "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z)", "L-1216C47A"),
    _quota(_ON_DEMAND, "G and VT", r"(g|gr|vt)\d", "Running On-Demand G and VT instances", "L-DB2E81BA"),
    _quota(_ON_DEMAND, "P", r"p\d", "Running On-Demand P instances", "L-417A185B"),
    _quota(_ON_DEMAND, "Inf", r"inf\d", "Running On-Demand Inf instances", "L-1945791B"),
    _quota(_ON_DEMAND, "Trn", r"trn\d", "Running On-Demand Trn instances", "L-2C3B7624"),
    _quota(_ON_DEMAND, "DL", r"dl\d", "Running On-Demand DL instances", "L-6E869C2A"),
    _quota(_ON_DEMAND, "F", r"f\d", "Running On-Demand F instances", "L-74FC7D96"),
    _quota(_ON_DEMAND, "X", r"x\d", "Running On-Demand X instances", "L-7295265B"),
    _quota(_ON_DEMAND, "HPC", r"hpc\d", "Running On-Demand HPC instances", "L-F7808C92"),
    _quota(_ON_DEMAND, "High Memory", r"u-|u\d", "Running On-Demand High Memory instances", "L-43DA4232"),
)


def quota_of(instance_type: str, capacity_type: CapacityType) -> Quota | None:
    """What an instance counts against; None for a family that is in no group known here.

    >>> quota_of("g4dn.metal", CapacityType.SPOT).code
    'L-3819A6DF'
    """
    return next((each for each in QUOTAS if each.counts(capacity_type, instance_type)), None)


def named_in(message: str) -> Quota | None:
    """The quota that a message told by `in_numbers` names."""
    return next((quota for quota in QUOTAS if f"({quota.code})" in message), None)


def value_in(message: str) -> int | None:
    """The quota's value in a message told by `in_numbers`; None where it could not be read."""
    found = _VALUE.search(message)
    return int(found[1]) if found else None


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
