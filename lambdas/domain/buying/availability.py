"""What a pool has seen of its spot market: stretches in which spot could be had, and in which it could not.

All of a pool's offerings are one market, which is up while any of them is. A pass that has evidence makes the last
stretch longer or begins another; without evidence nothing is noted, so that between two stretches there may be time of
which nobody knows. The record is small and bounded: the last KEPT stretches of the last REMEMBERED.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from lambdas.domain.buying.shops import Shop
from lambdas.domain.fleet.fleet import InstanceState
from lambdas.domain.fleet.fleet_view import FleetView
from lambdas.domain.fleet.snapshot import Snapshot, Stretch
from lambdas.domain.pools.pools import CapacityType

KEPT = 100
"""Some 2 KB as stored. A market that turns every 40 minutes fills it in three days."""
REMEMBERED = timedelta(days=3)
"""Markets change: docs/deadlines.md was measured with so much of the past."""


def seen(snapshot: Snapshot, fleet: FleetView, spot: Shop | None, now: datetime) -> tuple[Stretch, ...]:
    """The record with what this pass sees. `spot`: None in a pool that buys none."""
    known = tuple(each for each in snapshot.availability if each.until > now - REMEMBERED)
    up = None if spot is None else evidence(fleet, spot)
    if up is None:
        return known
    last = known[-1] if known else None
    if last is None or last.up != up or now - last.until > snapshot.settings.probe:
        return (*known, Stretch(up=up, since=now, until=now))[-KEPT:]
    return (*known[:-1], replace(last, until=max(last.until, now)))


def evidence(fleet: FleetView, spot: Shop) -> bool | None:
    """True: a spot instance is there that EC2 does not end. False: every offering is refused or too dear, and none may
    be asked for. None: spot might be had, but nothing proves it; or the pool may not ask, for reasons of its own."""
    if spot.held:
        return None
    if spot.offerings.blocked and (not spot.askable or spot.offerings.probing):
        return False
    served = (*fleet.running, *fleet.launching, *fleet.draining)
    there = (e for e in served if e.capacity_type is CapacityType.SPOT and e.ends_at is None)
    return True if any(each.state is not InstanceState.DRAINING or fleet.busy(each) for each in there) else None


def past(record: Sequence[Stretch], now: datetime, gap: timedelta) -> str:
    """One `0` or `1` for each period of `gap`, oldest first, up to now. Time of which nobody knows is left out."""
    told: list[str] = []
    for each in record:
        lasted = min(each.until, now) - each.since
        told.append(("1" if each.up else "0") * max(1, round(lasted / gap)))
    return "".join(told)
