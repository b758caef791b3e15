"""EC2's vCPU quotas: one for each group of instance families, spot and on-demand apart, counted per Region.

Names and codes are those of Service Quotas (service `ec2`).
"""

import re
from dataclasses import dataclass

from lambdas.domain.pools import CapacityType


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    capacity_type: CapacityType
    family: str
    """The group's short name, the same for both capacity types."""
    types: str
    """Begins the name of every instance type that counts (a regular expression)."""
    name: str
    code: str


def _quota(capacity_type: CapacityType, family: str, types: str, name: str, code: str) -> Quota:
    return Quota(capacity_type=capacity_type, family=family, types=types, name=name, code=code)


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
    return next(
        (each for each in QUOTAS if each.capacity_type is capacity_type and re.match(each.types, instance_type)), None
    )
