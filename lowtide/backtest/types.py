"""Where a backtest has the facts and on-demand prices of instance types from, when it asks no AWS."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from lambdas.adapters.catalogue import TypeListing
from lowtide.backtest.wrong import WrongField, wrong_at
from lowtide.market import catalogue

COLUMNS = ("instance_type", "vcpus", "memory_mib", "gpus", "architectures", "on_demand_usd_per_hour")
"""What a catalogue must have; it may have more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeFile:
    listings: Mapping[str, TypeListing]
    prices: Mapping[str, Decimal | None]


def of_file(path: Path) -> TypeFile:
    """A CSV with COLUMNS, as docs/backtests.md shows one. Raises WrongFile."""
    listings: dict[str, TypeListing] = {}
    prices: dict[str, Decimal | None] = {}
    with wrong_at(path):
        text = path.read_text(encoding="utf-8-sig")
    reader = csv.DictReader(text.splitlines())
    with wrong_at(path, 1):
        if missing := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
            raise WrongField(missing[0], f"is missing; a catalogue has the columns {', '.join(COLUMNS)}")
    for row in reader:
        with wrong_at(path, reader.line_num):
            listing = _listing(row)
            listings[listing.name] = listing
            prices[listing.name] = _price(row)
    return TypeFile(listings=listings, prices=prices)


def _listing(row: Mapping[str, Any]) -> TypeListing:
    name = row["instance_type"] or ""
    if "." not in name:
        raise WrongField("instance_type", f"is {name!r}; it takes an EC2 instance type such as g4dn.xlarge")
    return TypeListing(
        name=name,
        vcpus=_count(row, "vcpus"),
        memory_mib=_count(row, "memory_mib"),
        gpus=_count(row, "gpus"),
        architecture=_architecture(row),
        bare_metal=name.endswith(".metal") or ".metal-" in name,
    )


def _count(row: Mapping[str, Any], field: str) -> int:
    try:
        count = int(row[field])
    except (TypeError, ValueError):
        count = -1
    if count < 0:
        raise WrongField(field, f"is {row[field]!r}; it takes a whole number")
    return count


def _architecture(row: Mapping[str, Any]) -> str:
    named = [each for each in str(row["architectures"]).split("/") if each in ("x86_64", "arm64")]
    return named[0] if named else "x86_64"


def _price(row: Mapping[str, Any]) -> Decimal | None:
    """None where the column is empty: the price list has none."""
    if not (text := row["on_demand_usd_per_hour"]):
        return None
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal(0)
    if not price.is_finite() or price <= 0:
        raise WrongField("on_demand_usd_per_hour", f"is {text!r}; it takes USD above 0")
    return price


def built_in(names: Iterable[str]) -> TypeFile:
    """Of the local AWS's catalogue; its on-demand prices are a model (docs/market.md)."""
    listings: dict[str, TypeListing] = {}
    prices: dict[str, Decimal | None] = {}
    for name in names:
        if (facts := catalogue.facts(name)) is not None:
            listings[name] = TypeListing(
                name=name,
                vcpus=facts.vcpus,
                memory_mib=facts.memory_mib,
                gpus=facts.gpus,
                architecture=facts.architectures[0],
                bare_metal=facts.bare_metal,
            )
            prices[name] = catalogue.on_demand_price(name)
    return TypeFile(listings=listings, prices=prices)
