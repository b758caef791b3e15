"""Jobs with a deadline: on what each is to run now, and the numbers behind it (docs/deadlines.md, "In the product").

A waiting job waits for spot as long as that is safe and worth it, and is bought an on-demand instance when it is not.
One that runs on on-demand goes back to spot where that pays for another restart (in_time.py); one that runs on spot
stays. What the pool's owner does not allow is never chosen. The policy itself is in deadlines/; it is loaded only here,
and only when a job needs it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from lambdas.domain.buying import availability
from lambdas.domain.buying.offerings import Offering
from lambdas.domain.buying.shops import Shop, shop
from lambdas.domain.durations import format_duration
from lambdas.domain.fleet.fleet import Lease
from lambdas.domain.fleet.fleet_view import FleetView, is_ending
from lambdas.domain.fleet.lead import lead
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.jobs.fit import load
from lambdas.domain.jobs.jobs import QueuedJob
from lambdas.domain.jobs.terms import OnDemand
from lambdas.domain.jobs.work import Kept, Standing, seconds_left
from lambdas.domain.pools.pools import CapacityType, Pool, TypeFacts
from lambdas.domain.settings import Settings

RESTORING = timedelta(minutes=1)
"""From a claim to the job's own work, before the job has shown its own time: inputs and checkpoint fetched."""
DEARER = 3
"""On-demand costs so many times spot where the market's price is not known: models.PRICE_RATIO, rounded."""


class Way(StrEnum):
    """What a job is to run on."""

    SPOT = "spot"
    ON_DEMAND = "on-demand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a pass thinks of one job's deadline. Seconds are whole."""

    job_id: str
    deadline: datetime
    work_seconds: int | None
    """Running time that is left; None: neither an estimate nor progress tells."""
    restart_seconds: int
    """From the request for an instance to the job's own work on it."""
    slack_seconds: int | None
    """What is left of the time once work is taken off, and the restart of one that waits; below 0: not in time any
    more, even on on-demand from now on."""
    on_demand_at: datetime | None
    """A waiting job is bought an on-demand instance then, at the latest; one that runs on spot, were it interrupted
    before. None: never, or it runs on on-demand."""
    runs_on: CapacityType | None
    """None: it waits, or is about to."""
    way: Way | None
    """None: its deadline decides nothing."""
    allowed: bool
    """The owner, and the job's own `on_demand`, let on-demand instances be bought for it."""
    struck: bool
    """It waits, and waiting any longer would not be in time."""
    why: str


def moving(lease: Lease, snapshot: Snapshot, now: datetime) -> bool:
    """Its job was told to stop and goes on elsewhere. One that its worker has not stopped within a lease length stays
    where it is."""
    return lease.moving_since is not None and now - lease.moving_since < snapshot.settings.lease


Verdicts = Mapping[str, Verdict]
"""By job id."""


def reserve(settings: Settings) -> timedelta:
    """Kept back from every deadline: a tick until the pool is looked at, a lease length until an instance that is gone
    without notice is missed, and a save's period of work lost with it. 11 minutes at the defaults."""
    return settings.look_again + settings.lease + settings.checkpoint


def allows(pool: Pool, word: OnDemand) -> bool:
    """Whether a deadline may buy on-demand there; else it is best effort."""
    return word is not OnDemand.NEVER and pool.allows_on_demand()


