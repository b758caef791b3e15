"""From files to what can be played: pools resolved without AWS, zones of one Region, jobs in the market's time."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from lambdas.domain.pools.pools import Pool, TypeFacts
from lowtide.backtest.jobs import Job, period
from lowtide.backtest.joined import joined
from lowtide.backtest.market_files import UNDATED
from lowtide.backtest.recorded import RecordedMarket, Track, market_of
from lowtide.market.model import ALL, Conditions, Offering, Seeded
from lowtide.poolfile.load import PoolFile
from lowtide.poolfile.resolve import Facts, ImageFacts, named_subnets, names_of, resolve
from lowtide.poolfile.schema import PoolEntry

HOUR = timedelta(hours=1)
_LETTER = re.compile(r"[a-z]$")


class Unplayable(ValueError):
    """`str()` says what is missing or contradicts, with the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A market with its zones, and the jobs in its time. Every pools file is played in the same one."""

    conditions: Conditions
    tracks: tuple[Track, ...]
    """Empty: the market is the model."""
    region: str
    zones: tuple[str, ...]
    jobs: tuple[Job, ...]
    begin: datetime
    until: datetime
    notes: tuple[str, ...]
    """What a reader must know of how market and jobs were brought together."""

    def on_demand_price(self, name: str) -> Decimal | None:
        """What the record says of the type's on-demand price."""
        named = [t.on_demand_price for t in self.tracks if t.instance_type == name and t.on_demand_price is not None]
        every = [t.on_demand_price for t in self.tracks if t.instance_type == ALL and t.on_demand_price is not None]
        return next(iter([*named, *every]), None)


def region_of(zone: str) -> str:
    """`us-west-2` of `us-west-2a`."""
    return _LETTER.sub("", zone)


def scene(tracks: Sequence[Track], jobs: Sequence[Job], *, region: str | None, days: float | None, seed: int) -> Scene:
    """Raises Unplayable, and WrongFile for records that contradict each other."""
    notes: list[str] = []
    chosen, region = _in_region(tracks, region, notes)
    moved, jobs = _together(joined(chosen), jobs, notes)
    first, last = period(jobs)
    begin = first - (first - UNDATED) % HOUR
    until = last if days is None else first + timedelta(days=days)
    kept = tuple(job for job in jobs if job.submitted_at <= until)
    if len(kept) < len(jobs):
        notes.append(f"{len(jobs) - len(kept):,} jobs sent after the first {days:g} days are left out")
    notes += _gaps(moved, begin, until)
    zones = tuple(sorted({track.zone for track in moved})) or tuple(f"{region}{letter}" for letter in "abc")
    conditions: Conditions = Seeded(seed=seed, epoch=begin)
    if moved:
        conditions = market_of(moved)
    return Scene(
        conditions=conditions,
        tracks=tuple(moved),
        region=region,
        zones=zones,
        jobs=kept,
        begin=begin,
        until=max(until, begin + HOUR),
        notes=tuple(notes),
    )


def _in_region(tracks: Sequence[Track], region: str | None, notes: list[str]) -> tuple[list[Track], str]:
    regions = sorted({region_of(track.zone) for track in tracks})
    if not regions:
        return [], region or "us-east-1"
    if region is None and len(regions) > 1:
        raise Unplayable(f"the market has zones of {', '.join(regions)}: choose one with --region")
    chosen = region or regions[0]
    found = [track for track in tracks if region_of(track.zone) == chosen]
    if not found:
        raise Unplayable(f"the market has no zone of {chosen}: it has zones of {', '.join(regions)}")
    if len(found) < len(tracks):
        notes.append(f"records of {', '.join(r for r in regions if r != chosen)} are left out")
    return found, chosen


def _together(tracks: Sequence[Track], jobs: Sequence[Job], notes: list[str]) -> tuple[list[Track], list[Job]]:
    """Undated records begin with the jobs; jobs of another time than the dated records are sent from those' beginning
    on; jobs without a date likewise."""
    first, last = period(jobs)
    dated = [track for track in tracks if track.begin != UNDATED]
    if dated:
        begin, end = max(track.begin for track in dated), max(track.end for track in dated)
        if first > end or last < begin:
            by = begin - first
            jobs = [job.moved(by) for job in jobs]
            notes.append(f"the jobs were sent in another time: the first is sent at {begin:%Y-%m-%d %H:%M} UTC here")
            first = begin
    start = max((track.begin for track in dated), default=first)
    return [track.moved(start - UNDATED) if track.begin == UNDATED else track for track in tracks], list(jobs)


