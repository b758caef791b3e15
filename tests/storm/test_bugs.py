"""The storm can see: each deliberate bug, a patch in bugs/, breaks its law within as many seeds as it says.

A patch begins with what it breaks, `Law: N` and `Seeds: M`: the first of the seeds 0 to M - 1 that shows it is M - 1 at
the latest. The same table is in docs/simulation.md.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants.__main__ import ROOT

LAWS = range(1, 12)


@dataclass(frozen=True, slots=True)
class Bug:
    name: str
    what: str
    law: int
    seeds: int
    patch: Path


def _read(patch: Path) -> Bug:
    head = patch.read_text(encoding="utf-8").split("\ndiff ", 1)[0]
    law, seeds = re.search(r"^Law: (\d+)$", head, re.M), re.search(r"^Seeds: (\d+)$", head, re.M)
    assert law is not None, patch.name
    assert seeds is not None, patch.name
    return Bug(name=patch.stem, what=head.splitlines()[0], law=int(law[1]), seeds=int(seeds[1]), patch=patch)


BUGS = sorted(map(_read, (Path(__file__).parent / "bugs").glob("*.patch")), key=lambda bug: (bug.law, bug.name))
EACH = [pytest.param(bug, id=bug.name) for bug in BUGS]


def test_every_law_has_a_bug() -> None:
    assert {bug.law for bug in BUGS} == {*LAWS}


def test_the_document_has_the_same_table() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (\d+) \|$", (ROOT / "docs" / "simulation.md").read_text(), re.M)
    assert rows == [(str(bug.law), bug.what, str(bug.seeds)) for bug in BUGS]


@pytest.mark.parametrize("bug", EACH)
def test_a_bug_applies_to_the_code_as_it_is(bug: Bug) -> None:
    check = subprocess.run(["git", "apply", "--check", str(bug.patch)], cwd=ROOT, capture_output=True, text=True)
    assert check.returncode == 0, check.stderr


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("bug", EACH)
def test_a_storm_finds_it(bug: Bug, tmp_path: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, tracked.split("\0")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    subprocess.run(["git", "apply", str(bug.patch)], cwd=tmp_path, check=True)
    command = [sys.executable, "-m", "tests.storm.first", str(bug.law), str(bug.seeds)]
    played = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert played.returncode == 0, played.stderr[-2000:] or f"no story up to seed {bug.seeds - 1} broke law {bug.law}"
