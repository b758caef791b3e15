"""Five-field Unix cron in a time zone: the last start at or before an instant, and the next one after it. Pure.

Fields are minute, hour, day of month, month, day of week, as crontab(5) has them: `*`, numbers, ranges `1-5`, steps
`*/15` and `8-18/2`, lists, names of months and days (`jan`, `mon`), Sunday as 0 and 7. Where both day fields are
restricted, either suffices; where one begins with `*`, both must hold.

Daylight saving, as Vixie cron does it: a start in the hour that is skipped happens at the instant at which the clock
jumps; one in the hour that comes twice happens once, at its first time. Where the hour begins with `*`, starts follow
real time instead: they happen in both of the two hours, and none is made up for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

HORIZON = timedelta(days=366 * 8)
"""29 February comes again within eight years, whatever the century; what has no start in that time has none."""

_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    either_day: bool
    """Both day fields are restricted: a day needs to be in one of them."""
    every_hour: bool
    """The hour field begins with `*`."""

    def on(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        month_day, week_day = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (month_day or week_day) if self.either_day else (month_day and week_day)


@lru_cache(maxsize=256)
def parse_cron(text: str) -> Cron:
    """Raises ValueError that names the field, its value and what it takes."""
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"has {len(fields)} fields; it takes five: minute, hour, day of month, month, day of week")
    minutes, hours, days, months, weekdays = (_field(part, *of) for part, of in zip(fields, _FIELDS, strict=True))
    return Cron(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=days,
        months=months,
        weekdays=frozenset(each % 7 for each in weekdays),
        either_day=not fields[2].startswith("*") and not fields[4].startswith("*"),
        every_hour=fields[1].startswith("*"),
    )


def _field(text: str, name: str, least: int, most: int, words: dict[str, int]) -> frozenset[int]:
    return frozenset(number for part in text.split(",") for number in _part(part, name, least, most, words))


def _part(text: str, name: str, least: int, most: int, words: dict[str, int]) -> range:
    span, slash, step = text.partition("/")
    first, dash, last = span.partition("-")
    low = least if span == "*" else _number(first, text, name, least, most, words)
    high = most if span == "*" or (slash and not dash) else low
    high = _number(last, text, name, least, most, words) if dash else high
    by = _number(step, text, name, 1, most, {}) if slash else 1
    if high < low:
        raise ValueError(f"has {text!r} as its {name}, a range that runs backwards")
    return range(low, high + 1, by)


def _number(text: str, part: str, name: str, least: int, most: int, words: dict[str, int]) -> int:
    number = words.get(text.lower(), int(text) if text.isascii() and text.isdigit() and len(text) < 4 else -1)
    if not least <= number <= most:
        raise ValueError(f"has {part!r} as its {name}; it takes {least} to {most}, ranges, steps, lists and *")
    return number


def last_start(cron: Cron, zone: ZoneInfo, at: datetime, *, within: timedelta) -> datetime | None:
    """The last start at or before `at` and after `at - within`, in UTC."""
    day = at.astimezone(zone).date() + timedelta(days=1)
    earliest = at - within
    while datetime.combine(day, time.max, zone) >= earliest - timedelta(days=1):
        found = [start for start in starts_of(cron, zone, day) if earliest < start <= at]
        if found:
            return max(found)
        day -= timedelta(days=1)
    return None


def next_start(cron: Cron, zone: ZoneInfo, after: datetime, *, within: timedelta = HORIZON) -> datetime | None:
    """The first start after `after` and at most `within` later, in UTC."""
    day = after.astimezone(zone).date() - timedelta(days=1)
    last = (after + within).astimezone(zone).date() + timedelta(days=1)
    while day <= last:
        found = [start for start in starts_of(cron, zone, day) if after < start <= after + within]
        if found:
            return min(found)
        day += timedelta(days=1)
    return None


def starts_of(cron: Cron, zone: ZoneInfo, day: date) -> Iterator[datetime]:
    """The starts of one local day, in UTC; a start that a clock change put off is among those of its own day."""
    if not cron.on(day):
        return
    for hour in cron.hours:
        for minute in cron.minutes:
            yield from _instants(datetime.combine(day, time(hour, minute), zone), cron)


def _instants(local: datetime, cron: Cron) -> Iterator[datetime]:
    """The instants of a local time: one, two where it comes twice (`fold`), none where it is skipped."""
    first, second = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == second:
        yield first
    elif first < second:
        yield from (first, second) if cron.every_hour else (first,)
    elif not cron.every_hour:
        yield _jump(local, second, first)


def _jump(local: datetime, low: datetime, high: datetime) -> datetime:
    """The instant between these two at which the zone's clock jumps over `local`."""
    before = low.astimezone(local.tzinfo).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(local.tzinfo).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)
