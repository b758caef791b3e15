"""The pinned CDK CLI, run for real against a world: bootstrap, synth, deploy, destroy.

Synthesis is the slow half (Node, Python and bundling, 10 to 20 s); its result is kept under `.lowtide/assemblies`, by a
hash of everything it is made from, so that a second deploy of unchanged sources starts with the upload.
"""

import fcntl
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from lambdas.domain.settings import Settings
from lowtide.local.environment import NODE_HOME

SOURCES = ("app.py", "cdk.json", "infra", "lambdas", "worker", "requirements/lambda.txt")
"""What an assembly is made from, beside the context."""
TOOLS = Path(__file__).resolve().parents[2] / "node_modules"
_KEPT_ASSEMBLIES = 6
_IN_USE_SECONDS = 3600.0
_COMMAND_SECONDS = 900.0
_SHOWN_LINES = 40
_NOT_SOURCE = {"__pycache__", ".ruff_cache", ".pytest_cache"}


class DeployFailed(RuntimeError):
    """The CDK CLI gave up. The message ends with what it said last; `log` has all of it."""

    def __init__(self, what: str, log: Path) -> None:
        self.log = log
        lines = log.read_text(errors="replace").splitlines()[-_SHOWN_LINES:] if log.exists() else []
        super().__init__("\n".join([f"{what}; the whole output is in {log}", *lines]))


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeTarget:
    """The Python and the architecture that functions are built for; here, what can run them."""

    python: str
    arch: str

    @classmethod
    def of_host(cls) -> "RuntimeTarget":
        machine = platform.machine().lower()
        arch = "arm64" if machine in ("arm64", "aarch64") else "x86_64"
        return cls(python=f"{sys.version_info.major}.{sys.version_info.minor}", arch=arch)

    def context(self) -> dict[str, str]:
        return {"python": self.python, "arch": self.arch}


def stack_context(stack: str, pace: float, more: Mapping[str, str]) -> dict[str, str]:
    """The `-c` options of Lowtide's own app for a world of this pace on this machine."""
    paced = Settings().paced(pace).to_json()
    return {**RuntimeTarget.of_host().context(), "stack": stack, "settings": paced, **more}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One CDK app with one context, against one endpoint."""

    root: Path
    """Where app.py and cdk.json are."""
    context: Mapping[str, str]
    environment: Mapping[str, str]
    """Endpoint, keys and Region (`World.environment`)."""
    account: str
    region: str
    work_dir: Path
    """Assemblies and the CLI's own cache."""
    log: Path

    def deploy(self, stack: str) -> dict[str, str]:
        """Bootstraps, synthesises and deploys; returns the stack's outputs. Raises DeployFailed."""
        with ThreadPoolExecutor(max_workers=2) as pool:
            bootstrapped, assembled = pool.submit(self.bootstrap), pool.submit(self.synth)
            bootstrapped.result()
            assembly = assembled.result()
        return self.deploy_assembly(assembly, stack)

    def bootstrap(self) -> None:
        # Away from cdk.json: the CLI would synthesise the app only to bootstrap what was named anyway.
        self._cdk("bootstrap", f"aws://{self.account}/{self.region}", directory=self.work_dir)

    def synth(self) -> Path:
        """The assembly of the sources as they are: made now, or kept from before. Of several processes that want the
        same one, the first makes it and the others wait."""
        place = self.work_dir / "assemblies" / self._key()
        with _alone(place.with_suffix(".lock")):
            if not (place / "manifest.json").exists():
                shutil.rmtree(place, ignore_errors=True)
                part = place.with_suffix(".part")
                shutil.rmtree(part, ignore_errors=True)
                self._cdk("synth", "--quiet", "--output", str(part), *self._context_arguments())
                part.replace(place)
            os.utime(place)
        self._prune(place.parent)
        return place

    def deploy_assembly(self, assembly: Path, stack: str) -> dict[str, str]:
        outputs = self.log.with_name(f"{stack}.outputs.json")
        self._cdk(
            *("deploy", stack, "--app", str(assembly), "--require-approval", "never", "--method", "direct"),
            *("--outputs-file", str(outputs)),
        )
        found: Mapping[str, dict[str, str]] = json.loads(outputs.read_text())
        return found.get(stack, {})

    def destroy(self, stack: str) -> None:
        """Deletes the stack, instances first, as its own teardown does it. Raises DeployFailed."""
        self._cdk("destroy", stack, "--force", "--app", str(self.synth()))

    def command(self) -> str:
        """What a person types in another shell, with the world's variables exported, to deploy the same."""
        words = ["node_modules/.bin/cdk", "deploy", "--require-approval", "never", *self._context_arguments()]
        return f'PATH="{NODE_HOME / "bin"}:$PATH" {shlex.join(words)}'

    def _context_arguments(self) -> list[str]:
        return [word for name, value in self.context.items() for word in ("-c", f"{name}={value}")]

    def _key(self) -> str:
        digest = sha256(json.dumps([self.account, self.region, dict(self.context)], sort_keys=True).encode())
        for path in _files(self.root):
            digest.update(f"\0{path.relative_to(self.root)}\0".encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()[:24]

    def _prune(self, directory: Path) -> None:
        """Old assemblies go; one that is being made or was asked for within the hour stays, it may be in use."""
        with _alone(directory / "prune.lock"):
            places = [place for place in directory.iterdir() if not place.suffix]
            newest_first = sorted(places, key=lambda place: place.stat().st_mtime, reverse=True)
            for place in newest_first[_KEPT_ASSEMBLIES:]:
                if time.time() - place.stat().st_mtime > _IN_USE_SECONDS:
                    shutil.rmtree(place, ignore_errors=True)

    def _cdk(self, *arguments: str, directory: Path | None = None) -> None:
        self.work_dir.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [str(TOOLS / ".bin" / "cdk"), *arguments, "--no-notices", "--no-version-reporting", "--ci"]
        with self.log.open("ab") as log:
            log.write(f"\n$ cdk {' '.join(arguments)}\n".encode())
            log.flush()
            done = subprocess.run(
                command,
                cwd=directory or self.root,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=_COMMAND_SECONDS,
                check=False,
            )
        if done.returncode:
            raise DeployFailed(f"cdk {arguments[0]} failed with exit code {done.returncode}", self.log)

    def _environment(self) -> dict[str, str]:
        """The caller's own AWS settings must not reach the CLI: it would deploy to their account."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_"))}
        return {
            **kept,
            "PATH": f"{NODE_HOME / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "JSII_NODE": str(NODE_HOME / "bin" / "node"),
            "CDK_HOME": str(self.work_dir / "cdk"),
            "CDK_DISABLE_CLI_TELEMETRY": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            **self.environment,
            "AWS_REGION": self.region,
        }


@contextmanager
def _alone(lock: Path) -> Generator[None]:
    """Inside, no other process is inside for the same file; a process that dies lets go."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _files(root: Path) -> Iterator[Path]:
    for source in SOURCES:
        place = root / source
        found = [place] if place.is_file() else sorted(place.rglob("*")) if place.is_dir() else []
        yield from (path for path in found if path.is_file() and not _NOT_SOURCE & set(path.parts))
