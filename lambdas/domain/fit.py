"""How much of an instance a job takes. The plan and the ledger's claims both ask here, so that they never disagree.

Everything is counted in whole slots of the instance's type. A job that names resources takes the slots whose share of
the instance covers the largest of them: on a type with 8 slots, 96 vCPUs and 8 GPUs, `{vcpus: 24, gpus: 1}` takes
max(24/96, 1/8) x 8 = 2 slots. Jobs that together fit in the slots then fit in vCPUs, memory and GPUs at once.
"""

from decimal import Decimal
from math import ceil

from lambdas.domain.jobs import Resources
from lambdas.domain.pools import Pool, TypeFacts


def slots_taken(slots: int, resources: Resources | None, facts: TypeFacts) -> int | None:
    """Whole slots of an instance of this type that the job takes; 0 for an auxiliary job; None when it never fits."""
    taken = slots if resources is None else _slots_covering(resources, facts)
    return None if taken is None or taken > facts.slots else taken


def _slots_covering(resources: Resources, facts: TypeFacts) -> int | None:
    if facts.slots == 0 or (resources.gpus and not facts.gpus):
        return None
    shares = [
        resources.vcpus / facts.vcpus,
        Decimal(resources.memory_mib) / facts.memory_mib,
        Decimal(resources.gpus) / max(facts.gpus, 1),
    ]
    return max(1, ceil(max(shares) * facts.slots))


def fits_some_type(slots: int, resources: Resources | None, pool: Pool) -> bool:
    """False: no instance of the pool, however empty, ever takes such a job."""
    if slots == 0 and resources is None:
        return pool.max_aux_containers_per_agent > 0
    return any(slots_taken(slots, resources, facts) is not None for facts in pool.types)
