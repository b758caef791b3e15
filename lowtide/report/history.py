"""A pool's decisions, one after the other, folded into what a report shows: numbers over time, shortages, instances.

A decision is kept when it says something new, so each holds until the next one. Between two of them nothing is known
to have changed but the jobs' numbers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from lambdas.domain.fleet.fleet import Instance
from lambdas.domain.fleet.fleet_view import is_ending, view
from lambdas.domain.fleet.observed import NOT_EC2S_WILL, taken_at
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.plan.decision import Decision
from lambdas.domain.pools.pools import CapacityType, Pool
from lambdas.domain.pools.schedules import in_force
from lambdas.domain.reasons import Reason, ReasonClass, identity, rank
from lowtide.report.money import Meter, Prices

ENDED_STATES = frozenset({"shutting-down", "terminated", "gone"})
"""States in which EC2 charges nothing for an instance any more; `gone` is Lowtide's own."""

POINTS_MOST = 400
"""Points of a timeline: more are not to be told apart at a screen's width, nor read in its table."""

_Identity = tuple[ReasonClass, str, str | None]
_COUNTS = ("desired", "launching", "draining", "unfulfilled", "queued_jobs", "running_jobs")


@dataclass(slots=True)
class Shortage:
    """A stretch of time in which one reason held. `until` None: it still does."""

    reason: Reason
    """As last seen."""
    since: datetime
    until: datetime | None
    most_missing: int


@dataclass(slots=True)
class SeenInstance:
    """An instance as it was last seen, and how it ended."""

    instance: Instance
    ended_at: datetime | None = None
    """None: it is there."""
    taken_at: datetime | None = None
    """When EC2 took it or announced to; None: it did not."""
    noticed: bool = False
    """Whether EC2 announced it."""


@dataclass(slots=True)
class History:
    """Add decisions oldest first, then `close`."""

    since: datetime
    spot: bool
    """Whether the pool asks for spot: what a decision without a snapshot ran is taken for."""
    meter: Meter = field(init=False)
    points: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    shortages: list[Shortage] = field(default_factory=list[Shortage])
    instances: dict[str, SeenInstance] = field(default_factory=dict[str, SeenInstance])
    decisions: int = 0
    without_snapshot: int = 0
    """Decisions that name no instances, since their snapshot was too large to keep."""
    _living: dict[str, SeenInstance] = field(default_factory=dict[str, SeenInstance])
    _open: dict[_Identity, Shortage] = field(default_factory=dict[_Identity, Shortage])

    def __post_init__(self) -> None:
        self.meter = Meter(self.since)

    def add(self, decision: Decision) -> None:
        at = max(decision.at, self.since)
        self.decisions += decision.at >= self.since
        self.points.append(_point(decision, at, spot=self.spot))
        self._reasons(decision, at)
        if decision.snapshot is None:
            self.without_snapshot += 1
        else:
            snapshot = decision.snapshot
            prices = {(each.instance_type, each.zone): each.price for each in snapshot.prices}
            self.look(snapshot.instances, at, snapshot.pool, prices)

    def look(self, instances: Iterable[Instance], at: datetime, pool: Pool, prices: Prices) -> None:
        """What is there at `at`: whoever is missing has ended since the last look."""
        before, self._living = self._living, {}
        for instance in instances:
            seen = self.instances.setdefault(instance.instance_id, SeenInstance(instance))
            before.pop(instance.instance_id, None)
            seen.instance = instance
            if seen.ended_at is None:
                self._live(seen, at, pool, prices)
        for seen in before.values():
            seen.ended_at = at
            self.meter.count(seen.instance, at, pool, prices)

    def _live(self, seen: SeenInstance, at: datetime, pool: Pool, prices: Prices) -> None:
        instance = seen.instance
        ended = instance.observed_state in ENDED_STATES
        upto = min(at, instance.observed_at or at) if ended else at
        self.meter.count(instance, upto, pool, prices)
        if seen.taken_at is None and _was_taken(instance):
            seen.taken_at = max(instance.draining_since or upto, self.since)
            seen.noticed = instance.ends_at is not None
        if ended:
            seen.ended_at = max(upto, self.since)
        else:
            self._living[instance.instance_id] = seen

    def _reasons(self, decision: Decision, at: datetime) -> None:
        """`starting` is left out: instances on their way are no shortage."""
        told = {identity(r): r for r in decision.reasons if r.reason_class is not ReasonClass.STARTING}
        missing = int(decision.summary.get("unfulfilled", 0))
        before, self._open = self._open, {}
        for key, reason in told.items():
            if (known := before.pop(key, None)) is None:
                known = Shortage(reason=reason, since=at, until=None, most_missing=missing)
                self.shortages.append(known)
            known.reason, known.most_missing = reason, max(known.most_missing, missing)
            self._open[key] = known
        for over in before.values():
            over.until = at

    def in_order(self) -> list[Shortage]:
        """By their begin, then the most actionable first."""
        return sorted(self.shortages, key=lambda each: (each.since, rank(each.reason.reason_class)))


