"""One look at EC2 for all pools: what Describe lists against what is recorded. Changes are written, pools are rung.

Everything here may stop after any call and be done again: what is written once is no change the second time. Pages are
kept as they are done, so that a look at 10,000 instances goes on in the next tick where this one stopped.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from lambdas.adapters.clockwork import Clockwork, Progress, Taken
from lambdas.adapters.ec2 import Described, Ended, Page
from lambdas.adapters.observations import TOGETHER_MOST, Known, Observations
from lambdas.adapters.pool_config import Unreadable
from lambdas.control.doorbell import Doorbell
from lambdas.domain.fleet import observed
from lambdas.domain.fleet.fleet import Instance, InstanceState, Intention
from lambdas.domain.pools.pools import Pool
from lambdas.domain.settings import Settings

_log = logging.getLogger(__name__)

RESERVE = timedelta(seconds=10)
"""Time a tick keeps for what comes after the look: messages to pools, metrics, its lease. Some 2 s for 1,000 pools."""
TOGETHER_LEAST = 10
"""Instances from which on their records are written in one transaction: each costs twice as much there, and of a few
nobody notices the time."""
RESUMABLE = timedelta(minutes=10)
"""A look that began longer ago is begun anew: its pages say too little of now, and EC2 may not know its token."""


class Fleet(Protocol):
    """What is asked of EC2 (adapters/ec2.py)."""

    def pages(self, start: str | None = None) -> Iterator[Page]: ...
    def terminate(self, instance_ids: Sequence[str]) -> Ended: ...


class Pools(Protocol):
    """Where pools are looked up (adapters/pool_config.py)."""

    def pool(self, name: str) -> Pool | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """What a look needs."""

    observations: Observations
    clockwork: Clockwork
    ec2: Fleet
    pools: Pools
    doorbell: Doorbell
    settings: Settings
    now: Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a look came to."""

    complete: bool
    """False: time ran out; `progress` says where to go on."""
    progress: Progress
    missing: frozenset[str]
    """Recorded instances that a complete look did not list and that are not gone (yet)."""
    changed: int
    """Records written, adopted ones included."""
    adopted: tuple[str, ...]
    orphans: tuple[str, ...]
    """Instances of the stack whose pool does not exist; EC2 was asked to end them."""
    interrupted: tuple[str, ...]
    """The pool of each spot instance that this look first saw interrupted."""


def observe(
    eyes: Eyes, taken: Taken, fleet: Mapping[str, Known], cause: str, time_left: Callable[[], timedelta]
) -> Seen:
    """Look at EC2 until the last page, or until only RESERVE is left. Raises Unavailable when EC2 or the table fails.

    `fleet` was read after the lease was taken and before this call. Pools whose records changed are rung page by page;
    after a tick that did not come to its end, every pool with instances is."""
    progress = _begin(eyes, taken)
    look = _Look(eyes=eyes, cause=cause, started_at=progress.started_at, fleet=dict(fleet))
    if taken.unfinished:
        look.ring({known.pool for known in fleet.values()}, "again")
    look.apply_warnings()
    for page in eyes.ec2.pages(progress.next_token):
        if not look.compare(page.instances, time_left):
            return look.result(progress, complete=False)
        progress = _turned(progress, page)
        look.ring(look.take_changed(), progress.pages)
        if page.next_token is None:
            break
        kept = eyes.clockwork.keep_page(taken.holder, progress, _ids(page))
        if not kept or time_left() < RESERVE:
            return look.result(progress, complete=False)
    look.close(progress, taken.memory.missing)
    eyes.clockwork.put_observation(progress, completed_at=eyes.now(), missing=len(look.missing))
    eyes.clockwork.drop_pages(progress)
    return look.result(progress, complete=True)


def _begin(eyes: Eyes, taken: Taken) -> Progress:
    now, observing = eyes.now(), taken.memory.observing
    if observing is not None and now - observing < RESUMABLE:
        progress = eyes.clockwork.resume(observing)
        if progress.pages:
            return progress
    return Progress(started_at=now)


def _turned(progress: Progress, page: Page) -> Progress:
    return replace(progress, pages=progress.pages + 1, next_token=page.next_token, seen=progress.seen | _ids(page))


def _ids(page: Page) -> frozenset[str]:
    return frozenset(instance.instance_id for instance in page.instances)


