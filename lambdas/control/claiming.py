"""Which waiting jobs an instance gets: in rank order, those that fit, and no dance of a hundred workers on one job."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from random import Random
from typing import Any

from lambdas.adapters.items import queued_from
from lambdas.adapters.job_items import queued
from lambdas.adapters.job_queue import ranked_entries
from lambdas.adapters.leases import GRANT_INSTANCE, Granted, Leases
from lambdas.adapters.table import Conflict, Table
from lambdas.adapters.workers import Seat
from lambdas.control.worker_calls import Claim
from lambdas.domain.fleet.fleet import InstanceState, Lease, facts_of
from lambdas.domain.jobs.fit import Part, Used, free_beside, part_of, whole
from lambdas.domain.jobs.jobs import QueuedJob, Resources
from lambdas.domain.jobs.terms import market_of
from lambdas.domain.pools.pools import TypeFacts

LOOK = 400
"""Queue entries one claim looks at: some 120 KB. A job further down waits until those before it are gone."""
RACES_MOST = 8
"""Jobs one claim may lose to others before it gives up; the worker asks again at once."""
LEAP = 16
"""After a lost race the next try is up to so many jobs further down, then up to twice as many, and so on: workers that
came together part ways, however many they are."""
LEAP_MOST = 128
"""Where doubling ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    granted: tuple[Granted, ...]
    raced: bool
    """Others were quicker with a job that would have fitted: asking again at once is worth it."""
    spent: bool = False
    """Until one of its jobs ends, and then it asks anyway, the instance takes auxiliary jobs at most."""


@dataclass(slots=True, kw_only=True)
class _Room:
    """What is free of an instance, by the table and by its worker: the less of both."""

    facts: TypeFacts
    used: Used
    """By the table: what the next grant is made beside."""
    running: Used
    """By the worker."""
    free_slots: int | None
    """For a worker that counts slots alone; None: any other."""
    free_aux: int
    _judged: dict[tuple[int, Resources | None], Part | None] = field(default_factory=dict[Any, Part | None])
    """What is known of jobs of one size as things stand: most of a queue's jobs are of few."""

    def part(self, job: QueuedJob) -> Part | None:
        """What the job would take; None: there is no room for it."""
        size = job.slots, job.resources
        if size not in self._judged:
            part = part_of(*size, self.facts, in_slots=self.free_slots is not None)
            self._judged[size] = part if part and self.takes(part) else None
        return self._judged[size]

    def takes(self, part: Part) -> bool:
        if part.auxiliary:
            return self.free_aux > 0
        if self.free_slots is not None and part.slots > self.free_slots:
            return False
        return all(each.with_(part).load(self.facts).within(whole(self.facts)) for each in (self.used, self.running))

    @property
    def spent(self) -> bool:
        """No job but an auxiliary one fits any more, were it ever so small."""
        rooms = [free_beside(each.load(self.facts), self.facts) for each in (self.used, self.running)]
        return self.free_slots == 0 or any(each.vcpus == 0 or each.memory == 0 for each in rooms)

    @property
    def full(self) -> bool:
        return self.spent and self.free_aux <= 0

    def take(self, part: Part) -> None:
        self._judged.clear()
        self.used, self.running = self.used.with_(part), self.running.with_(part)
        self.free_aux -= part.auxiliary
        if self.free_slots is not None:
            self.free_slots -= part.slots


class _Walk:
    """The way of one claim down the queue. No further is read than it has come."""

    def __init__(self, fitting: Iterator[tuple[QueuedJob, Part]], random: Random) -> None:
        self._ahead = fitting
        self._random = random
        self._near: deque[tuple[QueuedJob, Part]] = deque()
        self._leap = LEAP

    def step(self) -> tuple[QueuedJob, Part] | None:
        """The next job; None: there is none left that fits."""
        return self._near.popleft() if self._near else next(self._ahead, None)

    def leap(self) -> None:
        """Goes on further down by chance. What is leapt over comes behind what lies as near."""
        self._near.extend(islice(self._ahead, self._leap - len(self._near)))
        self._near.rotate(-self._random.randrange(self._leap))
        self._leap = min(2 * self._leap, LEAP_MOST)


