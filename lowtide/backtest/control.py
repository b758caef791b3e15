"""Lowtide's own decisions over a yard: the control plane's pass, on the control plane's pure functions.

`plan()` decides from the same Snapshot that a deployed pass reads; refusals have the consequences and reasons that
lambdas/domain/refusals/refusals.py gives them; numbers, reasons and the age of a shortage are those of
lambdas/control/conclusion.py. What is this module's own is when a pass is made: a deployed pool that is not at rest is
looked at every minute, here it is looked at when something happened and at those full minutes at which time alone may
change what a pass decides.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from lambdas.adapters.pool_table import Begun
from lambdas.control.conclusion import concluded, numbers_after
from lambdas.control.outcomes import Outcome, Result
from lambdas.domain.buying.bills import charged_slots
from lambdas.domain.buying.shops import shop
from lambdas.domain.fleet import actions
from lambdas.domain.fleet.fleet import InstanceState, LaunchRequest, OfferingMark
from lambdas.domain.fleet.fleet_view import view
from lambdas.domain.fleet.lead import lead
from lambdas.domain.fleet.observed import taken_at
from lambdas.domain.fleet.snapshot import MarketPrice, Snapshot
from lambdas.domain.plan.plan import Numbers, Plan, plan
from lambdas.domain.plan.renewal import renewal_events
from lambdas.domain.plan.upkeep import idle_ends, next_events
from lambdas.domain.pools.pools import CapacityType
from lambdas.domain.pools.schedules import in_force, next_edge
from lambdas.domain.reasons import OwnCode, Reason, ReasonClass
from lambdas.domain.refusals.refusals import Refusal, consequences
from lambdas.domain.settings import Settings
from lowtide.backtest.yard import Yard
from lowtide.market.model import Conditions, Offering

MINUTE = timedelta(minutes=1)
"""Of the tick that finds what is due."""
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
ANY_IMAGE = "ami-00000000000000000"


class Effects(Protocol):
    """What a controller may do to the world."""

    def launch(
        self, yard: Yard, request: LaunchRequest, now: datetime, kept_for: Sequence[str] = ()
    ) -> tuple[tuple[str, ...], list[Refusal]]:
        """The ids of what came, each kept for one of these jobs as far as they go, and EC2's refusals."""
        ...

    def move(self, yard: Yard, instance_id: str, job_ids: Sequence[str], now: datetime) -> None:
        """All jobs of an instance end with a last save, and wait again."""
        ...

    def terminate(self, yard: Yard, instance_ids: Sequence[str], now: datetime) -> None:
        """Instances that hold no job."""
        ...

    def give_up(self, yard: Yard, job_id: str, now: datetime) -> None:
        """A queued job fails."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a look concluded, for the accounts."""

    desired: int
    launching: int
    unfulfilled: int
    first: str | None
    """The class of the reason to act on; None: there is none."""
    limit: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    told: Told
    due: datetime | None
    """When to look again if nothing happens; None: never."""


@dataclass(slots=True)
class _Prices:
    """The market's prices of a pool's offerings, made anew only when one may have changed."""

    conditions: Conditions
    offerings: tuple[Offering, ...]
    known: tuple[MarketPrice, ...] = ()
    until: datetime | None = None

    def at(self, now: datetime) -> tuple[MarketPrice, ...]:
        if not self.known or (self.until is not None and now >= self.until):
            before = {(each.instance_type, each.zone): each for each in self.known}
            self.known = tuple(self._price(offering, before.get(offering), now) for offering in self.offerings)
            changes = (self.conditions.next_change(offering, now) for offering in self.offerings)
            self.until = min((at for at in changes if at is not None), default=None)
        return self.known

    def _price(self, offering: Offering, before: MarketPrice | None, now: datetime) -> MarketPrice:
        price = self.conditions.price(offering, now)
        if before is not None and before.price == price:
            return before
        return MarketPrice(instance_type=offering.instance_type, zone=offering.zone, price=price, seen_at=now)


