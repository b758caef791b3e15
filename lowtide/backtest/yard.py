"""One pool's instances, leases and queue while a backtest plays: what the table holds of a pool, in memory.

Facts and their bookkeeping only. What is launched and ended is decided elsewhere (control.py, rules.py), who gets which
job by the rules of claims: `domain/jobs/fit` says what fits, `domain/jobs/terms` what may run where, rank says who is
first.
"""

from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice

from lambdas.domain.buying.bills import charged_slots
from lambdas.domain.fleet.fleet import Instance, InstanceState, Lease, facts_of
from lambdas.domain.jobs.fit import Part, Used, least_share, part_of, used_by, whole
from lambdas.domain.jobs.jobs import QueuedJob
from lambdas.domain.jobs.terms import market_of
from lambdas.domain.pools.pools import CapacityType, Pool, TypeFacts
from lowtide.backtest.jobs import Job, leased, queued, told

LOOK = 400
"""Queue entries that one claim looks at, as in lambdas/control/claiming.py."""
HEAD_LEAST = 200
"""Queue entries that a pass reads even where the pool cannot grow, as in lambdas/adapters/pool_table.py."""

Rank = tuple[int, datetime, str]


@dataclass(slots=True)
class Running:
    """One attempt."""

    lease: Lease
    part: Part
    begun_at: datetime
    """When its own work begins: a restart after the claim where something is to be fetched again."""
    ends_at: datetime

    def ran(self, now: datetime) -> timedelta:
        return max(timedelta(0), now - self.begun_at)

    def saved(self, now: datetime, period: timedelta | None) -> timedelta:
        """Of what it ran: its last whole period of checkpoints; None: it saves nothing."""
        return timedelta(0) if period is None else self.ran(now) // period * period


@dataclass(slots=True)
class Progress:
    """What became of a job so far."""

    job: Job
    saved: timedelta = timedelta(0)
    """Work that its last checkpoint holds."""
    redone: timedelta = timedelta(0)
    """Work that interruptions threw away."""
    interruptions: int = 0
    fence: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    waited: timedelta = timedelta(0)
    """In the queue, over all its attempts."""


@dataclass(slots=True, kw_only=True)
class Terms:
    """How instances of this pool are used, whoever decides about them."""

    one_job_each: bool = False
    """An instance takes no second job beside the one that it has, whatever room it has."""
    once: bool = False
    """An instance takes one job in its life."""
    at_once: bool = False
    """Its workers are told of a job; False: they ask, the less often the longer they have had nothing to do."""


