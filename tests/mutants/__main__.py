"""Proves that the tests can see: breaks each law in one place and fails unless the test named for it fails.

    python -m tests.mutants [law-3 …]

A mutant is a patch in this folder. The lines before its first `diff`, `Law: N` and `Test: path::name`, say which law it
breaks and which test, one that passes as things are, has to notice. Each is applied to a copy of the tracked files,
never to the checkout.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

PYTEST_FOUND_FAILURES = 1
"""pytest's exit code for failing tests; 2 and above mean that it could not run them, which proves nothing."""
AT_ONCE = 2
"""Mutants that run side by side; each is one process that starts pytest, some 2 s of one core."""


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    law: int
    test: str
    patch: Path


def mutants(wanted: list[str]) -> list[Mutant]:
    """The patches of this folder in order of law; all where none is wanted by name."""
    found = [_read(path) for path in HERE.glob("*.patch")]
    found.sort(key=lambda mutant: (mutant.law, mutant.name))
    return [mutant for mutant in found if not wanted or mutant.name in wanted]


def _read(patch: Path) -> Mutant:
    head = patch.read_text(encoding="utf-8").split("\ndiff ", 1)[0]
    law, test = re.search(r"^Law: (\d+)$", head, re.M), re.search(r"^Test: (\S+)$", head, re.M)
    if law is None or test is None:
        raise SystemExit(f"{patch.name} does not begin with `Law: N` and `Test: path::name`")
    return Mutant(patch.stem, int(law[1]), test[1], patch)


def killed(mutant: Mutant) -> str | None:
    """None when the named test fails with the patch; else what went wrong."""
    with tempfile.TemporaryDirectory(prefix="lowtide-mutant-") as folder:
        copy = Path(folder)
        _copy_tracked(copy)
        applied = subprocess.run(["git", "apply", str(mutant.patch)], cwd=copy, capture_output=True, text=True)
        if applied.returncode:
            return f"the patch no longer applies: {applied.stderr.strip()}"
        code = _run(copy, mutant.test)
    if code == 0:
        return f"{mutant.test} did not notice"
    return None if code == PYTEST_FOUND_FAILURES else f"{mutant.test} could not run (pytest's exit code {code})"


def _copy_tracked(target: Path) -> None:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, names.split("\0")):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)


def _run(folder: Path, *tests: str) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=folder, capture_output=True).returncode


def main() -> None:
    chosen = mutants(sys.argv[1:])
    if not chosen or _run(ROOT, *dict.fromkeys(mutant.test for mutant in chosen)):
        sys.exit("No mutant has that name, or a test named for one does not pass as things are: run `make test` first.")
    survivors = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for mutant, trouble in zip(chosen, pool.map(killed, chosen), strict=True):
            survivors += trouble is not None
            verdict = "killed" if trouble is None else f"SURVIVED: {trouble}"
            print(f"law {mutant.law:>2}  {mutant.name:<20} {verdict}", flush=True)
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
