"""Proves that the tests can see: breaks each law in one place and fails unless the test named for it fails.

    python -m tests.mutants [law-3 …]

A mutant is a patch in this folder. The lines before its first `diff`, `Law: N` and `Test: path::name`, say which law it
breaks and which test has to notice. Each is applied to a copy of the tracked files, never to the checkout.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

PYTEST_FOUND_FAILURES = 1
"""pytest's exit code for failing tests; 2 and above mean that it could not run them, which proves nothing."""


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    law: int
    test: str
    patch: Path


def mutants(wanted: list[str]) -> list[Mutant]:
    """The patches of this folder in order of name; all where none is wanted by name."""
    found = [_read(path) for path in sorted(HERE.glob("*.patch"))]
    return [mutant for mutant in found if not wanted or mutant.name in wanted]


def _read(patch: Path) -> Mutant:
    head = patch.read_text(encoding="utf-8").split("\ndiff ", 1)[0]
    law, test = re.search(r"^Law: (\d+)$", head, re.M), re.search(r"^Test: (\S+)$", head, re.M)
    if law is None or test is None:
        raise SystemExit(f"{patch.name} does not begin with `Law: N` and `Test: path::name`")
    return Mutant(patch.stem, int(law[1]), test[1], patch)


def killed(mutant: Mutant) -> str | None:
    """None when the named test passes as things are and fails with the patch; else what went wrong."""
    if _run(ROOT, mutant.test) != 0:
        return f"{mutant.test} does not pass without the patch"
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


def _run(folder: Path, test: str) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
    return subprocess.run(command, cwd=folder, capture_output=True).returncode


def main() -> None:
    survivors = 0
    for mutant in mutants(sys.argv[1:]):
        trouble = killed(mutant)
        survivors += trouble is not None
        print(
            f"law {mutant.law:>2}  {mutant.name:<40} {'killed' if trouble is None else 'SURVIVED: ' + trouble}",
            flush=True,
        )
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