@dataclass(slots=True, kw_only=True)
class Yard:
    pool: Pool
    terms: Terms = field(default_factory=Terms)
    checkpoint: timedelta | None = None
    """How often jobs save; None: never."""
    instances: dict[str, Instance] = field(default_factory=dict[str, Instance])
    running: dict[str, dict[str, Running]] = field(default_factory=dict[str, dict[str, Running]])
    """By instance, then by job; an instance without jobs has no entry."""
    used_up: set[str] = field(default_factory=set[str])
    """Instances that have had the one job of their life."""
    turned_at: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """When each last took or ended a job, or its worker first called."""
    spent: set[str] = field(default_factory=set[str])
    """Instances that have room for auxiliary jobs alone."""
    _auxiliary: int = 0
    """Auxiliary jobs in the queue."""
    _queue: list[tuple[Rank, QueuedJob]] = field(default_factory=list[tuple[Rank, QueuedJob]])
    _counted: dict[object, float] = field(default_factory=dict[object, float])

    # --- the queue ----------------------------------------------------------------------------------------------------

    def enqueue(self, progress: Progress, now: datetime) -> None:
        entry = queued(progress.job, now, interruptions=progress.interruptions, saved=progress.saved)
        insort(self._queue, (_rank(entry), entry), key=lambda each: each[0])
        self._auxiliary += _is_auxiliary(entry)

    def dequeue(self, job_id: str) -> QueuedJob | None:
        found = next((n for n, (_, entry) in enumerate(self._queue) if entry.job_id == job_id), None)
        if found is None:
            return None
        entry = self._queue.pop(found)[1]
        self._auxiliary -= _is_auxiliary(entry)
        return entry

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def queue(self) -> Iterator[QueuedJob]:
        """In rank order."""
        return (entry for _, entry in self._queue)

    def head(self, room: float) -> tuple[tuple[QueuedJob, ...], bool]:
        """What a pass reads of the queue: until `room` slots are filled, and at least HEAD_LEAST; whether it is all."""
        needed, taken = 0.0, 0
        for _, entry in self._queue:
            if needed > room and taken >= HEAD_LEAST:
                break
            taken += 1
            needed += self._slots_of(entry)
        return tuple(entry for _, entry in islice(self._queue, taken)), taken == len(self._queue)

    def _slots_of(self, entry: QueuedJob) -> float:
        """What it counts as, in slots of the pool's largest type; a hundredth of an instance at least."""
        key = entry.slots, entry.resources
        if key not in self._counted:
            most = max(1, max((facts.slots for facts in self.pool.types), default=1))
            if entry.resources is None:
                counted = entry.slots or most / max(1, self.pool.max_aux_containers_per_agent)
            else:
                share = least_share(entry.resources, self.pool)
                counted = 1 if share is None else most * max(float(share), 0.01)
            self._counted[key] = counted
        return self._counted[key]

    # --- instances ----------------------------------------------------------------------------------------------------

    def busy(self, instance_id: str) -> bool:
        return instance_id in self.running

    def change(self, instance_id: str, **values: object) -> None:
        self.instances[instance_id] = replace(self.instances[instance_id], **values)  # type: ignore[arg-type]

    def alive(self) -> list[Instance]:
        """Those that nobody has asked to end."""
        return [each for each in self.instances.values() if each.termination_requested_at is None and not _over(each)]

    def leases(self, now: datetime) -> tuple[Lease, ...]:
        """Those of jobs with a deadline with what their workers tell of them."""
        return tuple(self._told(each, now) for jobs in self.running.values() for each in jobs.values())

    def _told(self, attempt: Running, now: datetime) -> Lease:
        if attempt.lease.deadline is None:
            return attempt.lease
        return told(attempt.lease, attempt.ran(now), attempt.saved(now, self.checkpoint))

    def in_time(self) -> bool:
        """Whether a job with a deadline waits, or runs on on-demand where spot may do."""
        if any(entry.deadline is not None for _, entry in self._queue):
            return True
        return self.pool.spot and any(
            self.instances[name].capacity_type is CapacityType.ON_DEMAND
            and any(each.lease.deadline is not None for each in jobs.values())
            for name, jobs in self.running.items()
        )

    def drain(self, instance_id: str, why: str, now: datetime) -> None:
        if self.instances[instance_id].state is not InstanceState.DRAINING:
            self.change(instance_id, state=InstanceState.DRAINING, draining_since=now, drain_reason=why)

    # --- claims -------------------------------------------------------------------------------------------------------

    def claimable(self, instance: Instance) -> TypeFacts | None:
        """The facts of an instance that may be given jobs now; None: it may not."""
        name = instance.instance_id
        if instance.state is not InstanceState.RUNNING or self.pool.paused or name in self.used_up:
            return None
        if (name in self.spent and not self._auxiliary) or (self.terms.one_job_each and self.busy(name)):
            return None
        return facts_of(instance, self.pool)

    def claim(self, instance_id: str) -> list[tuple[QueuedJob, Part]]:
        """What the instance would be given now, in rank order: what fits beside what it has and may run there; behind
        the job that it is kept for, auxiliary jobs alone, and before all others one with a deadline that it is kept
        for."""
        instance = self.instances[instance_id]
        if not self._queue or (facts := self.claimable(instance)) is None:
            return []
        market = market_of(instance.capacity_type, instance.price_limit, facts)
        used = self.used(instance_id)
        found: list[tuple[QueuedJob, Part]] = []
        first = self._kept_in_time(instance)
        behind = False
        for entry in [*first, *(entry for _, entry in islice(self._queue, LOOK) if entry not in first)]:
            part = part_of(entry.slots, entry.resources, facts, in_slots=False)
            if part and entry.terms.accept(market) and not (behind and not part.auxiliary):
                if self._takes(used, part, facts):
                    found.append((entry, part))
                    used = used.with_(part)
                    if self.terms.one_job_each:
                        break
                elif _is_spent(used, facts) and used.aux >= self.pool.max_aux_containers_per_agent:
                    break
            given = bool(found) and found[-1][0] is entry
            behind = behind or (entry.job_id == instance.kept_for and not (first and given))
        return found

    def _kept_in_time(self, instance: Instance) -> list[QueuedJob]:
        waiting = (entry for _, entry in self._queue if entry.job_id == instance.kept_for)
        return [entry for entry in waiting if entry.deadline is not None]

    def used(self, instance_id: str) -> Used:
        return used_by(each.part for each in self.running.get(instance_id, {}).values())

    def _takes(self, used: Used, part: Part, facts: TypeFacts) -> bool:
        if part.auxiliary:
            return used.aux < self.pool.max_aux_containers_per_agent
        return used.with_(part).load(facts).within(whole(facts))

    def begin(
        self, entry: QueuedJob, part: Part, instance_id: str, progress: Progress, now: datetime, restart: timedelta
    ) -> Running:
        """The job has its lease, and begins to work `restart` later."""
        self.dequeue(entry.job_id)
        progress.fence += 1
        progress.waited += now - entry.queued_at
        progress.started_at = progress.started_at or now
        values = {
            **{"pool": self.pool.name, "instance_id": instance_id, "fence": progress.fence, "slots": part.slots},
            **{"claimed_at": now, "request_id": "", "renewed_at": now, "interruptions": entry.interruptions},
            **{"resources": part.resources, "share": part.share},
        }
        begun = now + restart
        lease = leased(progress.job, progress.saved, values)
        attempt = Running(lease=lease, part=part, begun_at=begun, ends_at=begun + progress.job.work - progress.saved)
        self.running.setdefault(instance_id, {})[entry.job_id] = attempt
        self.change(instance_id, idle_since=None)
        self.turned_at[instance_id] = now
        if self.terms.once:
            self.used_up.add(instance_id)
        facts = facts_of(self.instances[instance_id], self.pool)
        if facts is not None and _is_spent(self.used(instance_id), facts):
            self.spent.add(instance_id)
        return attempt

    def end(self, instance_id: str, job_id: str, now: datetime) -> Running:
        """The lease ends; an instance without another is idle from now on."""
        held = self.running[instance_id]
        attempt = held.pop(job_id)
        self.spent.discard(instance_id)
        self.turned_at[instance_id] = now
        if not held:
            del self.running[instance_id]
            self.change(instance_id, idle_since=now)
        return attempt

    def share(self, instance_id: str, attempts: Sequence[Running]) -> float:
        """The part of the instance that its attempts are charged together, at most all of it."""
        slots = self.instances[instance_id].slots
        taken = float(sum(charged_slots(each.lease, slots) for each in attempts)) / slots if slots else 1.0
        return min(1.0, taken)


def _rank(entry: QueuedJob) -> Rank:
    return -entry.priority, entry.submitted_at, entry.job_id


def _over(instance: Instance) -> bool:
    return instance.observed_state in ("terminated", "gone")


def _is_auxiliary(entry: QueuedJob) -> bool:
    return entry.slots == 0 and entry.resources is None


def _is_spent(used: Used, facts: TypeFacts) -> bool:
    """Nothing that takes anything fits any more."""
    taken, room = used.load(facts), whole(facts)
    return taken.vcpus >= room.vcpus or taken.memory >= room.memory > 0