def verdicts(snapshot: Snapshot, fleet: FleetView, now: datetime) -> Verdicts:
    """Of every job with a deadline that waits or runs; empty at once where there is none."""
    waiting = [job for job in snapshot.queue if job.deadline is not None]
    running = [lease for lease in snapshot.leases if lease.deadline is not None]
    if not waiting and not running:
        return {}
    court = _Court.over(snapshot, fleet, now)
    return {each.job_id: each for each in (*map(court.of_waiting, waiting), *map(court.of_running, running))}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Court:
    """What all verdicts of one pass rest on."""

    snapshot: Snapshot
    now: datetime
    start: timedelta
    """From a request to a worker's first call, a look of the tick included."""
    spot: Shop | None
    past: str
    on: Mapping[str, CapacityType]
    """Instance -> how it is paid for, of those that stay."""

    @classmethod
    def over(cls, snapshot: Snapshot, fleet: FleetView, now: datetime) -> "_Court":
        spot = shop(snapshot, CapacityType.SPOT, now) if snapshot.pool.spot else None
        record = availability.seen(snapshot, fleet, spot, now)
        staying = [each for each in fleet.present if not is_ending(each)]
        return cls(
            snapshot=snapshot,
            now=now,
            start=lead(snapshot),
            spot=spot,
            past=availability.past(record, now, snapshot.settings.look_again),
            on={each.instance_id: each.capacity_type for each in staying},
        )

    def of_waiting(self, job: QueuedJob) -> Verdict:
        return self._of(job, job.kept, None)

    def of_running(self, lease: Lease) -> Verdict:
        """One whose instance is ending, or that is being moved, is about to wait: what it saved is what it has."""
        held = None if moving(lease, self.snapshot, self.now) else self.on.get(lease.instance_id)
        return self._of(lease, lease.kept, held, lease.standing)

    def _of(
        self, job: QueuedJob | Lease, kept: Kept, held: CapacityType | None, standing: Standing | None = None
    ) -> Verdict:
        deadline = job.deadline
        assert deadline is not None
        work = _work(job.estimated_seconds, kept, standing, to_the_save=held is None)
        restart = self.start + _restoring(kept)
        overhead = timedelta() if held else restart
        slack = None if work is None else deadline - self.now - work - overhead
        case = _Case(job=job, work=work, restart=restart, left=deadline - self.now - reserve(self.snapshot.settings))
        allowed = allows(self.snapshot.pool, job.on_demand)
        struck = held is None and self._has_struck(case)
        way, why = self._decided(case, held, allowed=allowed, struck=struck, in_time=deadline > self.now)
        may_need = held is not CapacityType.ON_DEMAND and allowed and deadline > self.now
        return Verdict(
            job_id=job.job_id,
            deadline=deadline,
            work_seconds=None if work is None else round(work.total_seconds()),
            restart_seconds=round(restart.total_seconds()),
            slack_seconds=None if slack is None else int(slack // timedelta(seconds=1)),
            on_demand_at=self._latest(case) if may_need else None,
            runs_on=held,
            way=way,
            allowed=allowed,
            struck=struck and deadline > self.now,
            why=why,
        )

    def _has_struck(self, case: "_Case") -> bool:
        latest = self._latest(case)
        return latest is not None and latest <= self.now

    def _latest(self, case: "_Case") -> datetime | None:
        """From then on a wait of one more look is not safe (deadlines/guard.py); never before now."""
        if case.work is None:
            return None
        return self.now + max(timedelta(), case.left - case.work - case.restart - self.snapshot.settings.look_again)

    def _decided(
        self, case: "_Case", held: CapacityType | None, *, allowed: bool, struck: bool, in_time: bool
    ) -> tuple[Way | None, str]:
        if not in_time:
            return None, "the deadline has passed: it runs on as ordinary work"
        if case.work is None:
            return None, "neither an estimate nor progress tells how long it takes"
        if not self.snapshot.pool.spot or case.job.on_demand is OnDemand.ALWAYS:
            return None, "it runs on on-demand instances anyway"
        if held is CapacityType.SPOT:
            return Way.SPOT, "it runs on spot, which takes nothing of its slack"
        if not allowed:
            return Way.SPOT, "best effort: no on-demand instance may be bought for it"
        if struck:
            return Way.ON_DEMAND, "waiting longer for spot would not be in time"
        return self._asked(case, held)

    def _asked(self, case: "_Case", held: CapacityType | None) -> tuple[Way, str]:
        """The policy's choice. Where it would idle although there is spot, or give up on-demand that it has, the
        product does not: a job takes free room that suits it, and runs on until it has better."""
        from lambdas.domain.deadlines.game import IDLE, ON_DEMAND

        choice = self._choice(case, held)
        if held is CapacityType.ON_DEMAND:
            if choice in (IDLE, ON_DEMAND):
                return Way.ON_DEMAND, "going back to spot would not pay for the restart, or is not safe"
            return Way.SPOT, "spot can be had again, and pays for the restart"
        if choice == ON_DEMAND:
            return Way.ON_DEMAND, "by what the pool has seen of spot, waiting costs more than on-demand"
        return Way.SPOT, "spot can be had" if choice != IDLE else "waiting for spot is safe, and costs less"

    def _choice(self, case: "_Case", held: CapacityType | None) -> str:
        # Loaded here: 0.3 MB and 30 ms that only a job with a deadline pays for.
        from lambdas.domain.deadlines.game import IDLE, ON_DEMAND, Situation, Terms
        from lambdas.domain.deadlines.own import lowtide

        assert case.work is not None
        prices = self._spot_prices(case)
        terms = Terms(
            gap_s=_whole(self.snapshot.settings.look_again),
            work_s=_whole(case.work),
            deadline_s=_whole(case.left),
            restart_s=_whole(case.restart),
            on_demand_price=self._on_demand_price(case, prices),
        )
        now = Situation(
            tick=0,
            held=ON_DEMAND if held is CapacityType.ON_DEMAND else IDLE,
            work_s=terms.work_s,
            overhead_s=0,
            spot_prices=prices,
        )
        return lowtide(terms, {"": self.past} if self.past else {}).choose(now)

    def _spot_prices(self, case: "_Case") -> Mapping[str, float]:
        """USD per hour of the cheapest type that holds the job, in each zone where one may be asked for now."""
        prices: dict[str, float] = {}
        if self.spot is None or not self.spot.sells:
            return prices
        for each in self.spot.under(case.job.spot_max_price):
            if case.fits(each.facts):
                prices[each.zone] = min(_price(each), prices.get(each.zone, float("inf")))
        return prices

    def _on_demand_price(self, case: "_Case", prices: Mapping[str, float]) -> float:
        known = [each.on_demand_price for each in self.snapshot.pool.types if case.fits(each)]
        told = [float(each) for each in known if each is not None]
        return min(told, default=DEARER * max(prices.values(), default=1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    job: QueuedJob | Lease
    work: timedelta | None
    restart: timedelta
    left: timedelta
    """Until the deadline, less what is kept back."""

    def fits(self, facts: TypeFacts) -> bool:
        return load(self.job.slots, self.job.resources, facts) is not None


def _work(estimated: Decimal | None, kept: Kept, standing: Standing | None, *, to_the_save: bool) -> timedelta | None:
    ran, progress = kept.seconds or Decimal(0), kept.progress
    if standing is not None:
        since = standing.saved_seconds if to_the_save else standing.ran_seconds
        reached = standing.saved_progress if to_the_save else standing.progress
        ran, progress = ran + (since or 0), progress if reached is None else reached
    left = seconds_left(estimated, ran, progress)
    return None if left is None else timedelta(seconds=float(left))


def _restoring(kept: Kept) -> timedelta:
    known = kept.restoring_seconds
    return RESTORING if known is None else timedelta(seconds=float(known))


def _price(offering: Offering) -> float:
    if offering.market_price is not None:
        return float(offering.market_price)
    return float(offering.expected_price) / DEARER


def _whole(period: timedelta) -> int:
    return max(1, round(period.total_seconds()))


def told(verdict: Verdict) -> str:
    """`job train-7: 1h30m of work and 45m of slack until 2026-11-28 12:00:00 UTC: spot: waiting for …`."""
    until = f"until {verdict.deadline:%Y-%m-%d %H:%M:%S} UTC"
    way = f"{verdict.way}: {verdict.why}" if verdict.way else verdict.why
    if verdict.work_seconds is None or verdict.slack_seconds is None:
        return f"job {verdict.job_id}: {until}: {way}"
    work = format_duration(timedelta(seconds=verdict.work_seconds))
    slack = format_duration(timedelta(seconds=abs(verdict.slack_seconds)))
    spare = f"{slack} of slack" if verdict.slack_seconds >= 0 else f"{slack} too little time"
    return f"job {verdict.job_id}: {work} of work and {spare} {until}: {way}"


def by_urgency(found: Verdicts) -> Iterator[Verdict]:
    """The least slack first; those of unknown slack last, and of these the earliest deadline."""
    yield from sorted(found.values(), key=_urgency)


def _urgency(verdict: Verdict) -> tuple[bool, int, datetime, str]:
    slack = verdict.slack_seconds
    return slack is None, slack or 0, verdict.deadline, verdict.job_id
