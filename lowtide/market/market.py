"""The spot market as one deterministic machine: requests and instants in, answers and news out.

It does no I/O and has no clock: whoever drives it says what time it is, in real, scaled or virtual time. The same seed,
requests and instants give the same market, however often or seldom `advance` is called in between. Not thread-safe.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from lowtide.market import catalogue, fleet, identity, reclaim
from lowtide.market.bucket import Bucket
from lowtide.market.fleet import Refused, seeded_chance
from lowtide.market.instances import (
    BY_ITSELF,
    BY_MARKET,
    BY_USER,
    Happening,
    Instance,
    News,
    RebalanceAdvised,
    State,
    StateChanged,
    Warned,
)
from lowtide.market.model import (
    ALL,
    Conditions,
    Held,
    Lifecycle,
    Offering,
    PricePoint,
    Scripted,
    price_history,
)
from lowtide.market.reclaim import Cause
from lowtide.market.script import Script, Strike
from lowtide.market.supply import Supply
from lowtide.market.unkindness import Unkindness

HISTORY_KEPT = 20_000
"""Happenings kept for reports: a demo makes some hundreds."""
STRIKE_AGAIN = timedelta(seconds=1)
"""A strike that finds too few victims looks again after so long, in real time: asking hosts what runs costs them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """To one CreateFleet."""

    fleet_id: str
    created_at: datetime
    granted: tuple[tuple[fleet.Override, tuple[Instance, ...]], ...]
    refusals: tuple[fleet.Refusal, ...]