@dataclass(slots=True, kw_only=True)
class _Look:
    """A look under way: what it found so far."""

    eyes: Eyes
    cause: str
    started_at: datetime
    fleet: dict[str, Known]
    missing: set[str] = field(default_factory=set[str])
    warnings: dict[str, datetime] = field(init=False)
    changed: int = 0
    adopted: list[str] = field(default_factory=list[str])
    orphans: list[str] = field(default_factory=list[str])
    interrupted: list[str] = field(default_factory=list[str])
    _to_ring: set[str] = field(default_factory=set[str])
    _pools: dict[str, Pool | None] = field(default_factory=dict[str, Pool | None])
    _intentions: dict[tuple[str, str], Intention | None] = field(
        default_factory=dict[tuple[str, str], Intention | None]
    )

    def __post_init__(self) -> None:
        self.warnings = self.eyes.observations.warnings(since=self.started_at - self.eyes.settings.warning_memory)

    def apply_warnings(self) -> None:
        """Warnings that came before their instances were recorded."""
        for instance_id in self.warnings.keys() & self.fleet.keys():
            known, ends_at = self.fleet[instance_id], self.warnings[instance_id]
            if self.eyes.observations.announce_end(known, ends_at, why=observed.INTERRUPTED, now=self.eyes.now()):
                self._note(known.pool)
                self.interrupted.append(known.pool)
            self.eyes.observations.drop_warning(instance_id)

    def compare(self, listed: Sequence[Described], time_left: Callable[[], timedelta]) -> bool:
        """Record what differs; False: time ran out before the page's end, and its pools were rung."""
        orphans: list[str] = []
        for instance in self._recorded_together(listed, time_left):
            if self._to_ring and time_left() < RESERVE:
                self.ring(self.take_changed(), "part")
                return False
            known = self.fleet.get(instance.instance_id)
            if known is not None:
                self._record(known, instance.state, _end_reason(instance))
            elif instance.state not in observed.ENDING and not self._adopt(instance):
                orphans.append(instance.instance_id)
        self._end_orphans(orphans)
        return True

    def _recorded_together(self, listed: Sequence[Described], time_left: Callable[[], timedelta]) -> list[Described]:
        """Of a large fleet that is seen for the first time, record whole batches at a time; what is left to be looked
        at one by one."""
        left = list(listed)
        for state, alike in self._living(listed).items():
            for start in range(0, len(alike), TOGETHER_MOST):
                batch = alike[start : start + TOGETHER_MOST]
                if len(batch) < TOGETHER_LEAST or time_left() < RESERVE:
                    continue
                if self.eyes.observations.record_living(batch, state, at=self.started_at):
                    for known in batch:
                        self._note(known.pool)
                    done = {known.instance_id for known in batch}
                    left = [each for each in left if each.instance_id not in done]
        return left

    def _living(self, listed: Sequence[Described]) -> Mapping[str, list[Known]]:
        """The recorded instances that live in a state which is news, by that state."""
        found: dict[str, list[Known]] = {}
        for each in listed:
            known = self.fleet.get(each.instance_id)
            if known is None or each.state in observed.LOST or not observed.changes(known.observed_state, each.state):
                continue
            found.setdefault(each.state, []).append(known)
        return found

    def close(self, progress: Progress, missed_before: frozenset[str]) -> None:
        """What only a complete look can say: which instances are gone, which intentions brought nothing more."""
        grace = self.eyes.settings.unseen_grace
        for known in self.fleet.values():
            if known.instance_id in progress.seen or known.observed_state == observed.GONE:
                continue
            gone = observed.is_gone(
                known.observed_state,
                known.launched_at,
                started_at=self.started_at,
                missed_before=known.instance_id in missed_before,
                grace=grace,
            )
            if gone:
                self._record(known, observed.GONE)
            else:
                self.missing.add(known.instance_id)
        before = self.started_at - self.eyes.settings.observation_margin
        self._to_ring.update(self.eyes.observations.count_clean(started_at=self.started_at, before=before))
        self.ring(self.take_changed(), "end")

    def _record(self, known: Known, state: str, reason: str | None = None) -> None:
        if not observed.changes(known.observed_state, state):
            self._correct(known, state, reason)
            return
        written = self.eyes.observations.record_state(
            known, state, at=self.started_at, now=self.eyes.now(), reason=reason
        )
        if written is None:
            return
        self._note(known.pool)
        if observed.was_interrupted(written.instance, was_draining=written.was_draining):
            self.interrupted.append(known.pool)

    def _correct(self, known: Known, state: str, reason: str | None) -> None:
        """An end that an event told of first is nobody's yet, and taken for EC2's. That it was not lets the pass buy
        there again, and forget the record: so this is asked for once or twice, not in every look."""
        if reason is None or not observed.names_reason(known.observed_state, state, reason):
            return
        if self.eyes.observations.record_reason(known, reason) is not None:
            self._note(known.pool)

    def _adopt(self, found: Described) -> bool:
        """Record an instance of ours that nobody recorded; False: its pool does not exist.

        One whose pool's record cannot be read is left alone, and delays no other pool's (law 8)."""
        try:
            pool = self._pool(found.pool)
        except Unreadable as error:  # neither adopted nor ended: a later look finds it again
            _log.error("left unadopted", extra={"instance_id": found.instance_id, "error": str(error)})
            return True
        if pool is None:
            return False
        intention = self._intention(pool.name, found.decision)
        instance = _adopted(found, pool, intention, self.warnings.get(found.instance_id), self.started_at)
        if self.eyes.observations.adopt(instance, intention):
            _log.info("adopted", extra={"instance_id": found.instance_id, "pool": pool.name, "state": instance.state})
            self.adopted.append(found.instance_id)
            self._note(pool.name)
            if instance.ends_at is not None:
                self.interrupted.append(pool.name)
                self.eyes.observations.drop_warning(found.instance_id)
        return True

    def _pool(self, name: str | None) -> Pool | None:
        if name is None:
            return None
        if name not in self._pools:
            self._pools[name] = self.eyes.pools.pool(name)
        return self._pools[name]

    def _intention(self, pool: str, decision: str | None) -> Intention | None:
        """As it was when it was first asked for; adoption finds out when it has been closed since."""
        if decision is None:
            return None
        if (pool, decision) not in self._intentions:
            self._intentions[pool, decision] = self.eyes.observations.intention(pool, decision)
        return self._intentions[pool, decision]

    def _end_orphans(self, instance_ids: list[str]) -> None:
        """End what carries our tag and belongs to no pool. It holds no lease: only recorded instances are given jobs.
        Asked for in every look until EC2 reports their end."""
        if not instance_ids:
            return
        ended = self.eyes.ec2.terminate(instance_ids)
        self.orphans.extend(instance_ids)
        _log.warning(
            "ended instances of pools that do not exist",
            extra={"instance_ids": instance_ids, "failures": [failure.code for failure in ended.failures]},
        )

    def _note(self, pool: str) -> None:
        self.changed += 1
        self._to_ring.add(pool)

    def take_changed(self) -> set[str]:
        """The pools that changed since this was last asked."""
        changed, self._to_ring = self._to_ring, set()
        return changed

    def ring(self, pools: Iterable[str], place: int | str) -> None:
        """The first page rings as the tick itself, so that a pool which is due as well gets one message, not two."""
        cause = self.cause if place == 1 else f"{self.cause}/{place}"
        for pool in sorted(pools):
            self.eyes.doorbell.ring(pool, cause)

    def result(self, progress: Progress, *, complete: bool) -> Seen:
        return Seen(
            complete=complete,
            progress=progress,
            missing=frozenset(self.missing),
            changed=self.changed,
            adopted=tuple(self.adopted),
            orphans=tuple(self.orphans),
            interrupted=tuple(self.interrupted),
        )


