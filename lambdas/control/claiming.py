"""Which waiting jobs an instance gets: in rank order, those that fit, and no dance of a hundred workers on one job."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from random import Random

from lambdas.adapters.items import queued_from
from lambdas.adapters.job_queue import ranked_entries
from lambdas.adapters.leases import GRANT_INSTANCE, Granted, Leases
from lambdas.adapters.table import Conflict, Table
from lambdas.adapters.workers import Seat
from lambdas.control.worker_calls import Claim
from lambdas.domain.fit import slots_taken
from lambdas.domain.fleet import InstanceState, Lease
from lambdas.domain.jobs import QueuedJob
from lambdas.domain.pools import TypeFacts
from lambdas.domain.terms import market_of

LOOK = 400
"""Queue entries one claim looks at: some 120 KB. A job further down waits until those before it are gone."""
RACES_MOST = 8
"""Jobs one claim may lose to others before it gives up; the worker asks again at once."""
LEAP = 16
"""After a lost race the next try is up to so many jobs further down: workers that came together part ways."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    granted: tuple[Granted, ...]
    raced: bool
    """Others were quicker with a job that would have fitted: asking again at once is worth it."""


@dataclass(slots=True)
class _Room:
    slots: int
    aux: int

    def takes(self, slots: int) -> bool:
        return self.aux > 0 if slots == 0 else slots <= self.slots

    def take(self, slots: int) -> None:
        if slots == 0:
            self.aux -= 1
        else:
            self.slots -= slots


class Claims:
    def __init__(self, table: Table, leases: Leases, random: Random) -> None:
        self._table = table
        self._leases = leases
        self._random = random

    def claim(self, seat: Seat, asked: Claim, now: datetime) -> Claimed:
        """The leases of this request: those it was given before, else new ones."""
        if repeated := self._given(seat, asked.request_id):
            return Claimed(granted=tuple(self._leases.details(repeated)), raced=False)
        facts = seat.pool.facts(seat.instance.instance_type)
        if facts is None or not _may_claim(seat):
            return Claimed(granted=(), raced=False)
        return self._new(seat, facts, asked, now)

    def _given(self, seat: Seat, request_id: str) -> list[Lease]:
        if not seat.leases:
            return []
        held = self._leases.of(seat.pool.name, seat.instance.instance_id)
        return [lease for lease in held if lease.request_id == request_id]

    def _new(self, seat: Seat, facts: TypeFacts, asked: Claim, now: datetime) -> Claimed:
        room = _room(seat, asked)
        waiting = self._fitting(seat, facts, room)
        near = deque(islice(waiting, LEAP))
        granted: list[Granted] = []
        races = 0
        while near and len(granted) < asked.most and races < RACES_MOST:
            job, slots = near.popleft()
            near.extend(islice(waiting, 1))
            if not room.takes(slots):
                continue
            try:
                won = self._grant(seat, job, slots, asked.request_id, now)
            except _SeatTaken:
                break
            if won is None:
                races += 1
                near.rotate(-self._random.randrange(LEAP))
                continue
            room.take(slots)
            granted.append(won)
        return Claimed(granted=tuple(granted), raced=races > 0)

    def _fitting(self, seat: Seat, facts: TypeFacts, room: _Room) -> Iterator[tuple[QueuedJob, int]]:
        """In rank order, what the instance has room for and what may run on one of its lifecycle and price limit;
        behind the job that it is kept for, auxiliary jobs alone."""
        if room.slots <= 0 and room.aux <= 0:
            return
        market = market_of(seat.instance.capacity_type, seat.instance.price_limit, facts)
        behind = False
        for job in map(queued_from, islice(ranked_entries(self._table, seat.pool.name), LOOK)):
            slots = slots_taken(job.slots, job.resources, facts)
            if slots is not None and room.takes(slots) and job.terms.accept(market) and not (behind and slots):
                yield job, slots
            behind = behind or job.job_id == seat.instance.kept_for

    def _grant(self, seat: Seat, entry: QueuedJob, slots: int, request_id: str, now: datetime) -> Granted | None:
        """None: somebody else was quicker."""
        if (found := self._leases.waiting(entry.job_id)) is None:
            return None
        job, spec = found
        most_aux = seat.pool.max_aux_containers_per_agent
        try:
            lease, running = self._leases.grant(
                job, seat.instance, slots=slots, most_aux=most_aux, request_id=request_id, now=now
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


def _room(seat: Seat, asked: Claim) -> _Room:
    """What the worker says is free, never more than the table says."""
    return _Room(
        slots=min(asked.free_slots, seat.instance.slots - seat.used_slots),
        aux=min(asked.free_aux_slots, seat.pool.max_aux_containers_per_agent - seat.used_aux),
    )