class Market:
    def __init__(
        self,
        *,
        seed: int,
        region: str,
        conditions: Conditions,
        unkindness: Unkindness,
        now: datetime,
        busy: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """`unkindness` and `conditions` are already paced. `busy` says whether an instance runs a job; scripted strikes
        ask it."""
        self.region = region
        self.unkindness = unkindness
        self.conditions = Scripted(conditions)
        self.history: deque[Happening] = deque(maxlen=HISTORY_KEPT)
        self.happened = 0
        """Lines ever written to `history`, those no longer kept included."""
        self.instances: dict[str, Instance] = {}
        self.answers: dict[str, Answer] = {}
        """By fleet id."""
        self._held: dict[tuple[Offering, Lifecycle], dict[str, Instance]] = {}
        """The live instances of each offering; the emptied ones stay."""
        self._seed = seed
        self._busy = busy
        self._ids = seeded_chance(seed, "ids")
        self._others = seeded_chance(seed, "strangers")
        self._tokens: dict[str, tuple[str, Answer]] = {}
        self._agenda: list[tuple[datetime, int, Callable[[datetime], None]]] = []
        self._order = itertools.count()
        self._news: list[News] = []
        self._now = now
        self._bucket = Bucket(unkindness.bucket, unkindness.bucket_refill_per_second, now)
        self._await_stranger(now)

    # --- requests -----------------------------------------------------------------------------------------------------

    def admit(self, now: datetime) -> None:
        """Take one request from the account's bucket of launches. Raises Refused (RequestLimitExceeded) when empty."""
        if not self._bucket.take(now):
            self._log(Happening(at=now, what="throttled", code="RequestLimitExceeded", message=fleet.THROTTLED))
            raise Refused("RequestLimitExceeded", fleet.THROTTLED, status=503)

    def create_fleet(self, request: fleet.Request, now: datetime) -> Answer:
        """Launch what can be had. The same client token with the same request gives the first answer again; with
        another request it raises Refused (IdempotentParameterMismatch)."""
        self._play(now)
        if request.client_token in self._tokens:
            everything, answer = self._tokens[request.client_token]
            if everything != request.everything:
                raise Refused("IdempotentParameterMismatch", fleet.TOKEN_REUSED)
            return answer
        fleet.check(request)
        answer = self._launch(request, now)
        self.answers[answer.fleet_id] = answer
        if request.client_token is not None:
            self._tokens[request.client_token] = (request.everything, answer)
        return answer

    def unfit(self, override: fleet.Override, lifecycle: Lifecycle) -> tuple[str, str] | None:
        """What is wrong with an override whatever the market has: code and message. Nothing is launched."""
        zones = catalogue.offered(self.region).get(override.offering.instance_type, ())
        return fleet.unfit(override, lifecycle, zones)

    def terminate(self, instance_ids: Sequence[str], now: datetime) -> list[tuple[Instance, State]]:
        """Begin to shut them all down; each with the state it was in. Raises Refused (InvalidInstanceID.NotFound) for
        one that is not known (yet), and then touches none."""
        self._play(now)
        found = [(instance, instance.state) for instance in (self.known(i, now) for i in instance_ids)]
        for instance, _ in found:
            self._end(instance, now, BY_USER)
        return found

    def shut_down(self, instance_id: str, now: datetime) -> None:
        """The guest powered itself off; EC2 terminates it. An unknown id is no error: it may be gone already."""
        self._play(now)
        if instance := self.instances.get(instance_id):
            self._end(instance, now, BY_ITSELF)

    # --- what is there ------------------------------------------------------------------------------------------------

    def known(self, instance_id: str, now: datetime) -> Instance:
        """Raises Refused (InvalidInstanceID.NotFound), also for an instance that EC2 has not spread word of yet."""
        self._play(now)
        instance = self.instances.get(instance_id)
        if instance is None or instance.visible_at > now:
            raise Refused("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
        return instance

    def listed(self, now: datetime) -> list[Instance]:
        """What Describe would list, terminated ones of the last hour included; in the order of launching."""
        self._play(now)
        return [i for i in self.instances.values() if i.visible_at <= now]

    def spot_prices(self, offering: Offering, start: datetime, end: datetime, now: datetime) -> list[PricePoint]:
        """Price history as DescribeSpotPriceHistory knows it at `now`, oldest first: the price at `start`, or at the
        newest instant that is known, and what followed. Nothing is known of the lag before `now`."""
        last = min(end, now - self.unkindness.history_lag)
        return price_history(self.conditions, offering, min(start, last), last)

    def happenings(self, since: int = 0) -> list[Happening]:
        """The log from line `since` on, lines numbered from the market's beginning; the oldest may be gone."""
        first = self.happened - len(self.history)
        return list(itertools.islice(self.history, max(since - first, 0), None))

    # --- time ---------------------------------------------------------------------------------------------------------

    def advance(self, now: datetime) -> list[News]:
        """Play everything up to and at `now`; what happened since the last call, in the order of its happening."""
        self._play(now)
        news, self._news = self._news, []
        return news

    def has_news(self) -> bool:
        """Whether `advance` would give something at once: requests make news too."""
        return bool(self._news)

    def next_change(self) -> datetime | None:
        """The first instant at which `advance` may have something to say; None: nothing is to come. A script or a
        request can make it earlier."""
        changes = [
            at for offering in self._held_offerings() if (at := self.conditions.next_change(offering, self._now))
        ]
        return min([self._agenda[0][0], *changes] if self._agenda else changes, default=None)

    # --- trouble ------------------------------------------------------------------------------------------------------

    def script(self, script: Script, now: datetime) -> None:
        """Lay trouble on top of what is; several scripts add up."""
        self._play(now)
        self.conditions.add(script.held)
        for held in script.held:
            self._at(max(held.start, now), partial(self._begin_held, held))
        for strike in script.strikes:
            self._at(max(strike.at, now), partial(self._strike, strike))
        self._play(now)

    def set_price(self, instance_type: str, zone: str, usd: Decimal, now: datetime) -> None:
        """Hold a spot price from now on; `*` stands for every type or zone."""
        self.script(Script(held=(Held(instance_type=instance_type, zone=zone, start=now, price=usd),)), now)

    def set_capacity(
        self, instance_type: str, zone: str, count: int, now: datetime, lifecycle: Lifecycle | None = Lifecycle.SPOT
    ) -> None:
        """Hold a capacity from now on; `*` stands for every type or zone, no lifecycle for both."""
        held = Held(instance_type=instance_type, zone=zone, start=now, capacity=count, lifecycle=lifecycle)
        self.script(Script(held=(held,)), now)

    def release(self, now: datetime) -> None:
        """End all held prices and capacities: the market is its own again. Strikes still to come stay."""
        self._play(now)
        self.conditions.held.clear()
        self._play(now)

    def interrupt(
        self, instance_id: str, now: datetime, *, notice: bool | None = True, lead: timedelta | None = None
    ) -> None:
        """Interrupt one spot instance; one that is ending already is left alone. Raises Refused for what cannot be
        interrupted."""
        self._play(now)
        instance = self.instances.get(instance_id)
        if instance is None:
            raise Refused("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
        if instance.lifecycle is not Lifecycle.SPOT:
            raise Refused("InvalidParameterValue", f"The instance '{instance_id}' is not a Spot Instance")
        self._interrupt(instance, now, Cause.ASKED, notice=notice, lead=lead)
        self._play(now)

    # --- launching ----------------------------------------------------------------------------------------------------

    def _launch(self, request: fleet.Request, now: datetime) -> Answer:
        fleet_id = f"fleet-{identity.uuid(self._ids)}"
        chance = seeded_chance(self._seed, fleet_id)
        allocation = fleet.allocate(request, self._supply(now), chance, self.unkindness.unfulfillable)
        granted = tuple(
            (override, tuple(self._born(override, request.lifecycle, fleet_id, now) for _ in range(count)))
            for override, count in allocation.granted
        )
        for override, born in granted:
            for instance in born:
                more = {"lifecycle": request.lifecycle, "instance_id": instance.instance_id}
                self._note("launched", override.offering, now, **more)
        for refusal in allocation.refusals:
            more = {"lifecycle": request.lifecycle, "code": refusal.code, "message": refusal.message}
            self._note("refused", refusal.override.offering, now, **more)
        return Answer(fleet_id=fleet_id, created_at=now, granted=granted, refusals=allocation.refusals)

    def _supply(self, now: datetime) -> Supply:
        return Supply(
            region=self.region,
            conditions=self.conditions,
            unkindness=self.unkindness,
            instances=self.instances.values(),
            held=self._held,
            now=now,
        )

    def _born(self, override: fleet.Override, lifecycle: Lifecycle, fleet_id: str, now: datetime) -> Instance:
        instance_id = identity.instance_id(self._ids)
        chance, u = seeded_chance(self._seed, instance_id), self.unkindness
        spot = lifecycle is Lifecycle.SPOT
        instance = Instance(
            instance_id=instance_id,
            override=override,
            lifecycle=lifecycle,
            fleet_id=fleet_id,
            spot_request_id=f"sir-{identity.letters(self._ids, 8)}" if spot else None,
            price_limit=override.limit() if spot else None,
            launched_at=now,
            visible_at=now + u.describe_lag * chance.uniform(0.05, 1.0),
            boot_delay=u.pending + self._boot(override, chance),
            boot_fails=chance.random() < u.boot_failure,
        )
        self.instances[instance_id] = instance
        self._held.setdefault((override.offering, lifecycle), {})[instance_id] = instance
        self._tell_state(instance, now)
        self._at(now + u.pending, partial(self._run, instance))
        alone = reclaim.wait(u.rebalance_alone, chance) if spot else None
        if alone is not None:
            self._at(now + alone, partial(self._advise, instance))
        return instance

    def _boot(self, override: fleet.Override, chance: random.Random) -> timedelta:
        facts = catalogue.facts(override.offering.instance_type)
        slower = self.unkindness.bare_metal_boot if facts and facts.bare_metal else 1.0
        return self.unkindness.boot * slower * chance.lognormvariate(0.0, 0.3)

    # --- the course of an instance ------------------------------------------------------------------------------------

    def _run(self, instance: Instance, at: datetime) -> None:
        if instance.state is State.PENDING:
            instance.state = State.RUNNING
            self._tell_state(instance, at)

    def _interrupt(
        self,
        instance: Instance,
        at: datetime,
        cause: Cause,
        *,
        notice: bool | None = None,
        lead: timedelta | None = None,
    ) -> None:
        if not instance.alive or instance.interruption is not None:
            return
        chance = seeded_chance(self._seed, instance.instance_id, "end")
        end = reclaim.interruption(at, cause, self.unkindness, chance, notice=notice, lead=lead)
        instance.interruption = end
        self._note("interrupted", instance.offering, at, instance_id=instance.instance_id, code=cause)
        if end.rebalance_at is not None:
            self._at(end.rebalance_at, partial(self._advise, instance))
        for warned_at in (end.warned_at, end.repeated_at):
            if warned_at is not None:
                self._at(warned_at, partial(self._warn, instance, end.ends_at))
        self._at(end.ends_at, partial(self._end, instance, reason=BY_MARKET))

    def _warn(self, instance: Instance, ends_at: datetime, at: datetime) -> None:
        if not instance.alive:
            return
        zone = instance.offering.zone
        self._news.append(Warned(instance_id=instance.instance_id, zone=zone, at=at, ends_at=ends_at))
        self._note("warned", instance.offering, at, instance_id=instance.instance_id)

    def _advise(self, instance: Instance, at: datetime) -> None:
        if instance.alive:
            self._news.append(RebalanceAdvised(instance_id=instance.instance_id, zone=instance.offering.zone, at=at))
            self._note("rebalance", instance.offering, at, instance_id=instance.instance_id)

    def _end(self, instance: Instance, at: datetime, reason: tuple[str, str]) -> None:
        if not instance.alive:
            return
        instance.state, instance.state_reason, instance.ended_at = State.SHUTTING_DOWN, reason, at
        del self._held[instance.offering, instance.lifecycle][instance.instance_id]
        self._tell_state(instance, at)
        self._note("ended", instance.offering, at, instance_id=instance.instance_id, code=reason[0])
        self._at(at + self.unkindness.shutting_down, partial(self._gone, instance))

    def _gone(self, instance: Instance, at: datetime) -> None:
        instance.state = State.TERMINATED
        self._tell_state(instance, at)
        self._at(at + self.unkindness.terminated_listed, partial(self._forget, instance))

    def _forget(self, instance: Instance, _: datetime) -> None:
        self.instances.pop(instance.instance_id, None)

    # --- the course of the market -------------------------------------------------------------------------------------

    def _play(self, now: datetime) -> None:
        """Bring the market to `now`, one change after the other."""
        while (at := self.next_change()) is not None and at <= now:
            self._now = max(self._now, at)
            while self._agenda and self._agenda[0][0] <= self._now:
                heapq.heappop(self._agenda)[2](self._now)
            self._reclaim(self._now)
        self._now = max(self._now, now)
        self._reclaim(self._now)

    def _reclaim(self, at: datetime) -> None:
        for offering in self._held_offerings():
            price = self.conditions.price(offering, at)
            capacity = self.conditions.capacity(offering, Lifecycle.SPOT, at)
            for instance, cause in reclaim.victims(self._interruptible(offering), price, capacity):
                self._interrupt(instance, at, cause)

    def _held_offerings(self) -> list[Offering]:
        return [offering for (offering, lifecycle), held in self._held.items() if held and lifecycle is Lifecycle.SPOT]

    def _interruptible(self, offering: Offering) -> list[Instance]:
        return [i for i in self._held.get((offering, Lifecycle.SPOT), {}).values() if i.interruption is None]

    def _strike(self, strike: Strike, at: datetime) -> None:
        """Take the longest-running ones that fit; look again soon for as many as were missing."""
        fitting = [
            i
            for offering in self._held_offerings()
            if strike.instance_type in (ALL, offering.instance_type) and strike.zone in (ALL, offering.zone)
            for i in self._interruptible(offering)
            if i.state is State.RUNNING
        ]
        fitting.sort(key=lambda i: (i.launched_at, i.instance_id))
        working = (i for i in fitting if not strike.busy or self._busy(i.instance_id))
        struck = list(itertools.islice(working, strike.count))
        for instance in struck:
            self._interrupt(instance, at, Cause.ASKED, notice=strike.notice, lead=strike.lead)
        if missing := strike.count - len(struck):
            again = at + STRIKE_AGAIN
            self._at(again, partial(self._strike, replace(strike, at=again, count=missing)))

    def _begin_held(self, held: Held, at: datetime) -> None:
        line = Happening(at=at, what="price", instance_type=held.instance_type, zone=held.zone, price=held.price)
        if held.price is not None:
            self._log(line)
        if held.capacity is not None:
            lifecycle = held.lifecycle or ALL
            self._log(replace(line, what="capacity", price=None, count=held.capacity, lifecycle=lifecycle))

    def _await_stranger(self, at: datetime) -> None:
        if (wait := reclaim.wait(self.unkindness.strangers, self._others)) is not None:
            self._at(at + wait, self._stranger)

    def _stranger(self, at: datetime) -> None:
        """Somebody else's instance in the same account is warned: its event reaches every rule."""
        instance_id = identity.instance_id(self._others)
        zone = self._others.choice(catalogue.zones(self.region))
        ends_at = at + self.unkindness.warning_lead
        self._news.append(Warned(instance_id=instance_id, zone=zone, at=at, ends_at=ends_at, ours=False))
        self._await_stranger(at)

    # --- bookkeeping --------------------------------------------------------------------------------------------------

    def _at(self, at: datetime, action: Callable[[datetime], None]) -> None:
        heapq.heappush(self._agenda, (at, next(self._order), action))

    def _tell_state(self, instance: Instance, at: datetime) -> None:
        changed = StateChanged(
            instance_id=instance.instance_id, zone=instance.offering.zone, state=instance.state, at=at
        )
        self._news.append(changed)

    def _note(self, what: str, offering: Offering, at: datetime, **more: Any) -> None:
        """One line of the log about an offering, with its spot price at that instant."""
        price = self.conditions.price(offering, at) if catalogue.facts(offering.instance_type) else None
        line = Happening(at=at, what=what, instance_type=offering.instance_type, zone=offering.zone, price=price)
        self._log(replace(line, **more))

    def _log(self, happening: Happening) -> None:
        self.history.append(happening)
        self.happened += 1