def _adopted(
    found: Described, pool: Pool, intention: Intention | None, ends_at: datetime | None, started_at: datetime
) -> Instance:
    """The record of an instance found by its tag. One of no use to its pool, or that EC2 ends, drains at once."""
    facts = pool.facts(found.instance_type)
    drains = _why_drained(found, useful=facts is not None, warned=ends_at is not None)
    return Instance(
        instance_id=found.instance_id,
        pool=pool.name,
        decision=found.decision or "",
        state=InstanceState.LAUNCHING if drains is None else InstanceState.DRAINING,
        capacity_type=found.capacity_type,
        instance_type=found.instance_type,
        zone=found.zone,
        slots=0 if facts is None else facts.slots,
        launched_at=found.launched_at,
        price_limit=None if intention is None else _price_limit(intention, found),
        draining_since=None if drains is None else started_at,
        drain_reason=drains,
        ends_at=ends_at,
        observed_state=found.state,
        observed_at=started_at,
        state_reason=_end_reason(found),
    )


def _end_reason(found: Described) -> str | None:
    """EC2's code for why it ended; one that lives may have a reason for something else."""
    return found.state_reason if found.state in observed.ENDING else None


def _why_drained(found: Described, *, useful: bool, warned: bool) -> str | None:
    if warned:
        return observed.INTERRUPTED
    if found.state in observed.LOST:
        return observed.reported(found.state)
    return None if useful else f"the pool does not use {found.instance_type}"


def _price_limit(intention: Intention, found: Described) -> Decimal | None:
    offering = (found.instance_type, found.zone)
    return next((o.max_price for o in intention.request.overrides if (o.instance_type, o.zone) == offering), None)
