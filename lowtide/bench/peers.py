"""Lowtide's plan beside peers' rules on recorded days: each day by itself, the same market and the same jobs for all.

Recorded data is not part of the project: its place is asked for, as a directory with `deadline-traces`, `jobs` and the
price file beside them.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from rich.progress import track

from lambdas.domain.pools.pools import Pool, TypeFacts
from lowtide.backtest.job_files import Drawn, Width, jobs_of
from lowtide.backtest.jobs import Job
from lowtide.backtest.market_files import tracks_of
from lowtide.backtest.outcome import Scenario, document
from lowtide.backtest.play import Assumptions, Play
from lowtide.backtest.recorded import RecordedMarket, Track, market_of
from lowtide.backtest.rules import LOWTIDE, RULES
from lowtide.bench.results import Absent, Result

ENV_DATA = "LOWTIDE_RECORDED_DATA"
DAY = timedelta(days=1)
TYPE = "p3.2xlarge"
"""The V100 that the traces are of."""
PRICES = "spot-prices-p3.2xlarge-2023-02.json"
MARKETS: Mapping[str, tuple[str, ...]] = {
    "A1a, us-west-2, 2 zones": ("A1a_us-west-2a_v100_1", "A1a_us-west-2b_v100_1"),
    "A2a, us-west-2, 3 zones": ("A2a_us-west-2a_v100_1", "A2a_us-west-2b_v100_1", "A2a_us-west-2c_v100_1"),
    "A2a, us-east-2, 2 zones": ("A2a_us-east-2a_v100_1", "A2a_us-east-2b_v100_1"),
    "P2a, us-west-2, 1 zone": ("P2a_us-west-2c_v100_1",),
}
DEPTH = 4
"""Instances that an available zone holds; the traces probe one."""
LONGEST = timedelta(hours=6)
"""Longer jobs are left out, so that a day's story ends within the next."""
PROCESSES = 2
A_DAY = 60
"""Jobs of the log that has no submissions."""
POOL = Pool(
    name="v100",
    spot=True,
    types=(
        TypeFacts(
            name=TYPE,
            vcpus=8,
            memory_mib=62_464,
            gpus=1,
            architecture="x86_64",
            on_demand_price=Decimal("3.06"),
            slots=1,
        ),
    ),
    max_instances=12,
)


SHORT = timedelta(minutes=5)
"""The other idle period that Lowtide is played with: the GitHub runners' own, whatever the pool says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A way of Lowtide's."""

    title: str
    pool: Pool = POOL