@dataclass(slots=True)
class ControlPlane:
    """One pool's. `zones` are those that the pool may launch into."""

    yard: Yard
    effects: Effects
    conditions: Conditions
    zones: tuple[str, ...]
    settings: Settings = field(default_factory=Settings)
    _marks: dict[tuple[CapacityType, str, str], OfferingMark] = field(
        default_factory=dict[tuple[CapacityType, str, str], OfferingMark]
    )
    _begun: Begun = field(
        default_factory=lambda: Begun(epoch=1, reasons=(), unfulfilled_since=None, resting=True, decided=None)
    )
    _prices: _Prices | None = None

    def look(self, now: datetime) -> Looked:
        """One pass."""
        snapshot = self._snapshot(now)
        decided = plan(snapshot, now)
        outcomes = tuple(self._outcomes(decided, snapshot, now))
        conclusion = concluded(self._begun, snapshot, decided, outcomes, now)
        self._begun = replace(
            self._begun,
            reasons=conclusion.reasons,
            unfulfilled_since=conclusion.unfulfilled_since,
            launch_times=conclusion.launch_times,
            availability=conclusion.availability,
        )
        numbers = numbers_after(decided.numbers, outcomes)
        first = next(iter(conclusion.reasons), None)
        told = Told(
            desired=numbers.desired,
            launching=numbers.launching,
            unfulfilled=numbers.unfulfilled,
            first=None if first is None else str(first.reason_class),
        )
        after = self._snapshot(now) if decided.actions else replace(snapshot, **self._remembered())
        return Looked(told=told, due=self._due(after, conclusion.reasons, numbers, decided, now))

    def _remembered(self) -> dict[str, Any]:
        begun = self._begun
        return {
            **{"unfulfilled_since": begun.unfulfilled_since, "launch_times": begun.launch_times},
            "availability": begun.availability,
        }

    def sent(self, now: datetime) -> datetime | None:
        """When to look because a job was queued: now, unless it waits alone and an instance has room for it, which a
        pass would plan it for and do nothing else. None: never."""
        yard = self.yard
        if yard.waiting > 1 or yard.pool.warm_instances or self._begun.unfulfilled_since is not None:
            return now
        return None if any(map(yard.claim, yard.instances)) else now

    def turned(self, now: datetime) -> datetime | None:
        """When to look because a worker has just come or ended a job: now, unless nothing waits, nothing is leaving and
        nothing is too much, since a pass would then find nothing to do before the instance has been idle for its
        period. None: never."""
        pool, instances = self.yard.pool, self.yard.instances.values()
        fallback = pool.on_demand_fallback is not None or pool.max_instance_lifetime is not None
        leaving = any(each.state is InstanceState.DRAINING or each.kept_for for each in instances)
        lacking = self.yard.waiting or self._begun.unfulfilled_since is not None
        if lacking or leaving or fallback or pool.schedules or len(instances) > pool.max_instances:
            return now
        ends = [idle_ends(each, pool) for each in instances if not self.yard.busy(each.instance_id) and each.idle_since]
        first = min((at for at in ends if at > now), default=None)
        return None if first is None else _full_minute(first)

    def gone(self, instance_id: str, now: datetime) -> datetime | None:
        """EC2 reports an instance terminated: when to look because of it. The record of one that was ended here is
        forgotten by the first pass; it is not waited for where nothing depends on it."""
        yard = self.yard
        if taken_at(yard.instances[instance_id]) is not None:
            yard.change(instance_id, observed_state="terminated", observed_at=now)
            return now
        del yard.instances[instance_id]
        below = len(yard.instances) < max(yard.pool.min_instances, yard.pool.warm_instances)
        return now if yard.waiting or below or yard.pool.schedules else None

    # --- what a pass reads --------------------------------------------------------------------------------------------

    def _snapshot(self, now: datetime) -> Snapshot:
        yard, pool = self.yard, self.yard.pool
        leases = yard.leases(now)
        most_slots = max((facts.slots for facts in pool.types), default=1)
        most = max([pool.max_instances, *(each.max_instances or 0 for each in pool.schedules)])
        room = max(0, most * most_slots - int(sum(charged_slots(lease, most_slots) for lease in leases)))
        queue, complete = yard.head(room)
        return Snapshot(
            pool=pool,
            epoch=1,
            instances=tuple(yard.instances.values()),
            leases=leases,
            intentions=(),
            marks=tuple(mark for mark in self._marks.values()),
            queue=queue,
            queue_complete=complete,
            subnets=tuple((zone, f"subnet-{zone}") for zone in self.zones),
            images=tuple((facts.name, ANY_IMAGE) for facts in pool.types),
            prices=self._market(now),
            reasons=self._begun.reasons,
            unfulfilled_since=self._begun.unfulfilled_since,
            stack_closing=False,
            settings=self.settings,
            launch_times=self._begun.launch_times,
            availability=self._begun.availability,
            # Every worker of a backtest is heard at every instant: none is ever silent, no lease expires.
            outage_ended_at=now,
        )

    def _market(self, now: datetime) -> tuple[MarketPrice, ...]:
        if not self.yard.pool.spot:
            return ()
        if self._prices is None:
            offered = tuple(Offering(facts.name, zone) for facts in self.yard.pool.types for zone in self.zones)
            self._prices = _Prices(self.conditions, offered)
        return self._prices.at(now)

    # --- what a pass does ---------------------------------------------------------------------------------------------

    def _outcomes(self, decided: Plan, snapshot: Snapshot, now: datetime) -> Iterator[Outcome]:
        for action in decided.actions:
            yield self._outcome(action, snapshot, now)

    def _outcome(self, action: actions.Action, snapshot: Snapshot, now: datetime) -> Outcome:
        yard = self.yard
        match action:
            case actions.Launch():
                return self._launch(action, snapshot, now)
            case actions.Retire() | actions.Terminate():
                idle = [each for each in action.instance_ids if not yard.busy(each)]
                for each in idle:
                    yard.drain(each, action.why, now)
                self.effects.terminate(yard, idle, now)
            case actions.Drain():
                for each in action.instance_ids:
                    yard.drain(each, action.why, now)
            case actions.Forget():
                del yard.instances[action.instance_id]
            case actions.Move():
                yard.drain(action.instance_id, action.why, now)
                self.effects.move(yard, action.instance_id, action.job_ids, now)
            case actions.Keep():
                yard.change(action.instance_id, kept_for=action.job_id)
            case actions.FailQueued():
                for job_id in action.job_ids:
                    self.effects.give_up(yard, job_id, now)
            case actions.Repeat() | actions.Close() | actions.ReturnJob() | actions.ParkQueued():
                raise AssertionError(
                    f"{action} needs a lost answer, a lost lease or a deleted pool: there is none here"
                )
        return Outcome(action=actions.name_of(action), why=action.why, result=Result.DONE)

    def _launch(self, action: actions.Launch, snapshot: Snapshot, now: datetime) -> Outcome:
        came, refusals = self.effects.launch(self.yard, action.request, now, action.kept_for)
        follows = consequences(
            refusals,
            request=action.request,
            marks=snapshot.marks,
            now=now,
            settings=self.settings,
            reasons=snapshot.reasons,
        )
        self._marks |= {(each.capacity_type, each.instance_type, each.zone): each for each in follows.marks}
        return Outcome(
            action="launch",
            why=action.why,
            result=Result.REFUSED if follows.reasons else Result.DONE,
            detail=f"{len(came)} of {action.request.count}",
            launched=came,
            reasons=follows.reasons,
        )

    # --- when to look again -------------------------------------------------------------------------------------------

    def _due(
        self, after: Snapshot, reasons: Sequence[Reason], numbers: Numbers, decided: Plan, now: datetime
    ) -> datetime | None:
        """The first full minute at which a pass may decide something else, though nothing happens before."""
        ahead = lead(after)
        edge = next_edge(after.pool, now, ahead) if after.pool.schedules else None
        current = replace(after, pool=in_force(after.pool, now, ahead)) if after.pool.schedules else after
        fleet = view(current, now)
        instants = [
            *next_events(replace(current, leases=()), fleet, now),
            *renewal_events(current, fleet),
            *([] if edge is None else [edge]),
            *self._of_the_queue(current, now),
        ]
        if numbers.unfulfilled or self._waits_for_the_market(current, now):
            instants += self._of_the_market(current, reasons, now)
        if self.yard.in_time() or any(reason.code == OwnCode.DEFERRED for reason in decided.reasons):
            instants.append(now + MINUTE)
        first = min((at for at in instants if at > now), default=None)
        return None if first is None else _full_minute(first)

    def _of_the_queue(self, snapshot: Snapshot, now: datetime) -> Iterator[datetime]:
        """When waiting jobs come to be starving, or late enough for on-demand."""
        if not snapshot.queue:
            return
        fallback = snapshot.pool.on_demand_fallback
        since = snapshot.unfulfilled_since or now
        for job in snapshot.queue:
            yield job.queued_at + snapshot.pool.starvation_after
            if fallback is not None and fallback.after is not None:
                yield max(job.queued_at, since) + fallback.after

    @staticmethod
    def _waits_for_the_market(snapshot: Snapshot, now: datetime) -> bool:
        """On-demand instances of a spot pool that are old enough to give way to spot."""
        return snapshot.pool.spot and any(at <= now for at in renewal_events(snapshot, view(snapshot, now)))

    def _of_the_market(self, snapshot: Snapshot, reasons: Sequence[Reason], now: datetime) -> Iterator[datetime]:
        """When a pool that lacks instances may ask again: at once where something may be asked for, else when a rest is
        over, and whenever the market moves."""
        kinds = [snapshot.pool.capacity_type()]
        if snapshot.pool.spot and snapshot.pool.allows_on_demand():
            kinds.append(CapacityType.ON_DEMAND)
        for kind in kinds:
            found = shop(snapshot, kind, now)
            if found.sells and kind is snapshot.pool.capacity_type():
                yield now + MINUTE
            if found.offerings.next_open_at is not None:
                yield found.offerings.next_open_at
        yield from (reason.next_attempt for reason in reasons if reason.next_attempt is not None)
        if any(reason.reason_class is ReasonClass.PRICE for reason in reasons) and self._prices is not None:
            yield from () if self._prices.until is None else (self._prices.until,)


def _full_minute(at: datetime) -> datetime:
    """The tick that finds it: ticks come at full minutes."""
    return _EPOCH + -((_EPOCH - at) // MINUTE) * MINUTE
