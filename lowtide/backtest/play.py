"""A backtest: one pools file, or one peer's rule, played over a market and jobs, from event to event.

Nothing is done between events: jobs that are sent, workers that call for the first time or ask for work, jobs that end,
instances that the market takes, and the instants at which a pool is due. All pools of a file share one market. The same
input gives the same course.
"""

import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Protocol

from lambdas.domain.fleet.fleet import Instance, InstanceState, LaunchRequest
from lambdas.domain.fleet.observed import INTERRUPTED, reported
from lambdas.domain.jobs.fit import fits_some_type
from lambdas.domain.pools.pools import CapacityType, Pool
from lambdas.domain.pools.schedules import in_force
from lambdas.domain.refusals.refusals import Refusal
from lambdas.domain.settings import Settings
from lowtide.backtest.accounts import BUCKETS, Accounts
from lowtide.backtest.control import ControlPlane, Looked
from lowtide.backtest.exchange import Exchange, Taken
from lowtide.backtest.jobs import Job
from lowtide.backtest.peers import Follower
from lowtide.backtest.rules import Rule
from lowtide.backtest.yard import Progress, Running, Yard
from lowtide.backtest.yard import Terms as UseTerms
from lowtide.market.model import Conditions, Offering
from lowtide.market.unkindness import Unkindness

SHUTTING_DOWN = timedelta(seconds=25)
"""From the request to end an instance until EC2 reports it gone, as the market's model has it."""
POLLED_EARLIER = 4
"""An idle worker waits a quarter of the time that it has been idle (IDLE_GROWTH in lambdas/control/worker_api.py)."""
CALLERS_A_POLL = 20
"""As there."""
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What no record says."""

    boot: timedelta = timedelta(minutes=2)
    """From launch to the worker's first call."""
    bare_metal_boot: timedelta = timedelta(minutes=8)
    checkpoint: timedelta | None = timedelta(minutes=5)
    """How often a job saves what it has done; None: never, so that an interruption costs all of it."""
    restart: timedelta = timedelta(0)
    """Time that an attempt after an interruption needs before it goes on: fetching, loading the checkpoint."""
    unwarned: float = 0.0
    """The share of interruptions that come without a notice."""
    seed: int = 1


@dataclass(slots=True, kw_only=True)
class Played:
    """What came of one pool."""

    pool: Pool
    accounts: Accounts
    progress: list[Progress]
    given_up: dict[str, str]
    """Job id -> why it failed."""
    never_fits: list[Job]
    begin: datetime
    end: datetime


class Controller(Protocol):
    def look(self, now: datetime) -> Looked: ...

    def sent(self, now: datetime) -> datetime | None:
        """When to look because a job was queued; None: not for that."""
        ...

    def turned(self, now: datetime) -> datetime | None:
        """When to look because a worker has come or ended a job: likewise."""
        ...

    def gone(self, instance_id: str, now: datetime) -> datetime | None:
        """EC2 reports an instance terminated: likewise."""
        ...


@dataclass(slots=True)
class _Place:
    """One pool with everything about it."""

    yard: Yard
    accounts: Accounts
    controller: Controller | None = None
    jobs: dict[str, Progress] = field(default_factory=dict[str, Progress])
    given_up: dict[str, str] = field(default_factory=dict[str, str])
    never_fits: list[Job] = field(default_factory=list[Job])
    sent: list[Job] = field(default_factory=list[Job])
    polls: set[str] = field(default_factory=set[str])
    """Instances whose next asking is on the agenda."""
    look_at: datetime | None = None

    @property
    def control(self) -> Controller:
        assert self.controller is not None
        return self.controller


