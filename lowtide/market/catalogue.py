"""What EC2 says of its instance types, and what they cost on demand. Facts only; read once from moto's package.

EC2 publishes no prices through DescribeInstanceTypes and no package at hand carries them, so the price is a model:

    price = vCPUs * rate of the processor's maker + GiB * rate + TB of local disk * rate
          + vCPUs of network-optimised types (`n` in the family) * rate + GPUs * rate of their kind

fitted (weighted least squares on the relative error, reweighted towards its absolute value) to the public on-demand
Linux prices of us-east-1, July 2026, in three groups. Relative error of the fit, median and 90th percentile:
burstable 9 % and 17 % (29 types), with GPUs 2 % and 10 % (53 types), all others 10 % and 33 % (1,258 types).
Worked out for g4dn.metal: 96 * 0.04591 + 384 * 0.00313 + 1.8 * 0.03792 + 8 * 0.27835 = 7.90 (list price 7.824).
One price for every Region. Apple types (mac1, mac2) are not modelled: only their memory is counted.
"""

import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

GENERAL_RATES = {
    **{"gib": 0.00415, "network": 0.02118, "hdd": 0.0083, "ssd": 0.09134},
    **{"vcpu:AMD": 0.03097, "vcpu:AWS": 0.0303, "vcpu:Intel": 0.03666},
}
BURSTABLE_RATES = {"gib": 0.0094, "vcpu:Intel": 0.00089}
GPU_RATES = {
    **{"gib": 0.00313, "ssd": 0.03792, "vcpu:AMD": 0.03548, "vcpu:AWS": 0.02775, "vcpu:Intel": 0.04591},
    **{"gpu:A100": 1.74953, "gpu:A10G": 0.82117, "gpu:B200": 12.19522, "gpu:B300": 14.95518, "gpu:H100": 5.22585},
    **{"gpu:H200": 5.86562, "gpu:L4": 0.53766, "gpu:L40S": 1.89331, "gpu:RTX PRO 4500": 2.10082},
    **{"gpu:RTX PRO Server 6000": 2.56481, "gpu:T4": 0.27835, "gpu:T4g": 0.284, "gpu:V100": 3.04187},
}
"""USD per hour and unit."""

QUOTA_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "Standard": ("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"),
    "G and VT": ("g", "gr", "vt"),
    "P": ("p",),
    "Inf": ("inf",),
    "Trn": ("trn",),
    "DL": ("dl",),
    "F": ("f",),
    "X": ("x",),
    "HPC": ("hpc",),
    "High Memory": ("u", "mac"),
}
"""EC2 counts vCPUs per group of instance families, spot and on-demand apart (Service Quotas)."""

ZONE_LETTERS = ("a", "b", "c")
"""The zones of a Region here; ministack makes the same three whatever the Region."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeFacts:
    name: str
    vcpus: int
    memory_mib: int
    gpus: int
    gpu_kind: str | None
    architectures: tuple[str, ...]
    """EC2's names, `x86_64` or `arm64` first; old types also list `i386`."""
    bare_metal: bool
    spot: bool
    """Whether EC2 sells it as spot at all."""
    quota_family: str


@cache
def _described() -> Mapping[str, Mapping[str, Any]]:
    return json.loads(gzip.decompress((files("moto") / "ec2/resources/instance_types.json.gz").read_bytes()))


def names() -> tuple[str, ...]:
    """Every instance type, in alphabetical order."""
    return tuple(sorted(_described()))


def described(name: str) -> Mapping[str, Any] | None:
    """One record of DescribeInstanceTypes as EC2 answers it; None for a type that EC2 does not know."""
    return _described().get(name)


@cache
def facts(name: str) -> TypeFacts | None:
    """None for a type that EC2 does not know."""
    record = described(name)
    if record is None:
        return None
    cards = record.get("GpuInfo", {}).get("Gpus", [])
    architectures = record["ProcessorInfo"]["SupportedArchitectures"]
    return TypeFacts(
        name=name,
        vcpus=record["VCpuInfo"]["DefaultVCpus"],
        memory_mib=record["MemoryInfo"]["SizeInMiB"],
        gpus=sum(card["Count"] for card in cards),
        gpu_kind=cards[0]["Name"] if cards else None,
        architectures=tuple(sorted(architectures, key=lambda a: a == "i386")),
        bare_metal=record["BareMetal"],
        spot="spot" in record["SupportedUsageClasses"],
        quota_family=_quota_family(name),
    )


def zones(region: str) -> tuple[str, ...]:
    return tuple(region + letter for letter in ZONE_LETTERS)


@cache
def offered(region: str) -> Mapping[str, tuple[str, ...]]:
    """The zones in which each type can be had; a type that the Region lacks is not a key.

    A Region of which the package has no list offers every type in every zone."""
    path = files("moto") / f"ec2/resources/instance_type_offerings/availability-zone/{region}.json.gz"
    if not path.is_file():
        return dict.fromkeys(names(), zones(region))
    found: dict[str, set[str]] = {}
    for entry in json.loads(gzip.decompress(path.read_bytes())):
        if entry["Location"] in zones(region):
            found.setdefault(entry["InstanceType"], set()).add(entry["Location"])
    return {name: tuple(sorted(places)) for name, places in sorted(found.items())}


@cache
def on_demand_price(name: str) -> Decimal | None:
    """Modelled USD per hour to four places (see the module for how far off); None for a type that EC2 does not know."""
    record = described(name)
    if record is None:
        return None
    rates, amounts = _rates(name, record), _amounts(name, record)
    price = sum(rates.get(what, 0.0) * amount for what, amount in amounts.items())
    return max(Decimal(str(price)).quantize(Decimal("0.0001")), Decimal("0.0040"))


def _rates(name: str, record: Mapping[str, Any]) -> Mapping[str, float]:
    if record["BurstablePerformanceSupported"]:
        return BURSTABLE_RATES
    facts_ = facts(name)
    return GPU_RATES if facts_ and facts_.gpus and f"gpu:{facts_.gpu_kind}" in GPU_RATES else GENERAL_RATES


def _amounts(name: str, record: Mapping[str, Any]) -> Mapping[str, float]:
    vcpus = record["VCpuInfo"]["DefaultVCpus"]
    disks = record.get("InstanceStorageInfo")
    amounts: dict[str, float] = {
        "gib": record["MemoryInfo"]["SizeInMiB"] / 1024,
        f"vcpu:{record['ProcessorInfo']['Manufacturer']}": vcpus,
        "network": vcpus if "n" in _family_suffix(name) else 0,
    }
    if disks:
        amounts[disks["Disks"][0]["Type"]] = disks["TotalSizeInGB"] / 1000
    for card in record.get("GpuInfo", {}).get("Gpus", []):
        amounts[f"gpu:{card['Name']}"] = card["Count"]
    return amounts


def _family_suffix(name: str) -> str:
    """`dn` of `m5dn.large`: what stands behind the generation."""
    match = re.match(r"[a-z]+\d+([a-z-]*)\.", name)
    return match.group(1) if match else ""


def _quota_family(name: str) -> str:
    prefix = re.match(r"[a-z]+", name)
    letters = prefix.group() if prefix else ""
    return next((family for family, members in QUOTA_FAMILIES.items() if letters in members), "Standard")
