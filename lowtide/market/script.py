"""Scripted trouble as people write it: JSON-like entries in seconds from the script's start, parsed once into values.

    {"price": "2.0", "instance_type": "g4dn.metal", "from": 40, "to": 80}    its price in every zone is 2.0 for 40 s
    {"capacity": 0, "zone": "us-east-1b", "from": 30, "to": 90}              the zone runs dry of spot
    {"capacity": 0, "zone": "us-east-1b", "lifecycle": "any", "from": 30}    ... and of on-demand, for good
    {"interrupt": 1, "from": 20}                                             one instance that is running a job
    {"interrupt": 2, "from": 20, "busy": false, "notice": false}             any two spot instances, without notice

Seconds are real ones: a script is written against the world it plays in, whatever its pace.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation

from lowtide.market.model import ALL, Held, Lifecycle

KEYS = frozenset(
    {"price", "capacity", "interrupt", "instance_type", "zone", "lifecycle", "from", "to", "busy", "notice", "lead"}
)
LIFECYCLES: Mapping[str, Lifecycle | None] = {"spot": Lifecycle.SPOT, "on-demand": Lifecycle.ON_DEMAND, "any": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """Interrupt so many running spot instances, as soon as there are some, from an instant on."""

    at: datetime
    count: int = 1
    instance_type: str = ALL
    zone: str = ALL
    busy: bool = True
    """True: only instances that run a job; the strike waits for them."""
    notice: bool | None = None
    """Whether a spot notice comes first; None: as the market's unkindness has it."""
    lead: timedelta | None = None
    """From the notice to the end; None: the market's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    held: tuple[Held, ...] = ()
    strikes: tuple[Strike, ...] = ()


def parse(entries: Sequence[Mapping[str, object]], start: datetime) -> Script:
    """Raises ValueError naming the entry (from 0), the key and the value that cannot be."""
    held: list[Held] = []
    strikes: list[Strike] = []
    for index, entry in enumerate(entries):
        where = f"script[{index}]"
        if unknown := set(entry) - KEYS:
            raise ValueError(f"{where}.{min(unknown)} is not known; an entry has {', '.join(sorted(KEYS))}")
        if "interrupt" in entry:
            strikes.append(_strike(entry, start, where))
        elif "price" in entry or "capacity" in entry:
            held.append(_held(entry, start, where))
        else:
            raise ValueError(f"{where} does nothing: give price, capacity or interrupt")
    return Script(held=tuple(held), strikes=tuple(strikes))


def _held(entry: Mapping[str, object], start: datetime, where: str) -> Held:
    end = _seconds(entry, "to", where)
    begin = _seconds(entry, "from", where) or timedelta(0)
    if end is not None and end <= begin:
        raise ValueError(f"{where}.to is not after from")
    lifecycle = str(entry.get("lifecycle", "spot"))
    if lifecycle not in LIFECYCLES:
        raise ValueError(f"{where}.lifecycle is {lifecycle!r}; it takes {', '.join(LIFECYCLES)}")
    return Held(
        instance_type=str(entry.get("instance_type", ALL)),
        zone=str(entry.get("zone", ALL)),
        start=start + begin,
        end=None if end is None else start + end,
        price=_price(entry, where),
        capacity=_count(entry, "capacity", where),
        lifecycle=LIFECYCLES[lifecycle],
    )


def _strike(entry: Mapping[str, object], start: datetime, where: str) -> Strike:
    notice = entry.get("notice")
    if notice is not None and not isinstance(notice, bool):
        raise ValueError(f"{where}.notice is {notice!r}; it takes true or false")
    return Strike(
        at=start + (_seconds(entry, "from", where) or timedelta(0)),
        count=_count(entry, "interrupt", where) or 1,
        instance_type=str(entry.get("instance_type", ALL)),
        zone=str(entry.get("zone", ALL)),
        busy=entry.get("busy", True) is not False,
        notice=notice,
        lead=_seconds(entry, "lead", where),
    )


def _seconds(entry: Mapping[str, object], key: str, where: str) -> timedelta | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"{where}.{key} is {value!r}; it takes seconds from the script's start")
    return timedelta(seconds=value)


def _count(entry: Mapping[str, object], key: str, where: str) -> int | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{where}.{key} is {value!r}; it takes a number of instances")
    return value


def _price(entry: Mapping[str, object], where: str) -> Decimal | None:
    value = entry.get("price")
    if value is None:
        return None
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        price = Decimal(0)
    if not price.is_finite() or price <= 0:
        raise ValueError(f"{where}.price is {value!r}; it takes USD per hour above 0")
    return price
