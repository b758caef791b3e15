"""Recorded markets as files: read into tracks (recorded.py). Three forms, all JSON, told apart by their fields.

Spot price history, as `aws ec2 describe-spot-price-history` prints it:

    {"SpotPriceHistory": [{"InstanceType": "g4dn.xlarge", "AvailabilityZone": "us-west-2a", "SpotPrice": "0.1578",
                           "ProductDescription": "Linux/UNIX", "Timestamp": "2026-11-01T08:00:00+00:00"}]}

Prices on the ticks of an availability record, run-length coded:

    {"instance_type": "p3.2xlarge", "gap_seconds": 195, "first_tick": "2023-02-15T22:08Z", "on_demand_price": 3.06,
     "spot_prices": {"us-west-2a": [[0, 0.918], [9788, 0.92]]}}

Availability, one character a tick, `1` = spot could be held; with one price, or one for each tick:

    {"gap_seconds": 600, "on_demand_price": 3.06, "spot_price": 0.9731, "avail": "1110011"}

The last form names neither type nor zone nor date. Its zone is `zone`, or what looks like one in the file's name; its
type is `instance_type`, or any type of the pools; its date is `first_tick` where that is an instant, else the beginning
of the backtest. `TYPE@ZONE=PATH` on the command line says both.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from typing import Any

from lambdas.domain.instants import from_text
from lowtide.backtest.recorded import Steps, Track
from lowtide.backtest.wrong import WrongField, WrongFile, is_number, line_of, wrong_at
from lowtide.market.model import ALL

UNDATED = datetime(2024, 1, 1, tzinfo=UTC)
"""Where a record that names no date begins until it is moved: a Monday."""
LINUX = frozenset({"Linux/UNIX", "Linux/UNIX (Amazon VPC)"})
"""Products of the price history that pools launch; others are left out."""
_ZONE = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d[a-z]")
_NAMED = re.compile(r"(?P<type>[a-z0-9-]+\.[a-z0-9-]+|\*)@(?P<zone>[a-z0-9-]+)=(?P<path>.+)")


def tracks_of(named: Sequence[str], *, depth: int) -> list[Track]:
    """Of every file that is named, directories read whole. `depth`: how many instances an available offering holds.

    Raises WrongFile."""
    found: list[Track] = []
    for name in named:
        match = _NAMED.fullmatch(name)
        type_, zone = (match["type"], match["zone"]) if match else (None, None)
        for path in _paths(Path(match["path"] if match else name)):
            found += _tracks(path, type_, zone, depth)
    return found


def _paths(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    if not (found := sorted(path.glob("*.json"))):
        raise WrongFile(f"{path} has no .json files: name a recorded market")
    return found


def _tracks(path: Path, type_: str | None, zone: str | None, depth: int) -> list[Track]:
    with wrong_at(path):
        text = path.read_text(encoding="utf-8-sig")
        document = json.loads(text, parse_float=Decimal)
    if not isinstance(document, dict):
        raise WrongFile(f"{path}, line 1: is no object; it takes SpotPriceHistory, spot_prices or avail")
    read: dict[str, Any] = document
    if "SpotPriceHistory" in read:
        return _history(path, text, read["SpotPriceHistory"])
    if "spot_prices" in read:
        return _coded(path, text, read)
    if "avail" in read:
        return [_availability(path, text, read, type_, zone, depth)]
    raise WrongFile(f"{path}, line 1: has none of SpotPriceHistory, spot_prices and avail: it is no recorded market")


# --- spot price history -----------------------------------------------------------------------------------------------


def _history(path: Path, text: str, rows: Any) -> list[Track]:
    if not isinstance(rows, list):
        raise WrongFile(f"{path}, line {line_of(text, 'SpotPriceHistory')}: SpotPriceHistory: is no list")
    every: list[Any] = rows
    points: list[tuple[str, str, datetime, Decimal]] = []
    for number, row in enumerate(every):
        with wrong_at(path, line_of(text, "InstanceType", number)):
            if (point := _row(row, f"SpotPriceHistory[{number}]")) is not None:
                points.append(point)
    if not points:
        raise WrongFile(f"{path}: SpotPriceHistory: has no price of Linux/UNIX")
    return history(points, source=str(path))


def _row(row: Any, where: str) -> tuple[str, str, datetime, Decimal] | None:
    if not isinstance(row, dict):
        raise WrongField(where, "is no object")
    values: dict[str, Any] = row
    for field in ("InstanceType", "AvailabilityZone", "SpotPrice", "Timestamp"):
        if field not in values:
            raise WrongField(f"{where}.{field}", "is missing")
    if values.get("ProductDescription", "Linux/UNIX") not in LINUX:
        return None
    at = _instant(values["Timestamp"], f"{where}.Timestamp")
    price = _price(values["SpotPrice"], f"{where}.SpotPrice")
    return str(values["InstanceType"]), str(values["AvailabilityZone"]), at, price


def history(points: Iterable[tuple[str, str, datetime, Decimal]], *, source: str) -> list[Track]:
    """Tracks of (type, zone, instant, USD per hour), as EC2 tells every change."""
    by_offering: defaultdict[tuple[str, str], list[tuple[datetime, Decimal]]] = defaultdict(list)
    for name, zone, at, price in points:
        by_offering[name, zone].append((at, price))
    return [
        Track(instance_type=name, zone=zone, prices=Steps.of(steps), source=source)
        for (name, zone), steps in sorted(by_offering.items())
    ]


# --- ticks ------------------------------------------------------------------------------------------------------------


def _coded(path: Path, text: str, read: Mapping[str, Any]) -> list[Track]:
    with wrong_at(path, line_of(text, "gap_seconds")):
        gap = _gap(read)
    with wrong_at(path, line_of(text, "first_tick")):
        begin = _first_tick(read)
    with wrong_at(path, line_of(text, "instance_type")):
        if not isinstance(name := read.get("instance_type"), str):
            raise WrongField("instance_type", "is missing; it takes an EC2 instance type")
    with wrong_at(path, line_of(text, "spot_prices")):
        zones = read["spot_prices"]
        if not isinstance(zones, dict) or not zones:
            raise WrongField("spot_prices", "takes {ZONE: [[tick, USD], …]}")
    every: dict[str, Any] = zones
    tracks: list[Track] = []
    for zone, steps in every.items():
        with wrong_at(path, line_of(text, zone)):
            tracks.append(
                Track(
                    instance_type=name,
                    zone=zone,
                    prices=Steps.of(_ticks(steps, f"spot_prices.{zone}", begin, gap)),
                    on_demand_price=_on_demand(read),
                    source=str(path),
                )
            )
    return tracks


def _ticks(steps: Any, where: str, begin: datetime, gap: float) -> list[tuple[datetime, Decimal]]:
    if not isinstance(steps, list) or not steps:
        raise WrongField(where, "takes [[tick, USD], …]")
    every: list[Any] = steps
    points: list[tuple[datetime, Decimal]] = []
    last = -1
    for number, step in enumerate(every):
        place = f"{where}[{number}]"
        if not isinstance(step, list) or len(pair := list[Any](step)) != 2 or not isinstance(pair[0], int):
            raise WrongField(place, "takes [tick, USD]")
        if pair[0] <= last:
            raise WrongField(place, f"tick {pair[0]} does not come after {last}")
        last = pair[0]
        points.append((begin + timedelta(seconds=last * gap), _price(pair[1], place)))
    return points


def _availability(
    path: Path, text: str, read: Mapping[str, Any], type_: str | None, zone: str | None, depth: int
) -> Track:
    with wrong_at(path, line_of(text, "gap_seconds")):
        gap = _gap(read)
    with wrong_at(path, line_of(text, "avail")):
        avail = read["avail"]
        if not isinstance(avail, str) or not avail or set(avail) - {"0", "1"}:
            raise WrongField("avail", "takes a text of 0 and 1, one a tick")
    with wrong_at(path, line_of(text, "zone")):
        where = zone or read.get("zone") or read.get("availability_zone") or _zone_in(path.stem)
        if not isinstance(where, str):
            raise WrongField("zone", f"is missing, and the file's name has none: write TYPE@ZONE={path}")
    begin = _begin(read)
    length = len(avail) * gap
    capacity = Steps(
        begin=begin,
        **_changes([(number * gap, depth if tick == "1" else 0) for number, tick in enumerate(avail)]),
        length=length,
    )
    with wrong_at(path, line_of(text, "spot_price")):
        prices = _prices(read, begin, gap, length)
    name = type_ or read.get("instance_type") or ALL
    return Track(
        instance_type=str(name),
        zone=where,
        prices=prices,
        capacity=capacity,
        on_demand_price=_on_demand(read),
        source=str(path),
    )


def _prices(read: Mapping[str, Any], begin: datetime, gap: float, length: float) -> Steps[Decimal] | None:
    """One for each tick, else one for all; None: none."""
    if (ticks := read.get("spot_prices_per_tick")) is not None:
        if not isinstance(ticks, list) or not ticks:
            raise WrongField("spot_prices_per_tick", "takes a list of USD, one a tick")
        every = [_price(each, f"spot_prices_per_tick[{n}]") for n, each in enumerate(list[Any](ticks))]
        points = [(number * gap, price) for number, price in enumerate(every)]
        return Steps(begin=begin, **_changes(points), length=length)
    if "spot_price" not in read:
        return None
    return Steps(begin=begin, offsets=(0.0,), values=(_price(read["spot_price"], "spot_price"),))


def _changes(points: Sequence[tuple[float, Any]]) -> dict[str, Any]:
    kept = [points[0], *(b for a, b in pairwise(points) if a[1] != b[1])]
    return {"offsets": tuple(at for at, _ in kept), "values": tuple(value for _, value in kept)}


def _zone_in(name: str) -> str | None:
    found = _ZONE.search(name)
    return None if found is None else found[0]


def _begin(read: Mapping[str, Any]) -> datetime:
    return _first_tick(read) if isinstance(read.get("first_tick"), str) else UNDATED


# --- values -----------------------------------------------------------------------------------------------------------


def _gap(read: Mapping[str, Any]) -> float:
    gap = read.get("gap_seconds")
    if not (is_number(gap) or isinstance(gap, Decimal)) or not 0 < float(gap or 0) <= 86_400:
        raise WrongField("gap_seconds", f"is {gap!r}; it takes seconds above 0, a day at most")
    return float(gap or 0)


def _first_tick(read: Mapping[str, Any]) -> datetime:
    return _instant(read.get("first_tick"), "first_tick")


def _instant(value: Any, field: str) -> datetime:
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        raise WrongField(field, f"is {value!r}; it takes an ISO 8601 instant with offset") from None
    if at.tzinfo is None:
        raise WrongField(field, f"is {value!r}, without an offset; add one, or Z")
    return from_text(at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))


def _price(value: Any, field: str) -> Decimal:
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        price = Decimal(0)
    if isinstance(value, bool) or not price.is_finite() or price <= 0:
        raise WrongField(field, f"is {value!r}; it takes USD per hour above 0")
    return price


def _on_demand(read: Mapping[str, Any]) -> Decimal | None:
    return _price(read["on_demand_price"], "on_demand_price") if "on_demand_price" in read else None