OWN: Mapping[str, Own] = {
    LOWTIDE: Own(title="Lowtide"),
    "lowtide-short": Own(title="Lowtide, idle 5 min", pool=replace(POOL, max_idle_agent_period=SHORT)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One recorded day with its jobs."""

    market: str
    log: str
    conditions: RecordedMarket
    zones: tuple[str, ...]
    number: int
    """Of the market, from 0."""
    begin: datetime
    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one rule made of one day."""

    cost_usd: float
    waited_seconds: float
    """Of all jobs together."""
    waits: tuple[float, ...]
    idle_hours: float
    idle_usd: float
    interruptions: int


@dataclass(slots=True)
class Sums:
    days: int = 0
    jobs: int = 0
    cost_usd: float = 0.0
    idle_usd: float = 0.0
    idle_hours: float = 0.0
    interruptions: int = 0
    better: Counter[str] = field(default_factory=Counter[str])
    """Days on which it was both cheaper and faster than Lowtide, by which of OWN."""
    waits: list[float] = field(default_factory=list[float])

    def add(self, figures: Figures, better: Sequence[str]) -> None:
        self.days += 1
        self.jobs += len(figures.waits)
        self.cost_usd += figures.cost_usd
        self.idle_usd += figures.idle_usd
        self.idle_hours += figures.idle_hours
        self.interruptions += figures.interruptions
        self.better.update(better)
        self.waits += figures.waits


def days_of(place: Path) -> list[Day]:
    """Every whole day of every market, with the jobs of one day of each log."""
    logs = _logs(place)
    found: list[Day] = []
    for name, files in MARKETS.items():
        tracks = _tracks(place, files)
        conditions = market_of(tracks)
        zones = tuple(sorted({track.zone for track in tracks}))
        begin, length = _period(tracks)
        for number in range(length // DAY):
            for log, jobs in logs.items():
                first = begin + number * DAY
                sent = tuple(job.moved(first - _day_begin(jobs) - number * DAY) for job in _of_day(jobs, number))
                if sent:
                    found.append(
                        Day(
                            market=name,
                            log=log,
                            conditions=conditions,
                            zones=zones,
                            number=number,
                            begin=first,
                            jobs=sent,
                        )
                    )
    return found


def _tracks(place: Path, files: Sequence[str]) -> list[Track]:
    named = [f"{TYPE}@{name.split('_')[1]}={place / 'deadline-traces' / name}.json" for name in files]
    return tracks_of(named, depth=DEPTH)


def _period(tracks: Sequence[Track]) -> tuple[datetime, timedelta]:
    ends = [track.capacity.end for track in tracks if track.capacity is not None]
    begin = max(track.begin for track in tracks)
    return begin, min(ends) - begin


def _logs(place: Path) -> Mapping[str, list[Job]]:
    nasa = jobs_of(place / "jobs" / "NASA-iPSC-1993-3.1-cln.swf.gz", width=Width.ONE)
    count = 23 * A_DAY
    philly = jobs_of(place / "jobs" / "philly_runtime_seconds.csv", drawn=Drawn(count=count, days=23, seed=1))
    return {
        "NASA": [job for job in nasa if job.work <= LONGEST],
        "Philly": [job for job in philly if job.work <= LONGEST],
    }


def _day_begin(jobs: Sequence[Job]) -> datetime:
    return jobs[0].submitted_at.replace(hour=0, minute=0, second=0, microsecond=0)


def _of_day(jobs: Sequence[Job], number: int) -> list[Job]:
    begin = _day_begin(jobs) + number * DAY
    return [job for job in jobs if begin <= job.submitted_at < begin + DAY]


def played(day: Day, rule: str) -> Figures:
    pool = OWN.get(rule, OWN[LOWTIDE]).pool
    play = Play(
        [pool],
        {pool.name: day.jobs},
        day.conditions,
        zones=day.zones,
        on_demand={TYPE: Decimal("3.06")},
        begin=day.begin,
        until=day.begin + DAY,
        assumptions=Assumptions(),
        rule=RULES.get(rule),
    )
    outcome = play.run()
    told = document(
        [Scenario(name=rule, rule=rule, played=outcome)],
        market=day.market,
        jobs=day.log,
        region="",
        begin=day.begin,
        until=day.begin + DAY,
        assumptions=play.assumptions,
        notes=(),
    )["scenarios"][0]
    waits = tuple(((p.started_at or outcome[0].end) - p.job.submitted_at).total_seconds() for p in outcome[0].progress)
    return Figures(
        cost_usd=told["cost_usd"],
        waited_seconds=sum(waits),
        waits=waits,
        idle_hours=told["idle_hours"],
        idle_usd=told["idle_usd"],
        interruptions=told["interruptions"],
    )


def by_all(day: Day) -> dict[str, Figures]:
    """What each rule made of the day, by name."""
    return {name: played(day, name) for name in (*OWN, *RULES)}


def peers(*, every: int = 1) -> Result:
    """Of every so-manieth day. Raises Absent where no recorded data is there."""
    place = os.environ.get(ENV_DATA, "")
    if not place or not (Path(place) / "deadline-traces").is_dir():
        raise Absent(f"no recorded data is there: set {ENV_DATA} to the directory that has deadline-traces and jobs")
    days = [day for day in days_of(Path(place)) if day.number % every == 0]
    sums: dict[tuple[str, str, str], Sums] = {}
    with ProcessPoolExecutor(PROCESSES) as processes:
        told = list(track(processes.map(by_all, days), "Playing recorded days", len(days), transient=True))
    for day, found in zip(days, told, strict=True):
        for name, each in found.items():
            better = [own for own in OWN if name not in OWN and _both_better(each, found[own])]
            sums.setdefault((day.market, day.log, name), Sums()).add(each, better)
    rows = [_row(market, log, name, each) for (market, log, name), each in sums.items()]
    return Result(
        name="peers",
        title="Beside peers' rules on recorded days",
        about=_about(sums, len(days), every),
        columns=("days", "jobs", "rule", "cost", "mean wait", "95th percentile", "idle", "idle cost", "beats"),
        rows=tuple(rows),
    )


def _both_better(one: Figures, other: Figures) -> bool:
    """Cheaper and faster, by whatever little."""
    return one.cost_usd < other.cost_usd and one.waited_seconds < other.waited_seconds


def _row(market: str, log: str, name: str, each: Sums) -> tuple[str, ...]:
    waits = sorted(each.waits)
    mean, tail = sum(waits) / len(waits), waits[int(0.95 * (len(waits) - 1))]
    return (
        f"{market}, {log}",
        f"{each.jobs:,}",
        OWN[name].title if name in OWN else RULES[name].title,
        f"${each.cost_usd:,.0f}",
        f"{mean:,.0f} s",
        f"{tail:,.0f} s",
        f"{each.idle_hours:,.0f} h",
        f"${each.idle_usd:,.0f}",
        "–" if name in OWN else f"{', '.join(str(each.better[own]) for own in OWN)} of {each.days}",
    )


def _about(sums: Mapping[tuple[str, str, str], Sums], days: int, every: int) -> str:
    which = "Every recorded day" if every == 1 else f"One recorded day in {every}"
    hours = LONGEST.seconds // 3600
    told = [
        *(_verdict(sums, own, days) for own in OWN),
        "The last column: on how many days the rule was both cheaper and faster (mean wait), by whatever little,",
        f"than each of Lowtide's rows in their order. {which} of V100 spot availability ({DEPTH} instances a zone",
        f"while it is available) is played by itself with the jobs of one day of each log (at most {hours} h each,",
        f"one GPU a job; of the Philly log, which has no submissions, {A_DAY} drawn a day) by Lowtide's own plan",
        "and by each peer's rule, which lowtide/backtest/rules.py writes down with its source; all have the same",
        "pool (12 instances at most, idle period 20 minutes, but the GitHub runners' scaler has one of its own),",
        "boots of 2 minutes and checkpoints of 5. Peers get what their rules lack: every zone, jobs sent again",
        "after an interruption, workers that are told of a job at once, where Lowtide's ask in turns, and a",
        "refused request made anew every 5 to 60 s, where Lowtide asks again with the tick, once a minute.",
        "See [backtests](backtests.md).",
    ]
    return " ".join(told)


def _verdict(sums: Mapping[tuple[str, str, str], Sums], own: str, days: int) -> str:
    beats = {name: sum(each.better[own] for (_, _, n), each in sums.items() if n == name) for name in RULES}
    found = [f"{RULES[name].title} on {count}" for name, count in beats.items() if count]
    title = OWN[own].title
    if not found:
        return f"On none of the {days} days is a peer's rule both cheaper and faster than {title}."
    return f"Of the {days} days, both cheaper and faster than {title}: {', '.join(found)}."
