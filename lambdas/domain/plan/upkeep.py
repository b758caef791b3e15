"""What a pass does about what the pool already has: leases, instances and intentions that have run their course."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from math import ceil

from lambdas.domain.buying.shops import on_demand_instances
from lambdas.domain.durations import format_duration
from lambdas.domain.fleet.actions import Close, Forget, ParkQueued, Repeat, Retire, ReturnJob, Terminate
from lambdas.domain.fleet.fleet import Instance, Intention, Lease
from lambdas.domain.fleet.fleet_view import FleetView, counted, last_call, lease_expiry
from lambdas.domain.fleet.observed import taken_at
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.plan.needs import Needs
from lambdas.domain.pools.pools import CapacityType, Pool, TypeFacts

CLEAN_OBSERVATIONS = 2
"""Complete observations, begun well after `not_after`, that must have seen nothing more of an intention's instances."""
MISSED_HEARTBEATS = 2
"""Heartbeats of its instance in a row that did not name a lease, after which it is returned."""


def may_grow(snapshot: Snapshot) -> bool:
    return not (snapshot.pool.paused or snapshot.pool.deleted or snapshot.stack_closing)


def returned(snapshot: Snapshot, fleet: FleetView, now: datetime) -> list[ReturnJob]:
    """Leases whose instance is gone, was silent for a lease length, or no longer runs the job."""
    there = {each.instance_id for each in fleet.present}
    found = [(lease, _why_lost(lease, there, snapshot, now)) for held in fleet.leases.values() for lease in held]
    return [
        ReturnJob(
            job_id=lease.job_id,
            instance_id=lease.instance_id,
            fence=lease.fence,
            why=why,
            renewed_at=lease.renewed_at,
        )
        for lease, why in found
        if why
    ]


def _why_lost(lease: Lease, there: set[str], snapshot: Snapshot, now: datetime) -> str | None:
    if lease.instance_id not in there:
        return f"{lease.instance_id} is gone"
    if lease_expiry(lease, snapshot) <= now:
        return f"{lease.instance_id} has not renewed the lease since {lease.renewed_at:%Y-%m-%d %H:%M:%S} UTC"
    if lease.missed >= MISSED_HEARTBEATS:
        return f"{lease.missed} heartbeats of {lease.instance_id} in a row did not name the job"
    return None


def forgotten(snapshot: Snapshot, fleet: FleetView, now: datetime) -> list[Forget]:
    """Gone instances, once the pass before has returned their jobs. The record of one that EC2 interrupted is what its
    offering is avoided by, so it stays for as long as that."""
    return [
        Forget(instance_id=each.instance_id, why=f"EC2 reports it {each.observed_state}")
        for each in fleet.gone
        if not fleet.busy(each) and not (may_grow(snapshot) and now < _avoided_until(each, snapshot))
    ]


def _avoided_until(instance: Instance, snapshot: Snapshot) -> datetime:
    """Until when plans avoid the offering of an instance that EC2 ends or has ended; its launch for any other."""
    at = taken_at(instance)
    return instance.launched_at if at is None else at + snapshot.settings.interrupted_cooldown


def intentions(snapshot: Snapshot, fleet: FleetView, now: datetime) -> list[Repeat | Close]:
    """An open intention was left by a pass that ended, or an answer that was lost: the call is repeated while it may
    be, and its outcome is read from observations after that."""
    actions: list[Repeat | Close] = []
    for each in sorted(snapshot.intentions, key=lambda i: (i.created_at, i.intention_id)):
        if now < each.not_after:
            if may_grow(snapshot) and _still_wanted(each, snapshot, fleet):
                actions.append(Repeat(intention=each, why="its answer is not recorded"))
        elif each.clean_observations >= CLEAN_OBSERVATIONS or each.adopted >= each.request.count:
            actions.append(Close(intention=each, why=f"{each.adopted} of {each.request.count} instances were found"))
    return actions


def _still_wanted(intention: Intention, snapshot: Snapshot, fleet: FleetView) -> bool:
    """The call may be the first to reach EC2, so it must still be one that the pool allows: its types, its price limit
    and its maximum may have changed since."""
    pool = snapshot.pool
    known = {facts.name: facts for facts in pool.types}
    spot = intention.request.capacity_type is CapacityType.SPOT
    if not (pool.spot if spot else pool.allows_on_demand()) or counted(fleet, snapshot.intentions) > pool.max_instances:
        return False
    return all(
        each.instance_type in known and (not spot or _allowed(each.max_price, known[each.instance_type], pool))
        for each in intention.request.overrides
    )


def _allowed(asked: Decimal | None, facts: TypeFacts, pool: Pool) -> bool:
    """Asked without a price, EC2's own cap holds: the on-demand price."""
    asked, limit = facts.on_demand_price if asked is None else asked, pool.price_limit(facts)
    return not pool.lacks_price(facts) and (limit is None or (asked is not None and asked <= limit))


def terminated(snapshot: Snapshot, fleet: FleetView, now: datetime) -> list[Terminate]:
    """Draining instances without a lease, and launched ones whose worker never called."""
    idle = [each for each in fleet.draining if not fleet.busy(each) and _to_ask_again(each, snapshot, now)]
    period = snapshot.pool.max_agent_starting_period
    never = [each for each in fleet.launching if not fleet.busy(each) and now - each.launched_at >= period]
    actions: list[Terminate] = []
    if idle:
        actions.append(Terminate(instance_ids=_ids(idle), why="draining, and holding no job"))
    if never:
        actions.append(
            Terminate(instance_ids=_ids(never), why=f"its worker never called within {format_duration(period)}")
        )
    return actions


