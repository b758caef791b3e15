"""Who may call CreateFleet now: one token bucket for the stack, and turns among its pools. Pure.

EC2's request bucket is small (burst 5, 2 a second) and shared by the whole account. A pool that finds no token is
remembered as waiting; a token is given to a pool only if enough are left for all waiting pools that go before it:
replacements of interrupted capacity first, then who was served longest ago. So a busy pool cannot starve a quiet one.
Who has made its call hands the turn on: it wakes as many waiting pools as there are tokens (`next_in_turn`), so that
the rate is used up while anybody waits; a waiting pool that nobody wakes takes its token on its next pass.

Example at the defaults, two tokens left, A and B waiting and A served longest ago: A may take (nobody before it), B may
take (A's token stays), C (served before both never) may not and becomes the third to wait.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

SERVED_KEPT = timedelta(hours=1)
"""A pool served longer ago than this counts as never served; keeps the record small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    since: datetime
    asked_at: datetime
    """Its last asking. A pool that still wants a token asks on every pass; one that does not is forgotten."""
    replaces: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    tokens: float
    """At `counted_at`."""
    counted_at: datetime
    waiting: Mapping[str, Waiting] = field(default_factory=dict[str, Waiting])
    served: Mapping[str, datetime] = field(default_factory=dict[str, datetime])
    """Pool -> when it last took a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    burst: float
    """Tokens that gather at most; at least 1."""
    per_second: float
    patience: timedelta
    """A waiting pool that has not asked again for so long is forgotten."""


def full(rate: Rate, now: datetime) -> Turns:
    return Turns(tokens=rate.burst, counted_at=now)


def spare(turns: Turns, rate: Rate, now: datetime) -> bool:
    """Whether a call that is nobody's turn takes nothing away from anybody: all tokens are there and nobody waits."""
    waiting = any(now - each.asked_at <= rate.patience for each in turns.waiting.values())
    return not waiting and _grown(turns, rate, now) >= rate.burst


def take(turns: Turns, pool: str, *, replaces: bool, rate: Rate, now: datetime) -> tuple[Turns, datetime | None]:
    """The turns after the pool asked, and None when it has its token, else when it is worth asking again (the time in
    which enough tokens grow for it and for all that go before it)."""
    tokens = _grown(turns, rate, now)
    waiting = {name: w for name, w in turns.waiting.items() if now - w.asked_at <= rate.patience}
    served = {name: at for name, at in turns.served.items() if now - at <= SERVED_KEPT}
    before = _go_before(pool, replaces, waiting, served)
    needed = 1 + before
    if tokens >= needed:
        waiting.pop(pool, None)
        taken = Turns(tokens=tokens - 1, counted_at=now, waiting=waiting, served={**served, pool: now})
        return taken, None
    since = waiting[pool].since if pool in waiting else now
    waiting[pool] = Waiting(since=since, asked_at=now, replaces=replaces)
    missing = timedelta(seconds=(needed - tokens) / rate.per_second)
    return Turns(tokens=tokens, counted_at=now, waiting=waiting, served=served), now + missing


def next_in_turn(turns: Turns, rate: Rate, now: datetime) -> tuple[tuple[str, ...], float]:
    """The waiting pools that would get a token now, in their order, and the seconds until there is one for the next."""
    tokens = _grown(turns, rate, now)
    waiting = {name: w for name, w in turns.waiting.items() if now - w.asked_at <= rate.patience}
    order = sorted(waiting, key=lambda name: _rank(name, waiting[name].replaces, turns.served))
    whole = max(0, int(tokens))
    return tuple(order[:whole]), (whole + 1 - tokens) / rate.per_second


def _grown(turns: Turns, rate: Rate, now: datetime) -> float:
    """A clock that is behind another Lambda's grows nothing."""
    elapsed = max(0.0, (now - turns.counted_at).total_seconds())
    return min(rate.burst, turns.tokens + elapsed * rate.per_second)


def _go_before(pool: str, replaces: bool, waiting: Mapping[str, Waiting], served: Mapping[str, datetime]) -> int:
    mine = _rank(pool, replaces, served)
    return sum(1 for name, w in waiting.items() if name != pool and _rank(name, w.replaces, served) < mine)


def _rank(name: str, urgent: bool, served: Mapping[str, datetime]) -> tuple[bool, float, str]:
    return not urgent, served[name].timestamp() if name in served else 0.0, name
