"""Builds what the stack ships: one directory of code for the functions, one zip for the instances. No Docker, no CDK.

Both land under `.lowtide/build`, named by a hash over everything that goes into them, so that the same source, Python
and architecture always have the same hash, on every machine, and a second build is a look-up. See
docs/adr/0002-bundling.md.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uv

from infra import models

_RECIPE = "3"
"""Part of every hash: raise it when the way of building changes."""
_SHIPPED = ".py"
"""What of our own packages is shipped: code, and nothing that merely lies beside it."""
_NOT_PLAYED = frozenset({Path("lambdas/domain/deadlines/zone_tables.py")})
"""Left out, a third of the zip: only backtests tell zones apart (deadlines/market.py); in a pass all are one market."""
_PLATFORMS = {"arm64": "aarch64", "x86_64": "x86_64"}
_INSTALLER_TRACES = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest date a zip can hold."""


@dataclass(frozen=True, slots=True)
class Built:
    """Something to ship."""

    path: Path
    digest: str
    """SHA-256, hex: of what went in for a directory, of the file itself for a zip."""


def build_functions(root: Path, *, python: str, arch: str) -> Built:
    """The directory that every function's zip is made of: `lambdas/`, the packages of requirements/lambda.txt (if there
    are any), their byte code, and what botocore is told of AWS (models.py). Raises ValueError when the packages cannot
    be had."""
    requirements = root / "requirements" / "lambda.txt"
    sources = _sources(root, "lambdas")
    digest = _digest(root, [requirements, *sources], _RECIPE, models.described(), python, arch)
    target = root / ".lowtide" / "build" / f"functions-{digest[:16]}"
    if not target.exists():
        with _scratch(target) as scratch:
            if requirements.read_text().strip():
                _install(requirements, scratch, python=python, arch=arch)
            _copy(root, sources, scratch)
            models.write_models(scratch / "models")
            _remove_traces(scratch)
            _compile(scratch, python)
            _open_to_readers(scratch)
            _publish(scratch, target)
    return Built(target, digest)


def build_worker(root: Path) -> Built:
    """The zip that instances fetch: `worker/` alone, stored, with fixed dates, so its bytes depend on nothing else."""
    sources = _sources(root, "worker")
    digest = _digest(root, sources, _RECIPE)
    target = root / ".lowtide" / "build" / f"worker-{digest[:16]}.zip"
    if not target.exists():
        with _scratch(target) as scratch:
            packed = scratch / "worker.zip"
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
                for source in sources:
                    archive.writestr(_entry(source.relative_to(root)), source.read_bytes())
            _publish(packed, target)
    return Built(target, hashlib.sha256(target.read_bytes()).hexdigest())


def _entry(path: Path) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path.as_posix(), _EPOCH)
    entry.create_system = 3
    entry.external_attr = 0o100644 << 16
    return entry


def _sources(root: Path, package: str) -> list[Path]:
    """Our files of a package in a fixed order; hidden directories, caches and tests are never among them."""
    return sorted(
        path
        for path in (root / package).rglob("*")
        if path.suffix == _SHIPPED and path.is_file() and not _left_out(path.relative_to(root))
    )


def _left_out(path: Path) -> bool:
    return path in _NOT_PLAYED or any(part.startswith(".") or part in ("__pycache__", "tests") for part in path.parts)


def _digest(root: Path, files: Iterable[Path], *salt: str) -> str:
    digest = hashlib.sha256("\0".join(salt).encode())
    for file in files:
        content = file.read_bytes()
        digest.update(f"\0{file.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _install(requirements: Path, target: Path, *, python: str, arch: str) -> None:
    """Wheels of the function's platform, never built here: what uv kept of `make setup`, else the registry's; by pip
    where uv cannot reach it."""
    platform = f"{_PLATFORMS[arch]}-manylinux2014"
    by_uv = [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", sys.executable, "--python-platform", platform]
    by_pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    by_pip += ["--platform", f"manylinux2014_{_PLATFORMS[arch]}", "--implementation", "cp", "--no-deps"]
    what = ["--python-version", python, "--only-binary", ":all:", "--require-hashes", "--no-compile"]
    what += ["--target", str(target), "-r", str(requirements)]
    for reach in (["--offline"], []):
        tried = subprocess.run([*by_uv, *reach, *what], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return
    if importlib.util.find_spec("pip") is not None and subprocess.run([*by_pip, *what], check=False).returncode == 0:
        return
    raise ValueError(f"The functions' packages cannot be installed for Python {python}, {arch}: {tried.stderr.strip()}")


def _copy(root: Path, sources: Iterable[Path], target: Path) -> None:
    for source in sources:
        copy = target / source.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)


def _remove_traces(target: Path) -> None:
    """Removes what names the machine or the moment of the installation, and scripts that no function calls."""
    shutil.rmtree(target / "bin", ignore_errors=True)
    (target / ".lock").unlink(missing_ok=True)
    for trace in (path for info in target.glob("*.dist-info") for path in info.iterdir()):
        if trace.name in _INSTALLER_TRACES:
            trace.unlink()


def _compile(target: Path, python: str) -> None:
    """Byte code that Lambda, whose file system is read-only, would else make anew at every cold start.

    Unchecked hashes, since a zip keeps no dates; paths as on Lambda. Where no interpreter of that version is on this
    machine the functions work the same and start some 0.2 s later."""
    interpreter = _interpreter(python)
    if interpreter is None:
        print(f"No Python {python} here: the functions go without byte code and start slower.", file=sys.stderr)
        return
    subprocess.run(
        [
            *(interpreter, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"),
            *("-s", str(target), "-p", "/var/task", str(target)),
        ],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )


def _open_to_readers(target: Path) -> None:
    """Lambda runs the code as another user: a strict umask here must not reach the zip."""
    target.chmod(0o755)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _interpreter(python: str) -> str | None:
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    command = [uv.find_uv_bin(), "python", "find", "--no-python-downloads", "--no-project", "--system", python]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None


@contextmanager
def _scratch(target: Path) -> Generator[Path]:
    """A directory beside the build's final place, so that publishing is one rename; gone afterwards."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=target.parent) as parent:
        content = Path(parent) / "content"
        content.mkdir()
        yield content


def _publish(built: Path, target: Path) -> None:
    """Another build of the same may have come first: its result is the same."""
    try:
        built.rename(target)
    except OSError:
        if not target.exists():
            raise
