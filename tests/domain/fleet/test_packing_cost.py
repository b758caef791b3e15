"""How near to the least cost packing comes, on two hundred seeded mixes (lowtide/bench/mixes.py).

What each mix costs, and what it costs at the least, is kept in lowtide/bench/packing_costs.json. After a change of
packing or of the mixes, `python -m lowtide.bench packing report` makes it and docs/performance.md anew.
"""

from decimal import Decimal

import pytest

from lambdas.domain.fleet.packing import Candidate, Demand, pack
from lowtide.bench.mixes import SEEDS, Mix, mix
from lowtide.bench.optimum import cut_bound, optimum, problem_of, relaxed
from lowtide.bench.packing import FEW, cost_of, kept, near, told
from lowtide.bench.results import ROOT
from tests.domain.build import kind

PARTS = 40


@pytest.mark.parametrize("part", range(PARTS))
def test_what_is_kept_is_what_packing_does_and_never_below_the_least(part: int) -> None:
    for each in kept()[part::PARTS]:
        given = mix(each.seed)
        packing = given.packed()
        assert not packing.left
        assert all(bin_.fits(bin_.facts, given.aux) for bin_ in packing.bins)
        assert (str(given.cost(packing)), len(packing.bins)) == (each.spent, each.instances)
        assert Decimal(each.spent) >= Decimal(each.least) >= Decimal(each.cut) - Decimal("1e-5")


def test_every_mix_is_compared_with_what_its_size_asks_for_and_few_are_unproved() -> None:
    costs = kept()
    assert [each.seed for each in costs] == list(SEEDS)
    assert all((each.by == "bound") == (each.instances >= FEW) for each in costs)
    assert sum(each.by == "unproved" for each in costs) <= 4
    assert min(count for _, _, count in near(costs).values()) >= 80


@pytest.mark.parametrize("against", ["linear bound", "integer optimum"])
def test_the_cost_is_within_a_tenth_of_the_least_in_the_median_and_a_quarter_in_the_tail(against: str) -> None:
    middle, tail, _ = near(kept())[against]
    assert middle <= 1.10
    assert tail <= 1.25


@pytest.mark.parametrize("seed", [2, 7, 40, 75, 93, 118, 131, 195])
def test_the_solver_finds_again_what_is_kept(seed: int) -> None:
    (found,) = [each for each in kept() if each.seed == seed]
    assert cost_of(seed) == found


def test_the_document_tells_what_is_kept() -> None:
    document = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert told(kept()).markdown() in document


def small(jobs: list[int], prices: dict[int, str], aux: int = 10) -> Mix:
    candidates = [Candidate(facts=kind(f"x{slots}", slots), price=Decimal(each)) for slots, each in prices.items()]
    return Mix(
        jobs=tuple(Demand(job_id=str(number), slots=slots) for number, slots in enumerate(jobs)),
        candidates=tuple(candidates),
        aux=aux,
    )


@pytest.mark.parametrize(
    ("given", "least"),
    [
        (small([1] * 5, {1: "1", 4: "3"}), "4"),
        (small([3, 3, 3], {4: "2", 8: "5"}), "6"),
        (small([5, 3, 4, 4], {8: "3", 4: "2"}), "6"),
        (small([0] * 21, {1: "1", 4: "3"}), "3"),
        (small([4, 0, 0, 0], {1: "1", 4: "3"}, aux=1), "5"),
        (small([], {1: "1"}), "0"),
    ],
)
def test_the_integer_optimum_is_what_a_person_finds(given: Mix, least: str) -> None:
    found = optimum(problem_of(given), Decimal(100))
    assert (found.cost, found.proved) == (Decimal(least), True)


def test_jobs_that_leave_gaps_cost_more_than_the_bound_that_cuts_them() -> None:
    problem = problem_of(small([3] * 100, {4: "1"}))
    assert (round(cut_bound(problem), 6), round(relaxed(problem).cost, 6)) == (75, 100)


def test_an_optimum_that_a_solution_in_hand_already_has_is_found_again() -> None:
    given = small([5, 3, 4, 4], {8: "3", 4: "2"})
    packing = pack(given.jobs, (), given.candidates, aux=given.aux, most=9)
    assert optimum(problem_of(given), given.cost(packing)).cost == given.cost(packing) == 6