def _gaps(tracks: Sequence[Track], begin: datetime, until: datetime) -> list[str]:
    notes: list[str] = []
    again = [t for t in tracks if t.capacity is not None and t.capacity.length is not None and t.capacity.end < until]
    if again:
        days = min((t.capacity.length or 0) for t in again if t.capacity is not None) / 86_400
        notes.append(f"recorded availability is shorter than the jobs' time and starts again ({days:.1f} days)")
    prices = [t.prices for t in tracks if t.prices is not None]
    if prices and max(each.end for each in prices) < begin:
        notes.append("all recorded prices are from before the jobs: the last ones hold")
    if any(each.begin > begin for each in prices):
        notes.append("before the first recorded price of an offering that price holds")
    if not any(t.capacity is not None for t in tracks) and tracks:
        notes.append("no record says what could be had: every offering has room for all, and only prices take back")
    return notes


# --- pools ------------------------------------------------------------------------------------------------------------


def pools_of(file: PoolFile, scene: Scene, facts: Facts, now: datetime) -> tuple[list[Pool], list[str]]:
    """The pools as they would be applied, and what was left open. Raises Unplayable with every problem."""
    problems = [str(problem) for problem in file.problems]
    pools: list[Pool] = []
    notes: list[str] = []
    for number, entry in enumerate(file.entries):
        alone, told = _without_account(entry)
        notes += told
        pool, wrong = resolve(alone, f"resource_pools[{number}]", _taken_at_word(alone, facts), now)
        problems += [str(problem) for problem in wrong]
        if pool is not None:
            pools.append(_priced(pool, scene))
    if problems:
        raise Unplayable("; ".join(problems))
    return pools, notes + _unknown_offerings(pools, scene)


def _without_account(entry: PoolEntry) -> tuple[PoolEntry, list[str]]:
    """The entry without what only its account can say."""
    provider = entry.provider
    changes: dict[str, object] = {"region": None, "job_role_arn": None}
    notes: list[str] = []
    if named_subnets(provider):
        interface = provider.network_interface
        changes |= {"subnet_ids": None}
        changes |= {"network_interface": interface and interface.model_copy(update={"subnet_id": None})}
        notes.append(
            f"pool {entry.pool_name}: its subnets are not looked up; it launches into every zone of the market"
        )
    return entry.model_copy(update={"provider": provider.model_copy(update=changes)}), notes


def _taken_at_word(entry: PoolEntry, facts: Facts) -> Facts:
    """Nothing that is named is looked up."""
    image = entry.provider.image_id
    names = [name for name in entry.provider.types() if name in facts.listings]
    architecture = facts.listings[names[0]].architecture if names else "x86_64"
    images = {} if image is None else {image: ImageFacts(architecture=architecture, root_device="/dev/xvda")}
    missing = facts.missing - set(names_of(entry.provider))
    return replace(facts, images={} if len(entry.provider.types()) > 1 else images, missing=missing)


def _priced(pool: Pool, scene: Scene) -> Pool:
    """With the record's on-demand prices, which are of its own days, where it has any."""

    def priced(facts: TypeFacts) -> TypeFacts:
        known = scene.on_demand_price(facts.name)
        return facts if known is None else replace(facts, on_demand_price=known)

    return replace(pool, types=tuple(map(priced, pool.types)))


def _unknown_offerings(pools: Sequence[Pool], scene: Scene) -> list[str]:
    """Types of spot pools that no record covers. Raises Unplayable for a pool that has no other."""
    conditions = scene.conditions
    if not isinstance(conditions, RecordedMarket):
        return []
    notes: list[str] = []
    for pool in pools:
        unknown = [
            facts.name
            for facts in pool.types
            if pool.spot and not any(conditions.knows(Offering(facts.name, zone)) for zone in scene.zones)
        ]
        if unknown and len(unknown) == len(pool.types):
            raise Unplayable(
                f"pool {pool.name}: the market has no record of {', '.join(unknown)}: name one with --market"
            )
        if unknown:
            notes.append(f"pool {pool.name}: no record of {', '.join(unknown)}, which is never to be had as spot")
    return notes


def on_demand_prices(pools: Sequence[Pool]) -> dict[str, Decimal]:
    return {t.name: t.on_demand_price for pool in pools for t in pool.types if t.on_demand_price is not None}


def routed(jobs: Sequence[Job], pools: Sequence[Pool], source: str) -> Mapping[str, list[Job]]:
    """The jobs by pool. Raises Unplayable for a job whose pool the file does not have."""
    names = {pool.name for pool in pools}
    found: dict[str, list[Job]] = {name: [] for name in names}
    for job in jobs:
        name = job.pool if job.pool is not None else next(iter(names)) if len(names) == 1 else None
        if name not in names:
            where = f"{source}, line {job.line}: pool" if job.line else f"job {job.job_id}: pool"
            told = "names none" if job.pool is None else f"is {job.pool!r}"
            raise Unplayable(f"{where}: {told}; the file has {', '.join(sorted(names))}: use --pool for such jobs")
        found[name or ""].append(job)
    return found
