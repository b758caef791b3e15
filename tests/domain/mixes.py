"""Two hundred seeded mixes of jobs and instance types, for measuring how near to the least cost packing comes."""

from dataclasses import dataclass
from decimal import Decimal
from random import Random

from lambdas.domain.packing import Candidate, Demand, lower_bound, pack
from tests.domain.build import kind

SEEDS = range(200)
SLOTS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    jobs: tuple[Demand, ...]
    candidates: tuple[Candidate, ...]


def mix(seed: int) -> Mix:
    """1 to 2,000 jobs (evenly on a logarithmic scale) on 1 to 30 types of 1 to 32 slots; a slot costs $0.2 to $1.2."""
    chance = Random(seed)
    candidates = tuple(
        Candidate(
            facts=kind(f"t{number}", slots), price=Decimal(round(slots * chance.uniform(0.2, 1.2), 4)).normalize()
        )
        for number in range(chance.randint(1, 30))
        for slots in [chance.choice(SLOTS)]
    )
    largest = max(candidate.facts.slots for candidate in candidates)
    sizes = [slots for slots in (*SLOTS, 3, 5, 6, 7, 12, 24) if slots <= largest]
    sizes = chance.sample(sizes, chance.randint(1, len(sizes)))
    count = round(2000 ** chance.random())
    jobs = tuple(Demand(job_id=str(number), slots=chance.choice(sizes)) for number in range(count))
    return Mix(jobs=jobs, candidates=candidates)


def cost(given: Mix) -> tuple[Decimal, int]:
    """(USD per hour of the new instances, how many they are)."""
    packing = pack(given.jobs, (), given.candidates, aux=1, most=len(given.jobs))
    prices = {candidate.facts.name: candidate.price for candidate in given.candidates}
    assert not packing.left
    return sum((prices[each.facts.name] for each in packing.bins), Decimal()), len(packing.bins)


def bound(given: Mix) -> Decimal:
    """The linear programme that lets a job be cut over instances: each slot at the cheapest price per slot among the
    types that hold its job. Its optimum is that sum."""
    return lower_bound(given.jobs, given.candidates)
