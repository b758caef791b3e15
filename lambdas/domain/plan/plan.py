"""The decision: `plan(snapshot, now)`. Pure; no clock, no AWS, no chance. The same in Lambda, in tests, in `why`.

What it is made of: fleet_view.py sorts what there is, needs.py packs the jobs and makes the requests, upkeep.py decides
on leases, instances and intentions. Here the parts become one plan with its numbers, its reasons and its next look.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime

from lambdas.domain.buying.availability import seen
from lambdas.domain.fleet.actions import Action
from lambdas.domain.fleet.fleet_view import FleetView, awaited, view
from lambdas.domain.fleet.lead import launch_times, lead
from lambdas.domain.fleet.snapshot import Snapshot, Stretch
from lambdas.domain.plan.in_time import moved
from lambdas.domain.plan.needs import Needs, needs
from lambdas.domain.plan.plan_reasons import reasons_of
from lambdas.domain.plan.renewal import drained, renewal_events
from lambdas.domain.plan.starvation import kept
from lambdas.domain.plan.upkeep import (
    forgotten,
    intentions,
    may_grow,
    next_events,
    parked,
    retired,
    returned,
    terminated,
)
from lambdas.domain.plan.urgency import Verdict, by_urgency, told, verdicts
from lambdas.domain.pools.schedules import in_force, next_edge
from lambdas.domain.reasons import Reason, merge_reasons
from lambdas.domain.refusals.launch_errors import failed

NOTED = 10
"""Jobs with a deadline of which a kept decision says what was thought; the most urgent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The pool in numbers after this decision; `status` and the metrics show these."""

    desired: int
    """Instances wanted, after bounds."""
    running: int
    launching: int
    """Launching instances and what open intentions may still bring."""
    draining: int
    idle: int
    unfulfilled: int
    """max(0, desired - running - launching) before this decision's launches are answered."""
    queued_jobs: int
    running_jobs: int
    oldest_queued_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    actions: tuple[Action, ...]
    numbers: Numbers
    reasons: tuple[Reason, ...]
    """Why `unfulfilled` is above zero, most actionable first; empty when nothing is missing."""
    due: datetime | None
    """When to look at the pool again if nothing happens; None: at rest."""
    launch_times: tuple[tuple[str, int], ...] = ()
    """What the next pass is to remember of launches (lead.py)."""
    availability: tuple[Stretch, ...] = ()
    """The same of the spot market (availability.py)."""
    verdicts: tuple[Verdict, ...] = ()
    """Of the jobs with a deadline, the most urgent first."""
    notes: tuple[str, ...] = field(default=())
    """What a person reading `why` wants to know and no action says."""


def plan(snapshot: Snapshot, now: datetime) -> Plan:
    """What to do now, in the order to do it in. On a world in which nothing changes it never says anything twice."""
    ahead = lead(snapshot)
    declared, snapshot = snapshot.pool, replace(snapshot, pool=in_force(snapshot.pool, now, ahead))
    fleet = view(snapshot, now)
    found = verdicts(snapshot, fleet, now) if may_grow(snapshot) else {}
    wanted = needs(snapshot, fleet, found, now) if may_grow(snapshot) else None
    moves = moved(snapshot, fleet, found, wanted.places, now) if wanted else []
    actions: tuple[Action, ...] = (
        *returned(snapshot, fleet, now),
        *forgotten(snapshot, fleet, now),
        *intentions(snapshot, fleet, now),
        *(wanted.launches if wanted else ()),
        *kept(snapshot, fleet, wanted, found, now),
        *retired(snapshot, fleet, wanted, now),
        *moves,
        *drained(snapshot, fleet, wanted, [each.instance_id for each in moves], now),
        *terminated(snapshot, fleet, now),
        *(failed(snapshot, fleet, now) if wanted else ()),
        *parked(snapshot),
    )
    numbers = _numbers(snapshot, fleet, wanted)
    return Plan(
        actions=actions,
        numbers=numbers,
        reasons=merge_reasons(snapshot.reasons, reasons_of(snapshot, fleet, wanted, now), now),
        due=_next_look(snapshot, fleet, wanted, now, next_edge(declared, now, ahead)),
        launch_times=launch_times(snapshot),
        availability=_availability(snapshot, fleet, wanted, now),
        verdicts=(urgent := tuple(by_urgency(found))),
        notes=tuple(map(told, urgent[:NOTED])),
    )


def _availability(snapshot: Snapshot, fleet: FleetView, wanted: Needs | None, now: datetime) -> tuple[Stretch, ...]:
    return seen(snapshot, fleet, wanted.shops[0] if wanted and snapshot.pool.spot else None, now)


def _numbers(snapshot: Snapshot, fleet: FleetView, wanted: Needs | None) -> Numbers:
    launching = len(fleet.launching) + sum(map(awaited, snapshot.intentions))
    running = len(fleet.running) + len(fleet.silent)
    desired = _desired(snapshot, fleet, wanted, running + launching)
    return Numbers(
        desired=desired,
        running=running,
        launching=launching,
        draining=len(fleet.draining),
        idle=sum(not fleet.busy(each) for each in fleet.running),
        unfulfilled=max(0, desired - running - launching),
        queued_jobs=len(snapshot.queue),
        running_jobs=len(snapshot.leases),
        oldest_queued_at=min((job.queued_at for job in snapshot.queue), default=None),
    )


def _desired(snapshot: Snapshot, fleet: FleetView, wanted: Needs | None, usable: int) -> int:
    """Instances wanted, after bounds. While some are missing, all that are there count as wanted: an idle one that
    holds no waiting job is retired when its time comes, and must not hide what is missing."""
    busy = {each.instance_id for each in fleet.present if fleet.busy(each) and each not in fleet.draining}
    if wanted is None:
        return len(busy)
    pool = snapshot.pool
    if more := wanted.missing + wanted.short:
        return min(usable + more, pool.max_instances)
    return min(max(len(busy | wanted.used) + pool.warm_instances, pool.min_instances), pool.max_instances)


def _at_rest(snapshot: Snapshot, fleet: FleetView, wanted: Needs | None) -> bool:
    """Nothing waits, nothing runs, nothing is on its way or ending, and no more is there than the minimum."""
    under_way = (snapshot.queue, snapshot.leases, snapshot.intentions, fleet.gone, fleet.draining, fleet.launching)
    if any(under_way) or fleet.silent or not snapshot.queue_complete:
        return False
    kept = max(snapshot.pool.min_instances, snapshot.pool.warm_instances) if wanted else 0
    return len(fleet.running) <= kept and not (wanted and wanted.missing) and not renewal_events(snapshot, fleet)


def _next_look(
    snapshot: Snapshot, fleet: FleetView, wanted: Needs | None, now: datetime, edge: datetime | None
) -> datetime | None:
    """At rest, a pool is looked at again only where a schedule changes its bounds."""
    if _at_rest(snapshot, fleet, wanted):
        return edge if may_grow(snapshot) else None
    due = _due(snapshot, fleet, wanted, now)
    return due if edge is None else min(due, edge)


def _due(snapshot: Snapshot, fleet: FleetView, wanted: Needs | None, now: datetime) -> datetime:
    instants = [now + snapshot.settings.look_again, *next_events(snapshot, fleet, now)]
    instants += [at for at in renewal_events(snapshot, fleet) if at > now]
    if wanted and wanted.missing:
        instants += [wanted.next_open_at] if wanted.next_open_at else []
        instants += [reason.next_attempt for reason in wanted.held if reason.next_attempt]
    return min(instants)
