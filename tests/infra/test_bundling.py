import hashlib
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infra.bundling import Built, build_functions, build_worker

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / ".venv-lambda" / "bin" / "python"
PINNED = """typing-extensions==4.16.0 \\
    --hash=sha256:481caa481374e813c1b176ada14e97f1f67a4539ce9cfeb3f350d78d6370c2e8
"""
"""A small package, pinned as the functions' packages are."""
MOST_ZIP_BYTES = 5 * 1024 * 1024


def checkout(parent: Path) -> Path:
    """A copy of what bundles are made from, with the litter that a working checkout has."""
    for name in ("lambdas", "worker", "requirements"):
        shutil.copytree(ROOT / name, parent / name)
    (parent / "requirements" / "lambda.txt").write_text(PINNED)
    for litter in ("lambdas/tests/test_x.py", "lambdas/.env", "lambdas/notes.txt", "lambdas/__pycache__/x.pyc"):
        path = parent / litter
        path.parent.mkdir(exist_ok=True)
        path.write_text("litter")
    shutil.copytree(parent / "lambdas" / "tests", parent / "worker" / "tests")
    return parent


def files(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


HOST_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The one Python that this machine certainly has, so that byte code is compiled for it."""


def host_arch() -> str:
    return {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Built:
    root = checkout(tmp_path_factory.mktemp("one"))
    return build_functions(root, python=HOST_PYTHON, arch=host_arch())


def test_two_builds_of_the_same_source_elsewhere_have_the_same_hash_and_the_same_files(
    functions: Built, tmp_path: Path
) -> None:
    again = build_functions(checkout(tmp_path), python=HOST_PYTHON, arch=host_arch())
    assert again.path != functions.path
    assert again.digest == functions.digest
    first, second = files(functions.path), files(again.path)
    assert first.keys() == second.keys()
    assert [name for name in first if not name.endswith(".pyc") and first[name] != second[name]] == []


def test_a_second_build_takes_the_first_ones_result(functions: Built) -> None:
    root = functions.path.parents[2]
    before = functions.path.stat().st_mtime_ns
    assert build_functions(root, python=HOST_PYTHON, arch=host_arch()) == functions
    assert functions.path.stat().st_mtime_ns == before


@pytest.mark.parametrize("changed", ["lambdas/names.py", "requirements/lambda.txt"])
def test_a_change_of_source_or_of_a_pinned_package_changes_the_hash(
    functions: Built, tmp_path: Path, changed: str
) -> None:
    root = checkout(tmp_path)
    (root / changed).write_text((root / changed).read_text() + "\n# changed\n")
    assert build_functions(root, python=HOST_PYTHON, arch=host_arch()).digest != functions.digest


def test_python_and_architecture_are_part_of_the_hash() -> None:
    pairs = [("3.13", "arm64"), ("3.13", "x86_64"), ("3.12", "arm64")]
    assert len({build_functions(ROOT, python=python, arch=arch).digest for python, arch in pairs}) == len(pairs)


def test_the_bundle_holds_our_code_and_its_packages_and_nothing_that_lay_beside_them(functions: Built) -> None:
    names = files(functions.path).keys()
    ours = {n for n in names if n.startswith("lambdas/") and not n.endswith(".pyc")}
    there = {p.relative_to(ROOT).as_posix() for p in (ROOT / "lambdas").rglob("*.py") if "__pycache__" not in p.parts}
    assert ours == there - {"lambdas/domain/deadlines/zone_tables.py"}
    beside = {n.split("/")[0] for n in names if "dist-info" not in n}
    assert beside == {"lambdas", "models", "typing_extensions.py", "__pycache__"}
    assert not [n for n in names if n.endswith(("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"))]


def test_byte_code_trusts_its_source_since_a_zip_keeps_no_dates(functions: Built) -> None:
    compiled = [p for p in functions.path.rglob("*.pyc") if p.parent.parent.name == "lambdas"]
    assert compiled
    unchecked_hash = 0b01
    assert {int.from_bytes(p.read_bytes()[4:8], "little") for p in compiled} == {unchecked_hash}


def test_everybody_may_read_the_bundle_whatever_the_builders_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        built = build_functions(checkout(tmp_path), python=HOST_PYTHON, arch=host_arch())
    finally:
        os.umask(before)
    modes = {(p.is_dir(), p.stat().st_mode & 0o777) for p in [built.path, *built.path.rglob("*")]}
    assert modes == {(True, 0o755), (False, 0o644)}


@pytest.mark.parametrize("arch", ["arm64", "x86_64"])
def test_the_zip_is_small(arch: str, tmp_path: Path) -> None:
    built = build_functions(ROOT, python="3.13", arch=arch)
    packed = Path(shutil.make_archive(str(tmp_path / "bundle"), "zip", built.path))
    assert packed.stat().st_size <= MOST_ZIP_BYTES


def test_every_handler_imports_with_nothing_but_the_bundle_and_lambdas_own_packages(functions: Built) -> None:
    handlers = sorted(p.stem for p in (ROOT / "lambdas" / "handlers").glob("*.py") if p.stem != "__init__")
    modules = ["lambdas.names", *(f"lambdas.handlers.{name}" for name in handlers)]
    program = (
        f"import sys; sys.path.insert(0, {str(functions.path)!r}); import {', '.join(modules)}; print(lambdas.__file__)"
    )
    done = subprocess.run([RUNTIME, "-I", "-c", program], capture_output=True, text=True, check=False, env={})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(functions.path))


def test_a_deadline_is_decided_with_nothing_but_the_bundle(functions: Built) -> None:
    """What a pass loads only where a job has one."""
    program = f"""
import sys; sys.path.insert(0, {str(functions.path)!r})
from lambdas.domain.deadlines.game import Situation, Terms
from lambdas.domain.deadlines.own import lowtide
terms = Terms(gap_s=60, work_s=7200, deadline_s=36000, restart_s=300, on_demand_price=3.0)
now = Situation(tick=0, held="-", work_s=7200, overhead_s=0, spot_prices={{}})
print(lowtide(terms, {{"": "0110" * 90}}).choose(now))
"""
    done = subprocess.run([RUNTIME, "-I", "-c", program], capture_output=True, text=True, check=False, env={})
    assert done.returncode == 0, done.stderr


def test_the_bundle_brings_the_time_zones_that_schedules_name() -> None:
    built = build_functions(ROOT, python=HOST_PYTHON, arch=host_arch())
    program = f"""
import sys, zoneinfo
sys.path.insert(0, {str(built.path)!r})
zoneinfo.reset_tzpath(to=[])
from lambdas.domain.pools.schedules import zone_of
print(zone_of("Europe/Berlin"))
"""
    done = subprocess.run([RUNTIME, "-I", "-c", program], capture_output=True, text=True, check=False, env={})
    assert (done.stdout, done.stderr) == ("Europe/Berlin\n", "")


def test_without_packages_of_its_own_the_bundle_is_our_code_and_its_models_alone(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    (root / "requirements" / "lambda.txt").write_text("")
    built = build_functions(root, python="3.13", arch="arm64")
    assert {path.name for path in built.path.iterdir()} == {"lambdas", "models"}


def test_packages_that_cannot_be_had_are_said_so(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    (root / "requirements" / "lambda.txt").write_text("./nowhere.whl --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(ValueError, match=r"cannot be installed for Python 3\.13"):
        build_functions(root, python="3.13", arch="arm64")


def test_the_worker_zip_is_the_same_bytes_on_every_build_and_named_by_its_own_hash(tmp_path: Path) -> None:
    first, second = build_worker(checkout(tmp_path / "one")), build_worker(checkout(tmp_path / "two"))
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.digest == second.digest == hashlib.sha256(first.path.read_bytes()).hexdigest()
    with zipfile.ZipFile(first.path) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_worker_zip_holds_the_worker_alone(tmp_path: Path) -> None:
    with zipfile.ZipFile(build_worker(checkout(tmp_path)).path) as archive:
        assert set(archive.namelist()) == {
            p.relative_to(ROOT).as_posix() for p in (ROOT / "worker").rglob("*.py") if "__pycache__" not in p.parts
        }


def test_the_worker_zip_is_small(tmp_path: Path) -> None:
    """Every instance fetches it at its boot."""
    assert build_worker(checkout(tmp_path)).path.stat().st_size <= 256 * 1024
