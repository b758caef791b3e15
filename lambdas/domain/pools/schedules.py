"""What holds of a pool at an instant: its own bounds, or those of the schedules whose windows it is in.

Windows of several schedules may overlap: then the highest minimum, the lowest maximum and the lowest price hold. A
price can only lower the pool's. A minimum holds from so long before its window that instances are there when it begins.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo

from lambdas.domain.pools.cron import last_start, next_start, parse_cron, starts_of
from lambdas.domain.pools.pools import Pool, Schedule

LONGEST = timedelta(days=31)
"""Of a window. Nothing calendar-like is longer, and a look back costs as many days."""
AHEAD = timedelta(days=400)
"""How far conflicts are looked for when a pool is applied: a year of calendar days, and every change of clocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """An instant at which a pool's minimum would be above its maximum."""

    at: datetime
    min_instances: int
    max_instances: int
    names: tuple[str, ...]
    """The schedules whose windows it is in."""


def in_force(pool: Pool, now: datetime, lead: timedelta = timedelta()) -> Pool:
    """The pool with the bounds and price limit that hold at `now`, and with the minimum of windows that begin within
    `lead`, as far as the maximum of now allows."""
    if not pool.schedules:
        return pool
    active = [each for each in pool.schedules if is_active(each, now)]
    least, most = _bounds(pool, active)
    coming = [each for each in pool.schedules if each.min_instances is not None and _begins(each, now, lead)]
    early = max([least, *(each.min_instances or 0 for each in coming)])
    return replace(
        pool,
        min_instances=min(early, most),
        max_instances=most,
        spot_max_price=_lowest([pool.spot_max_price, *(each.spot_max_price for each in active)]),
        spot_max_percent=_lowest([pool.spot_max_percent, *(each.spot_max_percent for each in active)]),
    )


def _bounds(pool: Pool, active: Sequence[Schedule]) -> tuple[int, int]:
    least = max((s.min_instances for s in active if s.min_instances is not None), default=pool.min_instances)
    most = min((s.max_instances for s in active if s.max_instances is not None), default=pool.max_instances)
    return least, most


def _lowest(limits: Sequence[Decimal | None]) -> Decimal | None:
    return min((limit for limit in limits if limit is not None), default=None)


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """Raises ZoneInfoNotFoundError (a KeyError) or ValueError for what is no IANA name."""
    return ZoneInfo(name)


def is_active(schedule: Schedule, at: datetime) -> bool:
    """A window holds from its start on, and no longer at its end."""
    return began(schedule, at) is not None


def began(schedule: Schedule, at: datetime) -> datetime | None:
    cron = parse_cron(schedule.start)
    return last_start(cron, zone_of(schedule.timezone), at, within=schedule.duration)


def _begins(schedule: Schedule, now: datetime, lead: timedelta) -> bool:
    return next_start(parse_cron(schedule.start), zone_of(schedule.timezone), now, within=lead) is not None


def next_edge(pool: Pool, now: datetime, lead: timedelta) -> datetime | None:
    """The next instant after now at which a window begins, begins within `lead`, or may end. None: no schedule ever
    begins again."""
    edges: list[datetime] = []
    for each in pool.schedules:
        start = next_start(parse_cron(each.start), zone_of(each.timezone), now)
        if start is not None:
            edges += [start, start - lead] if each.min_instances is not None else [start]
        if (since := began(each, now)) is not None:
            edges.append(since + each.duration)
    return min((edge for edge in edges if edge > now), default=None)


def conflict(pool: Pool, now: datetime) -> Conflict | None:
    """The first instant within AHEAD at which the bounds contradict each other: they change only where a window begins
    or ends, so those instants are looked at and no others."""
    instants = sorted({edge for each in pool.schedules for edge in _edges(each, now)})
    for at in [now, *instants]:
        active = [each for each in pool.schedules if is_active(each, at)]
        least, most = _bounds(pool, active)
        if least > most:
            names = tuple(each.name for each in active)
            return Conflict(at=at, min_instances=least, max_instances=most, names=names)
    return None


def _edges(schedule: Schedule, now: datetime) -> Iterator[datetime]:
    """Where the schedule's windows begin and end, those that run into each other as one."""
    cron, zone = parse_cron(schedule.start), zone_of(schedule.timezone)
    first = now.astimezone(zone).date() - timedelta(days=1)
    last = began(schedule, now)
    for day in range(AHEAD.days + 2):
        for start in sorted(starts_of(cron, zone, first + timedelta(days=day))):
            if start <= now:
                continue
            if last is None or start > last + schedule.duration:
                yield start
                if last is not None:
                    yield last + schedule.duration
            last = max(start, last or start)
    if last is not None:
        yield last + schedule.duration


def utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
