"""Instances that are to give way to others: too old, advised to move by EC2, or on-demand where spot can be had again.

They are drained: they take no new job, keep the jobs they have to the end (law 4), and are ended and replaced then.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from lambdas.domain.buying.shops import on_demand_instances
from lambdas.domain.durations import format_duration
from lambdas.domain.fleet.actions import Drain
from lambdas.domain.fleet.fleet import Instance
from lambdas.domain.fleet.fleet_view import FleetView, counted
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.jobs.terms import OnDemand
from lambdas.domain.plan.needs import Needs


def drained(
    snapshot: Snapshot, fleet: FleetView, wanted: Needs | None, leaving: Iterable[str], now: datetime
) -> list[Drain]:
    """Beside `leaving`, which this pass drains already. Only while a replacement can be asked for. Idle ones at once,
    unless a job is just about to take them; busy ones as the maximum has room for their replacements, and else one at a
    time, where their time is up."""
    if wanted is None or not wanted.shops[0].sells or wanted.over_budget:
        return []
    taken = set(leaving)
    ending = sum(each.ends_at is None for each in fleet.draining) + len(taken)
    asked = sum(launch.request.count for launch in wanted.launches)
    room = max(0, snapshot.pool.max_instances - counted(fleet, snapshot.intentions) - asked)
    chosen: dict[str, list[str]] = {}
    for instance, why, must in _due(snapshot, fleet, wanted, now):
        if instance.instance_id in taken:
            continue
        if fleet.busy(instance):
            if ending >= (max(1, room) if must else room):
                continue
            ending += 1
        elif instance.instance_id in wanted.used:
            continue
        taken.add(instance.instance_id)
        chosen.setdefault(why, []).append(instance.instance_id)
    return [Drain(instance_ids=tuple(ids), why=why) for why, ids in chosen.items()]


def _due(snapshot: Snapshot, fleet: FleetView, wanted: Needs, now: datetime) -> list[tuple[Instance, str, bool]]:
    """(instance, why, whether it goes even where its replacement has to wait for its place), oldest first."""
    pool = snapshot.pool
    there = sorted((*fleet.running, *fleet.launching), key=lambda each: (each.launched_at, each.instance_id))
    found: list[tuple[Instance, str, bool]] = []
    if (lifetime := pool.max_instance_lifetime) is not None:
        why = f"older than {format_duration(lifetime)}"
        found += [(each, why, True) for each in there if now - each.launched_at >= lifetime]
    found += [(each, "spot can be had again", True) for each in _returning(snapshot, fleet, wanted, now)]
    advised = [each for each in there if each.rebalance_at is not None]
    return [*found, *((each, "EC2 advises to move from it", False) for each in advised)]


def _returning(snapshot: Snapshot, fleet: FleetView, wanted: Needs, now: datetime) -> list[Instance]:
    """A spot pool's on-demand instances beyond its base, once they are old enough; not those that jobs need which run
    on nothing else."""
    pool, fallback = snapshot.pool, snapshot.pool.on_demand_fallback
    if fallback is None:
        return []
    return [
        each
        for each in _beyond_base(snapshot, fleet)
        if now - each.launched_at >= fallback.return_after
        and each.instance_id not in wanted.holds_on_demand
        and not any(held.on_demand is OnDemand.ALWAYS for held in fleet.leases.get(each.instance_id, ()))
        and pool.facts(each.instance_type) is not None
    ]


def _beyond_base(snapshot: Snapshot, fleet: FleetView) -> Sequence[Instance]:
    return on_demand_instances(snapshot, fleet)[snapshot.pool.on_demand_base :]


def renewal_events(snapshot: Snapshot, fleet: FleetView) -> list[datetime]:
    """Instants at which an instance becomes due here."""
    pool = snapshot.pool
    there = (*fleet.running, *fleet.launching)
    instants = [each.launched_at + pool.max_instance_lifetime for each in there] if pool.max_instance_lifetime else []
    if pool.on_demand_fallback is not None:
        after = pool.on_demand_fallback.return_after
        instants += [each.launched_at + after for each in _beyond_base(snapshot, fleet)]
    return instants