def _was_taken(instance: Instance) -> bool:
    """EC2 announced its end, or it ended although nobody here asked for it."""
    if instance.capacity_type is not CapacityType.SPOT:
        return False
    if instance.ends_at is not None or taken_at(instance) is not None:
        return True
    if instance.state_reason in NOT_EC2S_WILL:
        return False
    by_us = instance.termination_requested_at is not None or instance.draining_since is not None
    return not by_us and (is_ending(instance) or instance.observed_state in ENDED_STATES)


def _point(decision: Decision, at: datetime, *, spot: bool) -> dict[str, Any]:
    snapshot, summary = decision.snapshot, decision.summary
    running = int(summary.get("running", 0))
    on_demand = min(running, _on_demand(snapshot, decision.at)) if snapshot else running * (not spot)
    return {
        "at": at,
        **{name: int(summary.get(name, 0)) for name in _COUNTS},
        **{"running_spot": running - on_demand, "running_on_demand": on_demand},
        **(_NO_MARKET if snapshot is None else _market(snapshot, decision.at)),
    }


def _on_demand(snapshot: Snapshot, at: datetime) -> int:
    fleet = view(snapshot, at)
    return sum(each.capacity_type is CapacityType.ON_DEMAND for each in (*fleet.running, *fleet.silent))


_NO_MARKET = {"spot_price_usd": None, "price_limit_usd": None, "offering": None}


def _market(snapshot: Snapshot, at: datetime) -> dict[str, Any]:
    """The offering that is cheapest measured by its limit, with both prices; all None where no price is known."""
    pool = in_force(snapshot.pool, at)
    priced: list[tuple[Decimal, Decimal, str, Decimal | None]] = []
    for each in snapshot.prices:
        facts = pool.facts(each.instance_type)
        limit = pool.price_limit(facts) if facts and pool.spot else None
        share = each.price / limit if limit else Decimal(0)
        priced.append((share, each.price, f"{each.instance_type} in {each.zone}", limit))
    if not priced:
        return _NO_MARKET
    _, price, offering, limit = min(priced, key=lambda row: row[:3])
    return {"spot_price_usd": price, "price_limit_usd": limit, "offering": offering}


def thinned(points: Sequence[dict[str, Any]], most: int = POINTS_MOST) -> list[dict[str, Any]]:
    """At most `most` of the points: of each equal stretch of time the one with the most missing, and the last."""
    if len(points) <= most:
        return list(points)
    begin, end = points[0]["at"], points[-1]["at"]
    width = max((end - begin) / (most // 2), timedelta(microseconds=1))
    stretches: dict[int, list[dict[str, Any]]] = {}
    for point in points:
        number = min(most // 2 - 1, int((point["at"] - begin) / width))
        stretches.setdefault(number, []).append(point)
    kept: list[dict[str, Any]] = []
    for members in stretches.values():
        worst = max(members, key=lambda point: (point["unfulfilled"], point["desired"]))
        kept.extend([worst, members[-1]] if worst is not members[-1] else [worst])
    return kept
