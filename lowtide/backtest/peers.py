"""A peer's rule at work over a yard: its wish brought about with the same market and instances as Lowtide's plan."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from lambdas.domain.fleet.fleet import Instance, InstanceState, LaunchRequest, Override
from lambdas.domain.pools.pools import CapacityType, TypeFacts
from lambdas.domain.reasons import ReasonClass, rank
from lambdas.domain.refusals.refusals import Refusal, rule_for
from lowtide.backtest.control import ANY_IMAGE, Effects, Looked, Told
from lowtide.backtest.rules import Rule, Seen, Use, View, Wish
from lowtide.backtest.yard import Yard
from lowtide.market.model import Conditions, Offering

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Follower:
    """One pool's."""

    rule: Rule
    yard: Yard
    effects: Effects
    conditions: Conditions
    zones: tuple[str, ...]
    mean_work: timedelta
    _memory: Any = None

    def look(self, now: datetime) -> Looked:
        self._terminate([each for each in self.yard.used_up if self._has_had_its_job(each)], now)
        wish = self.rule.decide(self._view(now))
        self._memory = wish.memory
        missing, refusals = 0, list[Refusal]()
        for name, desired in wish.desired.items():
            there = self._there(name)
            if desired > len(there):
                came, refused = self._launch(name, desired - len(there), now)
                missing += desired - len(there) - came
                refusals += refused
            elif desired < len(there):
                self._end(there, len(there) - desired, now)
        return Looked(told=self._told(wish, missing, refusals), due=self._due(wish, missing, now))

    def sent(self, now: datetime) -> datetime | None:
        """A job was queued: a rule looks at once."""
        return now

    def turned(self, now: datetime) -> datetime | None:
        """A worker has come or ended a job: likewise."""
        return now

    def gone(self, instance_id: str, now: datetime) -> datetime | None:
        del self.yard.instances[instance_id]
        self.yard.used_up.discard(instance_id)
        return now

    def _view(self, now: datetime) -> View:
        there = [each for each in self.yard.alive() if each.ends_at is None]
        return View(
            now=now,
            pool=self.yard.pool,
            waiting=tuple(self.yard.queue()),
            instances=tuple(map(self._seen, there)),
            mean_work=self.mean_work,
            memory=self._memory,
        )

    def _seen(self, instance: Instance) -> Seen:
        return Seen(
            instance_id=instance.instance_id,
            use=self._use(instance),
            launched_at=instance.launched_at,
            idle_since=instance.idle_since,
        )

    def _use(self, instance: Instance) -> Use:
        if instance.state is InstanceState.LAUNCHING:
            return Use.LAUNCHING
        return Use.BUSY if self.yard.busy(instance.instance_id) else Use.IDLE

    def _there(self, name: str) -> list[Instance]:
        return [each for each in self.yard.alive() if each.ends_at is None and each.instance_type == name]

    def _launch(self, name: str, count: int, now: datetime) -> tuple[int, list[Refusal]]:
        pool = self.yard.pool
        facts = pool.facts(name)
        assert facts is not None
        request = LaunchRequest(
            capacity_type=pool.capacity_type(),
            overrides=tuple(self._override(facts, zone) for zone in self.zones),
            count=count,
            allocation_strategy=self.rule.strategy if pool.spot else "lowest-price",
        )
        came, refused = self.effects.launch(self.yard, request, now)
        return len(came), refused if len(came) < count else []

    def _override(self, facts: TypeFacts, zone: str) -> Override:
        pool = self.yard.pool
        limit: Decimal | None = pool.price_limit(facts) if pool.spot else None
        return Override(
            instance_type=facts.name, zone=zone, subnet_id=f"subnet-{zone}", image_id=ANY_IMAGE, max_price=limit
        )

    def _end(self, there: list[Instance], count: int, now: datetime) -> None:
        idle = [each for each in there if self._use(each) is Use.IDLE]
        idle.sort(key=lambda each: each.idle_since or now)
        self._terminate([each.instance_id for each in idle[:count]], now)

    def _has_had_its_job(self, instance_id: str) -> bool:
        """And may end by itself; one that EC2 takes ends anyway."""
        instance = self.yard.instances.get(instance_id)
        there = instance is not None and instance.termination_requested_at is None and instance.ends_at is None
        return there and not self.yard.busy(instance_id)

    def _terminate(self, instance_ids: list[str], now: datetime) -> None:
        for each in instance_ids:
            self.yard.drain(each, self.rule.title, now)
        self.effects.terminate(self.yard, instance_ids, now)

    def _told(self, wish: Wish, missing: int, refusals: list[Refusal]) -> Told:
        classes = {rule_for(each.code, each.message).reason_class for each in refusals}
        at_most = len(self.yard.alive()) >= self.yard.pool.max_instances
        first = min(classes, key=rank, default=ReasonClass.LIMIT if at_most else ReasonClass.STARTING)
        launching = sum(each.state is InstanceState.LAUNCHING for each in self.yard.alive())
        return Told(desired=sum(wish.desired.values()), launching=launching, unfulfilled=missing, first=str(first))

    def _due(self, wish: Wish, missing: int, now: datetime) -> datetime | None:
        """It asks again all the time; nothing else comes of it before the market moves."""
        instants = [] if wish.look_at is None else [wish.look_at]
        if missing and self.yard.pool.capacity_type() is CapacityType.SPOT:
            types = self.yard.pool.types[:1]
            offered = [Offering(facts.name, zone) for facts in types for zone in self.zones]
            changes = [at for each in offered if (at := self.conditions.next_change(each, now)) is not None]
            instants += [self._retried(min(changes))] if changes else []
        return min(instants, default=None)

    def _retried(self, at: datetime) -> datetime:
        return _EPOCH + -((_EPOCH - at) // self.rule.retry) * self.rule.retry
