"""Mutants do not rot: each applies to the code as it is, and names a test that there is."""

import re
import subprocess

import pytest

from tests.mutants.__main__ import ROOT, Mutant, mutants

LAWS_WITH_MUTANTS = {1, 2, 3, 4, 5, 6, 8, 10, 11}
"""7 and 9 speak of whole runs and of words that people read: properties of the plan, not one test, hold them."""

ALL = [pytest.param(mutant, id=mutant.name) for mutant in mutants([])]


def test_every_law_that_one_place_can_break_has_a_mutant() -> None:
    assert {mutant.law for mutant in mutants([])} == LAWS_WITH_MUTANTS


@pytest.mark.parametrize("mutant", ALL)
def test_a_mutant_applies_to_the_code_as_it_is(mutant: Mutant) -> None:
    check = subprocess.run(["git", "apply", "--check", str(mutant.patch)], cwd=ROOT, capture_output=True, text=True)
    assert check.returncode == 0, check.stderr


@pytest.mark.parametrize("mutant", ALL)
def test_a_mutant_names_a_test_that_exists(mutant: Mutant) -> None:
    path, _, name = mutant.test.partition("::")
    assert re.search(rf"^def {re.escape(name)}\(", (ROOT / path).read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("mutant", ALL)
def test_a_mutant_breaks_one_place_of_real_code_and_says_how(mutant: Mutant) -> None:
    head, *files = mutant.patch.read_text(encoding="utf-8").split("\ndiff --git ")
    assert head.splitlines()[0]
    (changed,) = files
    assert re.match(r"a/(lambdas|worker|infra)/", changed)
