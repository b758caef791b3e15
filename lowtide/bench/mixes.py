"""Two hundred seeded mixes of jobs and instance types, for measuring how near to the least cost packing comes."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random

from lambdas.domain.fleet.packing import Candidate, Demand, Packing, pack
from lambdas.domain.jobs.jobs import Resources
from lambdas.domain.pools.pools import TypeFacts

SEEDS = range(200)
MOST_JOBS = 2000
MOST_TYPES = 30
SLOTS = (1, 2, 4, 8, 16, 32)
ODD_SLOTS = (3, 5, 6, 7, 12, 24)
MOST_SHAPES = 10
"""Different `resources` in one mix."""

Shape = tuple[int, Resources | None]
"""(slots, resources): jobs of one shape are the same to packing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    jobs: tuple[Demand, ...]
    candidates: tuple[Candidate, ...]
    aux: int
    """Auxiliary jobs that one instance takes."""

    def packed(self) -> Packing:
        return pack(self.jobs, (), self.candidates, aux=self.aux, most=len(self.jobs))

    def cost(self, packing: Packing) -> Decimal:
        """USD per hour of the new instances."""
        prices = {candidate.facts.name: candidate.price for candidate in self.candidates}
        return sum((prices[each.facts.name] for each in packing.bins), Decimal())


def mix(seed: int) -> Mix:
    """1 to 2,000 jobs (evenly on a logarithmic scale) on 1 to 30 types of 1 to 32 slots; a slot costs $0.2 to $1.2.

    Three mixes in four have jobs of `slots`, as many have jobs of `resources`, and one in two has auxiliary jobs.
    """
    chance = Random(seed)
    candidates = tuple(_candidate(number, chance) for number in range(chance.randint(1, MOST_TYPES)))
    sort = chance.choice(("slots", "resources", "both", "both"))
    shapes: list[Shape] = []
    if sort != "resources":
        shapes += _of_slots(candidates, chance)
    if sort != "slots":
        shapes += _of_resources(candidates, chance)
    if chance.random() < 0.5:
        shapes.append((0, None))
    drawn = [chance.choice(shapes) for _ in range(round(MOST_JOBS ** chance.random()))]
    jobs = [Demand(job_id=str(n), slots=slots, resources=asked) for n, (slots, asked) in enumerate(drawn)]
    return Mix(jobs=tuple(jobs), candidates=candidates, aux=chance.choice((1, 10, 100)))


def _candidate(number: int, chance: Random) -> Candidate:
    """With one GPU a slot, or none at all; 2 to 24 vCPUs a slot; 2 to 8 GiB a vCPU."""
    slots = chance.choice(SLOTS)
    vcpus = slots * chance.choice((2, 4, 8, 12, 24))
    facts = TypeFacts(
        name=f"t{number}",
        vcpus=vcpus,
        memory_mib=vcpus * chance.choice((2, 4, 8)) * 1024,
        gpus=slots if chance.random() < 0.5 else 0,
        architecture="x86_64",
        on_demand_price=None,
        slots=slots,
    )
    return Candidate(facts=facts, price=Decimal(round(slots * chance.uniform(0.2, 1.2) * 10_000)) / 10_000)


def _of_slots(candidates: Sequence[Candidate], chance: Random) -> list[Shape]:
    largest = max(candidate.facts.slots for candidate in candidates)
    sizes = [slots for slots in (*SLOTS, *ODD_SLOTS) if slots <= largest]
    return [(slots, None) for slots in chance.sample(sizes, chance.randint(1, len(sizes)))]


def _of_resources(candidates: Sequence[Candidate], chance: Random) -> list[Shape]:
    """Each a part of one type, so that at least that one holds it."""
    return [(1, _part(chance.choice(candidates).facts, chance)) for _ in range(chance.randint(1, MOST_SHAPES))]


def _part(whole: TypeFacts, chance: Random) -> Resources:
    """Of vCPUs and of memory some part each, small ones more often; GPUs in every second job where there are any."""
    return Resources(
        vcpus=max(Decimal("0.25"), Decimal(round(whole.vcpus * chance.random() ** 2 * 4)) / 4),
        memory_mib=max(256, round(whole.memory_mib * chance.random() ** 2 / 256) * 256),
        gpus=chance.randint(1, whole.gpus) if whole.gpus and chance.random() < 0.5 else 0,
    )
