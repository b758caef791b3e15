"""How much of an instance a job takes. The plan and the ledger's claims both ask here, so that they never disagree.

An instance has vCPUs, memory and GPUs, and holds jobs while each of the three suffices for all of them. A job that
names resources takes what it names; one of n slots takes n of the type's S slots of each: on a type with 8 slots, 96
vCPUs and 8 GPUs, `slots: 2` takes 24 vCPUs and 2 GPUs. An auxiliary job takes nothing; instances count those apart.

All is counted in whole numbers, so that nothing is ever rounded: in 1/S of a thousandth of a vCPU, of a MiB, of a GPU.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NamedTuple, Self

from lambdas.domain.jobs.jobs import Resources
from lambdas.domain.pools.pools import Pool, TypeFacts

MILLI = 1000
"""Resources are named to the thousandth of a vCPU (job_values.py)."""
PARTS = 10**9
"""Of an instance; shares are told in whole ones."""
_PART = Decimal(1) / PARTS


class Load(NamedTuple):
    """Parts of an instance, in units that only its type gives a size: loads on types of other slots are no match."""

    vcpus: int
    memory: int
    gpus: int

    def within(self, free: Self) -> bool:
        return self[0] <= free[0] and self[1] <= free[1] and self[2] <= free[2]

    def times_in(self, free: Self) -> int:
        """How often it fits beside itself; it must take something."""
        return max(0, min(room // taken for taken, room in zip(self, free, strict=True) if taken))

    def and_(self, other: Self, times: int = 1) -> "Load":
        """With the other added so many times; a negative number takes it away."""
        return Load(self[0] + times * other[0], self[1] + times * other[1], self[2] + times * other[2])

    def largest_share(self, whole: Self) -> int:
        """The largest of its three parts of the whole, in PARTS, rounded up."""
        return max((-(-PARTS * taken // room) for taken, room in zip(self, whole, strict=True) if room), default=0)


NOTHING = Load(0, 0, 0)


def whole(facts: TypeFacts) -> Load:
    """All that an instance of this type has; nothing where the type has no slots, since no job may take any of it."""
    return _slots_load(facts.slots, facts)


def taken(slots: int, resources: Resources | None, facts: TypeFacts) -> Load:
    """What the job takes of an instance of this type, whether or not there is so much."""
    if resources is None:
        return _slots_load(slots, facts)
    asked = int(resources.vcpus * MILLI), resources.memory_mib, resources.gpus
    return Load(*(max(1, facts.slots) * each for each in asked))


def _slots_load(slots: int, facts: TypeFacts) -> Load:
    vcpus = facts.vcpus or 1  # a type of the owner's own that EC2 does not list: its slots are all that is known
    return Load(slots * MILLI * vcpus, slots * facts.memory_mib, slots * facts.gpus)


def load(slots: int, resources: Resources | None, facts: TypeFacts) -> Load | None:
    """What the job takes of an instance of this type; None: not even an empty one has so much."""
    found = taken(slots, resources, facts)
    return found if found.within(whole(facts)) else None


def free_beside(used: Load, facts: TypeFacts) -> Load:
    """What is left of an instance of this type; nothing of what is taken beyond what there is."""
    return Load(*(max(0, room - each) for room, each in zip(whole(facts), used, strict=True)))


def sum_of(loads: Iterable[Load]) -> Load:
    total = NOTHING
    for each in loads:
        total = total.and_(each)
    return total


def slots_taken(slots: int, resources: Resources | None, facts: TypeFacts) -> int | None:
    """The least whole slots of this type that cover what the job takes; 0 for an auxiliary job; None: it never fits.

    Jobs that fit in the slots together fit in vCPUs, memory and GPUs at once, but not the other way round: workers from
    before claims told of resources, which know slots alone, are given jobs by them."""
    found = load(slots, resources, facts)
    if found is None or resources is None:
        return None if found is None else slots
    pairs = zip(found, whole(facts), strict=True)
    return max(-(-each * facts.slots // room) for each, room in pairs if room)


def devices(slots: int, resources: Resources | None, facts: TypeFacts) -> int:
    """GPUs that are the job's alone: those it names or, of a job of slots, the whole ones among its share."""
    return resources.gpus if resources is not None else slots * facts.gpus // max(1, facts.slots)


def charged_share(resources: Resources, facts: TypeFacts) -> Decimal:
    """The part of its instance's cost that a job of resources is charged: the mean of its parts of vCPUs, memory and,
    where there are any, GPUs, to the PARTS-th below.

    On 8 vCPUs and 16,384 MiB, {vcpus: 4, memory_mib: 4096} is charged (1/2 + 1/4) / 2 = 0.375. The largest part would
    not do: two jobs, all the vCPUs and all the memory, would be charged the instance twice."""
    parts = [PARTS * each // room for each, room in zip(taken(1, resources, facts), whole(facts), strict=True) if room]
    return min(PARTS, sum(parts) // max(1, len(parts))) * _PART


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one job takes of one instance."""

    slots: int
    """0: an auxiliary job. Beside `resources`, the whole slots that cover them."""
    resources: Resources | None = None
    """None: it takes its slots' share."""
    share: Decimal | None = None
    """The part of the instance's cost that it is charged; None: its slots' share."""

    @property
    def auxiliary(self) -> bool:
        return self.slots == 0

    def load(self, facts: TypeFacts) -> Load:
        return taken(self.slots, self.resources, facts)


def part_of(slots: int, resources: Resources | None, facts: TypeFacts, *, in_slots: bool) -> Part | None:
    """What the job takes of an instance of this type; None: it never fits. `in_slots`: whole slots, whatever it names,
    for a worker that knows nothing else."""
    covering = slots_taken(slots, resources, facts)
    if covering is None:
        return None
    if resources is None or in_slots:
        return Part(slots=covering)
    return Part(slots=covering, resources=resources, share=charged_share(resources, facts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What is taken of an instance, summed up over its jobs."""

    slots: int = 0
    """Of jobs that take their slots' share."""
    vcpus: Decimal = Decimal(0)
    """These three of jobs that take resources."""
    memory_mib: int = 0
    gpus: int = 0
    aux: int = 0
    """Auxiliary jobs."""

    def load(self, facts: TypeFacts) -> Load:
        resources = Resources(vcpus=self.vcpus, memory_mib=self.memory_mib, gpus=self.gpus)
        return taken(self.slots, None, facts).and_(taken(0, resources, facts))

    def with_(self, part: Part) -> "Used":
        if (asked := part.resources) is None:
            return replace(self, slots=self.slots + part.slots, aux=self.aux + part.auxiliary)
        return replace(
            self,
            vcpus=self.vcpus + asked.vcpus,
            memory_mib=self.memory_mib + asked.memory_mib,
            gpus=self.gpus + asked.gpus,
        )


def used_by(parts: Iterable[Part]) -> Used:
    used = Used()
    for part in parts:
        used = used.with_(part)
    return used


def least_share(resources: Resources, pool: Pool) -> Decimal | None:
    """The least part of an instance of the pool that such a job is charged; None: it fits none."""
    holding = [facts for facts in pool.types if load(1, resources, facts) is not None]
    return min((charged_share(resources, facts) for facts in holding), default=None)


def fits_some_type(slots: int, resources: Resources | None, pool: Pool) -> bool:
    """False: no instance of the pool, however empty, ever takes such a job."""
    if slots == 0 and resources is None:
        return pool.max_aux_containers_per_agent > 0
    return any(load(slots, resources, facts) is not None for facts in pool.types)