class Play:
    """Its effects are those that controllers may have (control.Effects)."""

    def __init__(
        self,
        pools: Sequence[Pool],
        jobs: Mapping[str, Sequence[Job]],
        conditions: Conditions,
        *,
        zones: tuple[str, ...],
        on_demand: Mapping[str, Decimal],
        begin: datetime,
        until: datetime,
        assumptions: Assumptions | None = None,
        rule: Rule | None = None,
        settings: Settings | None = None,
    ) -> None:
        """`jobs` by pool; `rule`: a peer's, None for Lowtide's plan. Costs count from `begin` to `until` at least."""
        self.assumptions = assumptions or Assumptions()
        self.settings = settings or Settings()
        self.begin, self.until = begin, until
        unkindness = replace(Unkindness.none(), unwarned=self.assumptions.unwarned)
        self.exchange = Exchange(conditions, on_demand, unkindness, self.assumptions.seed)
        self._agenda: list[tuple[datetime, int, Callable[[datetime], None]]] = []
        self._order = itertools.count()
        self._ids = itertools.count(1)
        self._where: dict[str, _Place] = {}
        self._reclaim_at: datetime | None = None
        self._left = 0
        self._last = begin
        bucket = max((until - begin) / BUCKETS, timedelta(seconds=60))
        self.places = [self._place(pool, zones, jobs.get(pool.name, ()), rule, bucket) for pool in pools]

    def _place(
        self, pool: Pool, zones: tuple[str, ...], jobs: Sequence[Job], rule: Rule | None, bucket: timedelta
    ) -> _Place:
        terms = UseTerms() if rule is None else rule.terms
        yard = Yard(pool=pool, terms=terms, checkpoint=self.assumptions.checkpoint)
        place = _Place(yard=yard, accounts=Accounts(pool, self._price, self.begin, bucket))
        conditions = self.exchange.conditions
        if rule is None:
            place.controller = ControlPlane(yard, self, conditions, zones, self.settings)
        else:
            mean = sum((job.work for job in jobs), timedelta(0)) / max(1, len(jobs))
            place.controller = Follower(rule, yard, self, conditions, zones, mean)
        for job in jobs:
            if fits_some_type(job.slots, job.resources, pool):
                place.sent.append(job)
                self._at(job.submitted_at, partial(self._sent, place, job))
                self._left += 1
            else:
                place.never_fits.append(job)
        self._ring(place, self.begin)
        return place

    def _price(self, instance_type: str, zone: str, at: datetime) -> Decimal:
        return self.exchange.conditions.price(Offering(instance_type, zone), at)

    # --- time ---------------------------------------------------------------------------------------------------------

    def run(self, progress: Callable[[float], None] = lambda _: None) -> list[Played]:
        """To the end: every job done, every pool at rest, the period over. `progress` is told the share done."""
        end = self._last_end()
        total, told = max(1, self._left), 0
        now = self.begin
        while self._agenda:
            at, _, action = self._agenda[0]
            if at > end or (at > self.until and not self._left and self._at_rest(now)):
                break
            heapq.heappop(self._agenda)
            now = max(now, at)
            action(now)
            done = 1000 * (total - self._left) // total
            if done > told:
                told = done
                progress(done / 1000)
        self._last = end if self._left else max(now, self.until)
        for place in self.places:
            self._close(place)
        progress(1.0)
        return [
            Played(
                pool=place.yard.pool,
                accounts=place.accounts,
                progress=list(place.jobs.values()),
                given_up=place.given_up,
                never_fits=place.never_fits,
                begin=self.begin,
                end=self._last,
            )
            for place in self.places
        ]

    def _last_end(self) -> datetime:
        """When a backtest ends whatever still waits: the period once more after it, or a day and twice the longest
        job's time if that is more."""
        longest = max((job.work for place in self.places for job in place.sent), default=timedelta(0))
        return self.until + max(self.until - self.begin, 2 * longest + DAY)

    def _close(self, place: _Place) -> None:
        """What lasts beyond the end is counted up to it."""
        for instance_id in place.yard.running:
            self._worked(place, instance_id, self._last)
        place.accounts.passed(self._last)
        place.accounts.all_ended(self._last)

    def _at_rest(self, now: datetime) -> bool:
        """No more is there than the minima keep, those of schedules included: a window that is open at the end would
        else be played, and paid, to its own end."""
        return all(len(place.yard.alive()) <= _kept(place.yard.pool, now) for place in self.places)

    def _at(self, at: datetime, action: Callable[[datetime], None]) -> None:
        heapq.heappush(self._agenda, (at, next(self._order), action))

    def _ring(self, place: _Place, at: datetime) -> None:
        """The pool is looked at then, after whatever else happens at that instant, or earlier."""
        if place.look_at is None or at < place.look_at:
            place.look_at = at
            self._at(at, partial(self._look, place, at))

    def _look(self, place: _Place, due: datetime, now: datetime) -> None:
        if place.look_at != due:
            return  # an earlier look has taken its place
        place.look_at = None
        looked = place.control.look(now)
        there = len(place.yard.alive())
        place.accounts.concluded(looked.told, place.yard.waiting, there, now)
        for instance_id in [i for i, each in place.yard.instances.items() if each.kept_for and place.yard.waiting]:
            self._poll(place, instance_id, now)
        if looked.due is not None:
            self._ring(place, max(looked.due, now))

    def _counted(self, place: _Place, now: datetime) -> None:
        place.accounts.counted(place.yard.waiting, len(place.yard.alive()), now)

    # --- jobs ---------------------------------------------------------------------------------------------------------

    def _sent(self, place: _Place, job: Job, now: datetime) -> None:
        place.jobs[job.job_id] = Progress(job)
        self._queue(place, place.jobs[job.job_id], now)

    def _queue(self, place: _Place, progress: Progress, now: datetime) -> None:
        place.yard.enqueue(progress, now)
        self._counted(place, now)
        for instance_id in list(place.yard.instances):
            self._poll(place, instance_id, now)
        if (at := place.control.sent(now)) is not None:
            self._ring(place, at)

    def _poll(self, place: _Place, instance_id: str, now: datetime) -> None:
        """A worker with room finds out that something waits: when it next asks, on the average half its wait later."""
        instance = place.yard.instances[instance_id]
        if instance_id in place.polls or place.yard.claimable(instance) is None:
            return
        place.polls.add(instance_id)
        self._at(now + self._wait(place, instance, now) / 2, partial(self._asks, place, instance_id))

    def _wait(self, place: _Place, instance: Instance, now: datetime) -> timedelta:
        """Between two askings of its worker now (WorkerApi._wait, without its chance)."""
        if place.yard.terms.at_once:
            return timedelta(0)
        first, most = self.settings.poll_first, self.settings.poll_most
        idle = (now - place.yard.turned_at[instance.instance_id]) / POLLED_EARLIER
        return min(max(first, idle, first * len(place.yard.instances) / CALLERS_A_POLL), most)

    def _asks(self, place: _Place, instance_id: str, now: datetime) -> None:
        place.polls.discard(instance_id)
        if instance_id in place.yard.instances:
            self._claim(place, instance_id, now)

    def _claim(self, place: _Place, instance_id: str, now: datetime) -> None:
        given = place.yard.claim(instance_id)
        for entry, part in given:
            progress = place.jobs[entry.job_id]
            self._worked(place, instance_id, now)
            again = self.assumptions.restart if progress.fence else timedelta(0)
            attempt = place.yard.begin(entry, part, instance_id, progress, now, again)
            fence = attempt.lease.fence
            self._at(attempt.ends_at, partial(self._finished, place, instance_id, entry.job_id, fence))
        if given:
            self._counted(place, now)

    def _finished(self, place: _Place, instance_id: str, job_id: str, fence: int, now: datetime) -> None:
        running = place.yard.running.get(instance_id, {}).get(job_id)
        if running is None or running.lease.fence != fence:
            return
        self._end_attempt(place, instance_id, job_id, now)
        place.jobs[job_id].finished_at = now
        self._left -= 1
        self._claim(place, instance_id, now)
        self._turned(place, now)

    def _worked(self, place: _Place, instance_id: str, now: datetime) -> None:
        """The instance's jobs are about to change: the time since they last did is charged to them."""
        attempts = list(place.yard.running.get(instance_id, {}).values())
        if attempts:
            seconds = (now - place.yard.turned_at[instance_id]).total_seconds()
            place.accounts.worked(instance_id, seconds, place.yard.share(instance_id, attempts))

    def _end_attempt(self, place: _Place, instance_id: str, job_id: str, now: datetime) -> Running:
        self._worked(place, instance_id, now)
        return place.yard.end(instance_id, job_id, now)

    def _interrupted(self, place: _Place, instance_id: str, job_id: str, now: datetime) -> None:
        """What its last whole period of checkpoints holds is kept, the rest is done again."""
        attempt = self._end_attempt(place, instance_id, job_id, now)
        progress = place.jobs[job_id]
        kept = attempt.saved(now, self.assumptions.checkpoint)
        progress.saved += kept
        progress.redone += attempt.ran(now) - kept
        progress.interruptions += 1
        self._queue(place, progress, now)

    def move(self, yard: Yard, instance_id: str, job_ids: Sequence[str], now: datetime) -> None:
        """Its worker ends them with a last save, and each waits again: no interruption, and nothing is lost."""
        place = self._of(yard)
        for job_id in job_ids:
            progress = place.jobs[job_id]
            progress.saved += self._end_attempt(place, instance_id, job_id, now).ran(now)
            self._queue(place, progress, now)

    # --- instances ----------------------------------------------------------------------------------------------------

    def launch(
        self, yard: Yard, request: LaunchRequest, now: datetime, kept_for: Sequence[str] = ()
    ) -> tuple[tuple[str, ...], list[Refusal]]:
        place = self._of(yard)
        came, refusals = self.exchange.ask(request, now)
        kept = itertools.chain(kept_for, itertools.repeat(None))
        ids = tuple(
            self._born(place, offering, request, job_id, now) for offering, job_id in zip(came, kept, strict=False)
        )
        place.accounts.refusals.update(each.code for each in refusals)
        self._await_reclaim(now)
        return ids, refusals

    def _born(
        self, place: _Place, offering: Offering, request: LaunchRequest, kept_for: str | None, now: datetime
    ) -> str:
        instance_id, pool = f"i-{next(self._ids):06d}", place.yard.pool
        facts = pool.facts(offering.instance_type)
        assert facts is not None
        places = {(each.instance_type, each.zone): each.max_price for each in request.overrides}
        limit = places[offering]
        instance = Instance(
            instance_id=instance_id,
            pool=pool.name,
            decision="backtest",
            state=InstanceState.LAUNCHING,
            capacity_type=request.capacity_type,
            instance_type=offering.instance_type,
            zone=offering.zone,
            slots=facts.slots,
            launched_at=now,
            price_limit=limit,
            kept_for=kept_for,
        )
        place.yard.instances[instance_id] = instance
        place.accounts.came(instance, facts.on_demand_price)
        self._where[instance_id] = place
        if request.capacity_type is CapacityType.SPOT:
            own = facts.on_demand_price if limit is None else limit
            self.exchange.hold(instance_id, offering, own)
        boot = self.assumptions.bare_metal_boot if facts.bare_metal else self.assumptions.boot
        self._at(now + boot, partial(self._ready, place, instance_id))
        return instance_id

    def _ready(self, place: _Place, instance_id: str, now: datetime) -> None:
        """Its worker calls for the first time, and takes what waits."""
        instance = place.yard.instances.get(instance_id)
        if instance is None or instance.state is not InstanceState.LAUNCHING:
            return
        place.yard.change(instance_id, state=InstanceState.RUNNING, reported_at=now, idle_since=now)
        place.yard.turned_at[instance_id] = now
        self._claim(place, instance_id, now)
        self._turned(place, now)

    def _turned(self, place: _Place, now: datetime) -> None:
        if (at := place.control.turned(now)) is not None:
            self._ring(place, at)

    def terminate(self, yard: Yard, instance_ids: Sequence[str], now: datetime) -> None:
        place = self._of(yard)
        for instance_id in instance_ids:
            yard.change(instance_id, termination_requested_at=now)
            self._stopped(place, instance_id, now)
            self._at(now + SHUTTING_DOWN, partial(self._gone, place, instance_id))

    def give_up(self, yard: Yard, job_id: str, now: datetime) -> None:
        place = self._of(yard)
        if yard.dequeue(job_id) is not None:
            place.given_up[job_id] = "its pool cannot launch"
            self._left -= 1
            self._counted(place, now)

    def _of(self, yard: Yard) -> _Place:
        return next(place for place in self.places if place.yard is yard)

    def _stopped(self, place: _Place, instance_id: str, now: datetime) -> None:
        """It is no longer held, and no longer costs."""
        self.exchange.let_go(instance_id)
        place.accounts.ended(instance_id, now)

    def _gone(self, place: _Place, instance_id: str, now: datetime) -> None:
        """EC2 reports it terminated; a pass forgets it, or a peer's rule never sees it again."""
        if instance_id not in place.yard.instances:
            return
        self._where.pop(instance_id, None)
        if (at := place.control.gone(instance_id, now)) is not None:
            self._ring(place, at)

    # --- what the market takes ----------------------------------------------------------------------------------------

    def _await_reclaim(self, now: datetime) -> None:
        at = self.exchange.next_change(now)
        if at is not None and (self._reclaim_at is None or at < self._reclaim_at):
            self._reclaim_at = at
            self._at(at, self._reclaim)

    def _reclaim(self, now: datetime) -> None:
        if self._reclaim_at is not None and self._reclaim_at <= now:
            self._reclaim_at = None
            ending = [
                i for place in self.places for i, each in place.yard.instances.items() if each.ends_at is not None
            ]
            for taken in self.exchange.taken(now, ending):
                self._taken(self._where[taken.instance_id], taken, now)
        self._await_reclaim(now)

    def _taken(self, place: _Place, taken: Taken, now: datetime) -> None:
        place.accounts.interrupted_instances += 1
        if taken.end.warned_at is None:
            self._lost(place, taken.instance_id, now)
            return
        place.yard.drain(taken.instance_id, INTERRUPTED, now)
        place.yard.change(taken.instance_id, ends_at=taken.end.ends_at)
        self._at(taken.end.ends_at, partial(self._lost, place, taken.instance_id))
        self._leave(place, taken.instance_id, now)

    def _lost(self, place: _Place, instance_id: str, now: datetime) -> None:
        """EC2 ends it; nothing is to be done where the pool has ended it meanwhile."""
        instance = place.yard.instances.get(instance_id)
        if instance is None or instance.termination_requested_at is not None:
            return
        self._leave(place, instance_id, now)
        self._stopped(place, instance_id, now)
        place.yard.drain(instance_id, reported("terminated"), now)
        self._gone(place, instance_id, now)

    def _leave(self, place: _Place, instance_id: str, now: datetime) -> None:
        """Its jobs are stopped, and queued again."""
        for job_id in list(place.yard.running.get(instance_id, ())):
            self._interrupted(place, instance_id, job_id, now)
        self._ring(place, now)


def _kept(pool: Pool, now: datetime) -> int:
    """How many instances stay without any job. Peers' rules know the pool's own minimum alone."""
    return max(pool.min_instances, in_force(pool, now).min_instances, pool.warm_instances)