def _to_ask_again(instance: Instance, snapshot: Snapshot, now: datetime) -> bool:
    """EC2 takes minutes to end an instance; a request it did not act on is made again after two looks."""
    if instance.observed_state == "shutting-down":
        return False
    asked = instance.termination_requested_at
    return asked is None or now - asked >= snapshot.settings.look_again * 2


def retired(snapshot: Snapshot, fleet: FleetView, needs: Needs | None, now: datetime) -> list[Retire]:
    """Instances without a lease that the pool is better without. `needs` is None for a pool that may not grow.

    Never more than `settings.terminations_per_pass` of the pool's instances, save where the pool is to become empty.
    """
    pool = snapshot.pool
    if pool.paused or pool.deleted:
        free = [each for each in (*fleet.running, *fleet.silent, *fleet.launching) if not fleet.busy(each)]
        why = "the pool is deleted" if pool.deleted else "the pool is paused"
        return [Retire(instance_ids=_ids(free), why=why)] if free else []
    silent = [each for each in fleet.silent if not fleet.busy(each) and _given_up(each, snapshot, now)]
    chosen = [(each, "its worker is silent") for each in silent]
    chosen += _unneeded(snapshot, fleet, needs, now)
    most = ceil(snapshot.settings.terminations_per_pass * len(fleet.present))
    reasons = dict.fromkeys(why for _, why in chosen[:most])
    return [Retire(instance_ids=_ids(i for i, why in chosen[:most] if why == each), why=each) for each in reasons]


def _given_up(instance: Instance, snapshot: Snapshot, now: datetime) -> bool:
    """Silent for two lease lengths: long enough for a worker to be started anew."""
    called = last_call(instance, snapshot)
    return called is not None and now - called >= snapshot.settings.lease * 2


def _unneeded(snapshot: Snapshot, fleet: FleetView, needs: Needs | None, now: datetime) -> list[tuple[Instance, str]]:
    """Idle instances that no waiting job is planned for: those above the maximum, those that keep a job which does not
    fit them from an instance that it fits, and those idle for the pool's period, down to its minimum."""
    pool = snapshot.pool
    used = needs.used if needs else frozenset[str]()
    idle = [each for each in fleet.running if not fleet.busy(each) and each.instance_id not in used]
    base = {each.instance_id for each in on_demand_instances(snapshot, fleet)[: pool.on_demand_base]}
    order = sorted(idle, key=lambda each: (each.instance_id in base, _keeping_order(each, snapshot)))
    leaving = [each for each in fleet.draining if each.ends_at is None]
    above = max(0, counted(fleet, snapshot.intentions) - len(leaving) - pool.max_instances)
    freeing = sum(not fleet.busy(each) for each in leaving)
    making_room = max(0, needs.room_to_make - freeing) if needs else 0
    chosen = [(each, "the pool is above its maximum") for each in order[:above]]
    chosen += [(each, "it keeps room from jobs that do not fit it") for each in order[above : above + making_room]]
    spare = min(len(fleet.running) - pool.min_instances, len(idle) - pool.warm_instances) - len(chosen)
    over = [each for each in order[len(chosen) :] if idle_ends(each, pool) <= now]
    return chosen + [
        (each, f"idle for {format_duration(pool.max_idle_agent_period)}") for each in over[: max(0, spare)]
    ]


def idle_ends(instance: Instance, pool: Pool) -> datetime:
    """When its idle period is over, were it idle from what is known of it on."""
    return (instance.idle_since or instance.reported_at or instance.launched_at) + pool.max_idle_agent_period


def _keeping_order(instance: Instance, snapshot: Snapshot) -> tuple[bool, Decimal, datetime, str]:
    """Who goes first: what EC2 expects to take back anyway, then the dearest, since they do the same work, then what
    has been idle for longest."""
    since = instance.idle_since or instance.launched_at
    return instance.rebalance_at is None, -_price(instance, snapshot), since, instance.instance_id


def _price(instance: Instance, snapshot: Snapshot) -> Decimal:
    """USD per hour as far as it is known; 0 where nothing is."""
    if instance.capacity_type is CapacityType.SPOT:
        market = {(each.instance_type, each.zone): each.price for each in snapshot.prices}
        if (price := market.get((instance.instance_type, instance.zone))) is not None:
            return price
    facts = snapshot.pool.facts(instance.instance_type)
    return (facts.on_demand_price if facts else None) or Decimal()


def parked(snapshot: Snapshot) -> list[ParkQueued]:
    waiting = snapshot.queue or not snapshot.queue_complete
    return [ParkQueued(why=f"pool {snapshot.pool.name} is deleted")] if snapshot.pool.deleted and waiting else []


def _ids(instances: Iterable[Instance]) -> tuple[str, ...]:
    return tuple(each.instance_id for each in instances)


def next_events(snapshot: Snapshot, fleet: FleetView, now: datetime) -> Sequence[datetime]:
    """Instants after now at which time alone changes what a pass would do about what the pool has."""
    pool, settings = snapshot.pool, snapshot.settings
    instants = [lease_expiry(lease, snapshot) for lease in snapshot.leases]
    instants += [idle_ends(each, pool) for each in fleet.running if not fleet.busy(each)]
    instants += [each.launched_at + pool.max_agent_starting_period for each in fleet.launching]
    instants += [intention.not_after for intention in snapshot.intentions]
    instants += [_avoided_until(each, snapshot) for each in fleet.gone]
    asked = [each.termination_requested_at for each in fleet.draining]
    instants += [at + settings.look_again * 2 for at in asked if at]
    return [at for at in instants if at > now]
