"""A pool's shortages over time: which one is told of, how long earlier ones lasted, and what that says of this one.

A pass carries two values from one to the next (STATE in the table): the `Alarmed` shortage, whose changes are what
people are told, and the last `Past` ones. Values in, values out; who tells is control/notices.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lambdas.domain.reasons import Reason, ReasonClass

OWNERS_OWN = frozenset({ReasonClass.BUDGET, ReasonClass.LIMIT, ReasonClass.PAUSED})
"""What the pool's owner set: nobody is woken for it."""
PAST_KEPT = 16
"""Some 0.7 KB of STATE, which every pass writes twice."""
LEAST_GROUND = 3
"""Of fewer earlier shortages no estimate is made."""
FAIR_GROUND, GOOD_GROUND = 5, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarmed:
    """A shortage that has lasted longer than the pool's owner tolerates, by the reason that was told last."""

    since: datetime
    reason_class: ReasonClass
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A shortage that ended because capacity came, by its first reason before that."""

    reason_class: ReasonClass
    code: str
    lasted: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """How much longer a shortage may last, judged by earlier ones of the same pool, class and code."""

    likely: timedelta
    """Half of them were over by then."""
    early: timedelta
    late: timedelta
    """The middle half ended between these."""
    ground: int
    """Earlier shortages that lasted at least as long as this one has so far: those it is judged by."""

    @property
    def sure(self) -> str:
        if self.ground >= GOOD_GROUND:
            return "well founded"
        return "fairly sure" if self.ground >= FAIR_GROUND else "not very sure"


def alarm_at(since: datetime | None, alarm_after: timedelta | None, reasons: Sequence[Reason]) -> datetime | None:
    """When a shortage since `since` is worth an alarm; None: never, since there is none, or its owner wants none, or
    the first reason is the owner's own."""
    if since is None or alarm_after is None:
        return None
    return None if reasons and reasons[0].reason_class in OWNERS_OWN else since + alarm_after


def alarmed(
    before: Alarmed | None,
    *,
    since: datetime | None,
    at: datetime | None,
    first: Reason | None,
    now: datetime,
    settles: timedelta,
) -> Alarmed | None:
    """What is told of after a pass; None: nothing. `at` is `alarm_at` of the same pass.

    A reason that takes the first place is told once it has been one for `settles`: a throttled call between two
    refusals for capacity is no news. Repeating it with what it returned changes nothing."""
    if since is None or at is None or first is None or at > now:
        return None
    if before is None or before.since != since:
        return Alarmed(since=since, reason_class=first.reason_class, code=str(first.code))
    if (before.reason_class, before.code) == (first.reason_class, first.code) or first.since > now - settles:
        return before
    return Alarmed(since=since, reason_class=first.reason_class, code=str(first.code))


def remembered(
    past: Sequence[Past], *, since: datetime | None, first: Reason | None, now: datetime, over: bool
) -> tuple[Past, ...]:
    """The last PAST_KEPT shortages, the latest last. `over`: capacity came, and nothing is missing any more. One that
    ended because nobody wanted more is none: it does not say how long capacity would have taken."""
    if not over or since is None or first is None:
        return tuple(past)
    ended = Past(reason_class=first.reason_class, code=str(first.code), lasted=now - since)
    return (*past, ended)[-PAST_KEPT:]


def wait(past: Sequence[Past], first: Reason, lasted: timedelta) -> Wait | None:
    """How much longer it may take; None: too little is known.

    Only earlier ones that lasted at least as long count. Of 4, 9, 10, 20, 30 and 60 minutes, when this one has lasted
    5: five count, which went on for 4, 5, 15, 25 and 55 minutes more; likely 15, and between 5 and 25."""
    same = [each for each in past if (each.reason_class, each.code) == (first.reason_class, first.code)]
    more = sorted(each.lasted - lasted for each in same if each.lasted >= lasted)
    if len(more) < LEAST_GROUND:
        return None
    quarter = len(more) // 4
    return Wait(likely=more[len(more) // 2], early=more[quarter], late=more[-1 - quarter], ground=len(more))