class Claims:
    def __init__(self, table: Table, leases: Leases, random: Random) -> None:
        self._table = table
        self._leases = leases
        self._random = random

    def claim(self, seat: Seat, asked: Claim, now: datetime) -> Claimed:
        """The leases of this request: those it was given before, else new ones."""
        if repeated := self._given(seat, asked.request_id):
            return Claimed(granted=tuple(self._leases.details(repeated)), raced=False)
        facts = facts_of(seat.instance, seat.pool)
        if facts is None or not _may_claim(seat):
            return Claimed(granted=(), raced=False)
        return self._new(seat, _room(seat, facts, asked), asked, now)

    def _given(self, seat: Seat, request_id: str) -> list[Lease]:
        if not seat.leases:
            return []
        held = self._leases.of(seat.pool.name, seat.instance.instance_id)
        return [lease for lease in held if lease.request_id == request_id]

    def _new(self, seat: Seat, room: _Room, asked: Claim, now: datetime) -> Claimed:
        walk = _Walk(self._fitting(seat, room), self._random)
        granted: list[Granted] = []
        races = 0
        while len(granted) < asked.most and races < RACES_MOST and (step := walk.step()) is not None:
            job, part = step
            if not room.takes(part):
                continue
            try:
                won = self._grant(seat, job, part, room.used, asked.request_id, now)
            except _SeatTaken:
                break
            if won is None:
                races += 1
                walk.leap()
                continue
            room.take(part)
            granted.append(won)
        return Claimed(granted=tuple(granted), raced=races > 0, spent=room.spent)

    def _fitting(self, seat: Seat, room: _Room) -> Iterator[tuple[QueuedJob, Part]]:
        """In rank order, what the instance has room for and what may run on one of its lifecycle and price limit;
        behind the job that it is kept for, auxiliary jobs alone. One with a deadline that it is kept for comes first,
        however far down the queue it stands, and all others are behind it until it fits."""
        if room.full:
            return
        market = market_of(seat.instance.capacity_type, seat.instance.price_limit, room.facts)
        first = self._kept_in_time(seat)
        part = room.part(first) if first else None
        fits = bool(first and part and first.terms.accept(market))
        if first and part and fits:
            yield first, part
        behind = first is not None and not fits
        for job in map(queued_from, islice(ranked_entries(self._table, seat.pool.name, first=LEAP), LOOK)):
            if first is not None and job.job_id == first.job_id:
                continue
            part = room.part(job)
            if part and job.terms.accept(market) and not (behind and not part.auxiliary):
                yield job, part
            behind = behind or job.job_id == seat.instance.kept_for

    def _kept_in_time(self, seat: Seat) -> QueuedJob | None:
        """The waiting job with a deadline that the instance is kept for."""
        found = self._leases.waiting(seat.instance.kept_for) if seat.instance.kept_for else None
        return queued(found[0]) if found and found[0].deadline is not None else None

    def _grant(
        self, seat: Seat, entry: QueuedJob, part: Part, beside: Used, request_id: str, now: datetime
    ) -> Granted | None:
        """None: somebody else was quicker."""
        if (found := self._leases.waiting(entry.job_id)) is None:
            return None
        job, spec = found
        most_aux = seat.pool.max_aux_containers_per_agent
        try:
            lease, running = self._leases.grant(
                job, seat.instance, part=part, beside=beside, most_aux=most_aux, request_id=request_id, now=now
            )
        except Conflict as conflict:
            if conflict.failed(GRANT_INSTANCE) and not conflict.contended:
                raise _SeatTaken from conflict
            return None
        return Granted(lease=lease, job=running, spec=spec)


class _SeatTaken(Exception):
    """The instance began to drain or filled up since it was read."""


def _may_claim(seat: Seat) -> bool:
    paused = seat.pool.paused or seat.pool.deleted
    return not paused and seat.instance.state != InstanceState.DRAINING


def _room(seat: Seat, facts: TypeFacts, asked: Claim) -> _Room:
    return _Room(
        facts=facts,
        used=seat.used,
        running=asked.running or Used(),
        free_slots=asked.free_slots if asked.running is None else None,
        free_aux=min(asked.free_aux_slots, seat.pool.max_aux_containers_per_agent - seat.used.aux),
    )
