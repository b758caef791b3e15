"""The table as the laws read it: taken whole at one instant, or followed from write to write.

Following costs what was written, not what there is: a simulation holds every step against the laws.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from typing import Any

from lambdas.adapters import items, job_items, keys
from lambdas.adapters.attributes import decode
from lambdas.adapters.pool_config import Unreadable, pool_from
from lambdas.adapters.table import Item
from lambdas.domain.fleet.fleet import Intention, Lease
from lambdas.domain.jobs.job_record import Attempt, JobRecord
from lambdas.domain.pools.pools import Pool
from lowtide.sim.world import World


@dataclass
class Touched:
    """What a law may have to be asked about anew."""

    jobs: set[str] = field(default_factory=set[str])
    instances: set[str] = field(default_factory=set[str])
    pools: set[str] = field(default_factory=set[str])
    leases: list[Lease] = field(default_factory=list[Lease])
    """New ones."""
    ended: list[JobRecord] = field(default_factory=list[JobRecord])
    """Jobs that have come to their end."""


@dataclass(frozen=True, slots=True)
class Version:
    """A pool as it was applied."""

    since: datetime
    pool: Pool


class Ledger:
    """Made, it is what the table holds now; `follow` keeps it so from then on, at each `catch_up`."""

    def __init__(self, world: World) -> None:
        self.jobs: dict[str, JobRecord] = {}
        self.waiting: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        """The queue's entries by job."""
        self.leases_of: defaultdict[str, dict[str, Lease]] = defaultdict(dict)
        """By job, then by instance."""
        self.leases_on: defaultdict[str, dict[str, Lease]] = defaultdict(dict)
        """By instance, then by job."""
        self.instances: dict[str, Item] = {}
        self.intentions: dict[tuple[str, str], Intention] = {}
        self.parked: dict[str, Item] = {}
        self.states: dict[str, Item] = {}
        self.attempts: defaultdict[str, dict[int, Attempt]] = defaultdict(dict)
        self.versions: defaultdict[str, list[Version]] = defaultdict(list)
        """Every version of a pool that was seen, oldest first. A record that cannot be read is none."""
        self._world = world
        self._written: dict[tuple[str, str], Mapping[str, Any] | None] = {}
        self.touched = Touched()
        """Since the last `catch_up`; once made: everything."""
        for item in world.stored():
            self._put((item["pk"], item["sk"]), item)

    def follow(self) -> None:
        self._world.dynamodb.watchers.append(self._written.__setitem__)

    def catch_up(self) -> Touched:
        """Reads what was written since; what that touched."""
        self.touched = Touched()
        if not self._written:
            return self.touched
        written = list(self._written.items())
        self._written.clear()
        for key, item in written:
            self._put(key, None if item is None else decode(item))
        return self.touched

    def catch_up_into(self, check: Callable[[Touched], object]) -> None:
        """`check` is told what was touched since, where anything was."""
        if self._written:
            check(self.catch_up())

    def pool(self, name: str) -> Pool | None:
        """As it was last applied; None: there is none, or nobody can read it."""
        versions = self.versions[name]
        return versions[-1].pool if versions else None

    def in_force(self, name: str, since: datetime) -> list[Pool]:
        """The versions that a function may have read which has been at work since then."""
        versions = self.versions[name]
        return [
            each.pool
            for each, following in zip_longest(versions, versions[1:])
            if following is None or following.since >= since
        ]

    # --- one item -----------------------------------------------------------------------------------------------------

    def _put(self, key: tuple[str, str], item: Item | None) -> None:
        pk, sk = key
        if sk == keys.JOB:
            self._put_job(pk.removeprefix(keys.job("")), item)
        elif pk.startswith("QUEUE#"):
            self._put_entry(key, item)
        elif sk.startswith(keys.LEASE_PREFIX):
            self._put_lease(sk, item)
        elif sk.startswith(keys.INSTANCE_PREFIX):
            self._put_instance(sk.removeprefix(keys.INSTANCE_PREFIX), item)
        elif sk.startswith(keys.INTENT_PREFIX):
            _keep(self.intentions, key, item and items.intention_from(item))
        elif sk.startswith(keys.ATTEMPT_PREFIX):
            self._put_attempt(pk.removeprefix(keys.job("")), sk, item)
        elif pk == keys.PARKED:
            _keep(self.parked, sk, item)
        elif pk.startswith(keys.pool("")) and sk == keys.STATE:
            pool = pk.removeprefix(keys.pool(""))
            _keep(self.states, pool, item if item and "pool" in item else None)
            self.touched.pools.add(pool)
        elif pk.startswith(keys.pool("")) and sk == keys.CONFIG:
            self._put_pool(pk.removeprefix(keys.pool("")), item)

    def _put_job(self, job_id: str, item: Item | None) -> None:
        job, before = None if item is None else job_items.job_from(item), self.jobs.get(job_id)
        _keep(self.jobs, job_id, job)
        self.touched.jobs.add(job_id)
        if job and before and job.state in job_items.ENDED and before.state is not job.state:
            self.touched.ended.append(job)

    def _put_entry(self, key: tuple[str, str], item: Item | None) -> None:
        job_id = key[1].split("#", 2)[2]
        if item is None:
            self.waiting[job_id].discard(key)
        else:
            self.waiting[job_id].add(key)
        self.touched.jobs.add(job_id)

    def _put_lease(self, sk: str, item: Item | None) -> None:
        _, instance_id, job_id = sk.split("#", 2)
        lease = None if item is None else items.lease_from(item)
        before = self.leases_of[job_id].get(instance_id)
        _keep(self.leases_of[job_id], instance_id, lease)
        _keep(self.leases_on[instance_id], job_id, lease)
        self.touched.jobs.add(job_id)
        self.touched.instances.add(instance_id)
        if lease and (before is None or before.fence != lease.fence):
            self.touched.leases.append(lease)

    def _put_instance(self, instance_id: str, item: Item | None) -> None:
        _keep(self.instances, instance_id, item)
        self.touched.instances.add(instance_id)

    def _put_attempt(self, job_id: str, sk: str, item: Item | None) -> None:
        number = int(sk.removeprefix(keys.ATTEMPT_PREFIX))
        _keep(self.attempts[job_id], number, item and job_items.attempt_from(item))
        self.touched.jobs.add(job_id)

    def _put_pool(self, name: str, item: Item | None) -> None:
        if item is None:
            return
        try:
            pool = pool_from(item)
        except Unreadable:
            return
        if pool != self.pool(name):
            self.versions[name].append(Version(self._world.clock(), pool))


def _keep(held: dict[Any, Any], key: Any, value: Any) -> None:
    if value is None:
        held.pop(key, None)
    else:
        held[key] = value
