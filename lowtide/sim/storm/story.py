"""Stories of storms, drawn from seeds before they begin: who sends jobs, what people, the market and bad luck do, and
which AWS calls and deliveries faults strike.

The same story gives the same course, also with parts of it left out: that is how a failing one is made short.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from random import Random

from lowtide.sim.fates import Channel, Fate
from lowtide.sim.storm import arrivals

LASTS = timedelta(minutes=10)
"""The storm; then faults stop."""
SILENCE = timedelta(minutes=6)
"""How much longer the storm is in a story for law 11; all that while, and a minute at most before, no worker hears
anything. A worker that runs a job gives up after 3 min there (play.py), and may take 2 more to be off."""
READY = timedelta(minutes=4)
"""When such a story sees to workers that run something, and to one that is idle: they have booted by its silence."""
CALLS_STRUCK = 2_500
"""AWS calls among which faults are drawn; few storms make more."""
FAULT_EVERY = (25, 50, 100, 400)
"""One of so many calls is struck, in the mean; a story has one of these."""
DELIVERIES = {Channel.JOBS: 20, Channel.RECONCILE: 50, Channel.EVENTS: 40, Channel.SCHEDULE: 10, Channel.WORKERS: 200}
"""Deliveries of each channel among which faults are drawn."""
POOLS = ("cpu", "cpu", "gpu", "other")
"""Whom an incident is about, by weight."""


class Strike(StrEnum):
    """What becomes of an AWS call of a function."""

    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"
    THROTTLED = "throttled"
    FAILED = "failed"
    LOST = "answer lost"
    RESENT = "answer lost and sent again"
    """By the SDK, with everything as it was; never a call that launches, whose client does not repeat."""
    SLOW_BEFORE = "slow, late effect"
    SLOW_AFTER = "slow, late answer"
    OVERTAKEN = "overtaken"
    """In the middle of it, what the function was invoked with is delivered a second time, to another process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Jobs of one kind that a user sends at once."""

    second: int
    pool: str
    count: int
    seconds: float
    """How long each takes."""
    shape: int
    """Which fields it has beside, see users.py."""

    def __str__(self) -> str:
        return f"{self.second:5d} s  {self.count} jobs of {self.seconds} s (pool {self.pool}, shape {self.shape})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Something that a person, the market or bad luck does."""

    second: int
    kind: str
    pool: str
    number: int
    """What the kind makes of it: a count, a length, a place. 1 to 4."""

    def __str__(self) -> str:
        return f"{self.second:5d} s  {self.kind} (pool {self.pool}, {self.number})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    seed: int
    arrivals: tuple[Arrival, ...]
    incidents: tuple[Incident, ...]
    faults: tuple[tuple[int, Strike], ...]
    """(number of the functions' call, from 1; what becomes of it)."""
    fates: tuple[tuple[Channel, int, Fate], ...]
    """(channel, number of its delivery, from 1; what becomes of it)."""
    apart: bool = False
    """True: pool `other` has no part in any trouble, and law 8 says that it notices none."""
    silent: bool = False
    """True: workers are left without an answer for longer than law 11 lets them stay."""

    @property
    def lasts(self) -> timedelta:
        return LASTS + SILENCE if self.silent else LASTS

    def __str__(self) -> str:
        lines = [*map(str, sorted([*self.arrivals, *self.incidents], key=lambda each: each.second))]
        lines += [f"AWS call {number}: {strike}" for number, strike in self.faults]
        lines += [f"{channel} {number}: {fate}" for channel, number, fate in self.fates]
        return "\n".join(lines) or "nothing happens"


def story(seed: int, kinds: tuple[str, ...], apart_kinds: tuple[str, ...]) -> Story:
    """Drawn from the seed alone. Every fifth story is one for law 8, and every seventh of the others one for law 11."""
    chance = Random(f"storm/{seed}")  # noqa: S311 - a simulation, no secret
    apart, every = seed % 5 == 4, chance.choice(FAULT_EVERY)
    silent = seed % 7 == 2 and not apart
    pools = tuple(name for name in POOLS if name != "other") if apart else POOLS
    return Story(
        seed=seed,
        arrivals=_arrivals(chance, pools),
        incidents=_incidents(chance, apart_kinds if apart else kinds, pools) + (_silence(chance) if silent else ()),
        faults=_faults(chance, every),
        fates=() if apart else _fates(chance, every),
        apart=apart,
        silent=silent,
    )


def _arrivals(chance: Random, pools: tuple[str, ...]) -> tuple[Arrival, ...]:
    seconds = int(LASTS.total_seconds())
    drawn = [
        Arrival(
            second=arrivals.second(chance, seconds),
            pool=chance.choice(pools),
            count=arrivals.burst(chance),
            seconds=arrivals.seconds(chance),
            shape=chance.randrange(12),
        )
        for _ in range(chance.randrange(3, 7))
    ]
    return tuple(sorted(drawn, key=lambda each: each.second))


def _incidents(chance: Random, kinds: tuple[str, ...], pools: tuple[str, ...]) -> tuple[Incident, ...]:
    seconds = int(LASTS.total_seconds())
    drawn = [
        Incident(
            second=chance.randrange(seconds),
            kind=chance.choice(kinds),
            pool=chance.choice(pools),
            number=chance.randrange(1, 5),
        )
        for _ in range(chance.randrange(4, 14))
    ]
    return tuple(sorted(drawn, key=lambda each: each.second))


def _silence(chance: Random) -> tuple[Incident, ...]:
    """Workers that run a job for longer than all of it, one that has nothing to do, and nobody who answers them."""
    ready, over = int(READY.total_seconds()), int(LASTS.total_seconds())
    return (
        Incident(second=ready, kind="long job", pool="cpu", number=chance.randrange(1, 3)),
        Incident(second=ready, kind="long job", pool="gpu", number=chance.randrange(1, 3)),
        Incident(second=ready, kind="one kept idle", pool="other", number=1),
        Incident(second=over - chance.randrange(60), kind="nobody answers", pool="cpu", number=chance.randrange(1, 5)),
    )


def _faults(chance: Random, every: int) -> tuple[tuple[int, Strike], ...]:
    struck = sorted(chance.sample(range(1, CALLS_STRUCK), CALLS_STRUCK // every))
    return tuple((number, chance.choice(list(Strike))) for number in struck)


def _fates(chance: Random, every: int) -> tuple[tuple[Channel, int, Fate], ...]:
    return tuple(
        (channel, number, chance.choice(list(Fate)))
        for channel, most in DELIVERIES.items()
        for number in range(1, most)
        if chance.random() < 4 / every
    )


def shortened(told: Story, breaks: Callable[[Story], bool]) -> Story:
    """As little of the story as still breaks a law: halves, quarters and so on are left out while that is so, and the
    whole is gone through again until nothing more can be left out."""
    before = None
    while told != before:
        before = told
        for name in ("faults", "fates", "incidents", "arrivals"):
            told = _with_less(told, name, breaks)
    return told


def _with_less(told: Story, name: str, breaks: Callable[[Story], bool]) -> Story:
    part = max(1, len(getattr(told, name)))
    while part:
        start = 0
        while start < len(parts := getattr(told, name)):
            shorter = replace(told, **{name: (*parts[:start], *parts[start + part :])})
            if breaks(shorter):
                told = shorter
            else:
                start += part
        part //= 2
    return told
