"""Jobs in a container, by the instance's own docker or podman, which are asked through their command line: it is the
one interface that both have, whichever is installed and whether or not a daemon listens.

A container is what a job on the host is, in another file system: the same user, directories, environment and network.
It shares the instance's network so that the rule that keeps jobs from the metadata service (isolation.py) holds for it;
behind a bridge its requests would be nobody's in particular and would reach it (docs/adr/0016).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Callable, NamedTuple

from worker.inputs import Stopped
from worker.isolation import DEFAULT_PATH, Account
from worker.limits import Allotment
from worker.processes import Exit, signal_group

ENGINES = ("docker", "podman")
NO_ENGINE = "this instance has no docker or podman; choose an image_id with one, or leave out image"
ENGINE_FAILED = 125
"""`run`'s own exit code where there is no container to have one, and where the engine ended before its container. 126
and 127 are a command that cannot be executed or is not there; the job's log then has the engine's words, and so has the
attempt's reason."""
ENDED = frozenset({"exited", "stopped", "dead"})
"""Statuses of a container that has an exit code."""
ASK_SECONDS = 30.0
"""For a short command of the engine; one that takes longer counts as failed."""
KILL_SECONDS = 10.0
"""From a SIGKILL on for the client to end by itself."""
AGAIN_SECONDS = 0.2
LONGEST_LINE = 32 * 1024
"""Bytes of one line in a file of variables: docker's reader ends at 64 KiB."""
_OF_THE_CLIENT = re.compile(
    r"(LD_|DYLD_|GLIBC_|GCONV_|MALLOC_|GO|DOCKER|BUILD|COMPOSE|CONTAINER|PODMAN|STORAGE|REGISTRY|NETAVARK|XDG_|SSL_|SSH_|"
    r"SYSTEMD|NOTIFY_|LISTEN_|AWS_|AZURE|GOOGLE|CLOUDSDK|OTEL_|DBUS_|PYTHON|PERL|RUBY|NODE_|_?JAVA_|JDK_|TMP|PATH$|HOME$|USER$|SHELL$|BASH|ENV$|IFS$|TZ|LC_|LANG|.*PROXY$)",
    re.IGNORECASE,
)
"""Variables that the client, its loader or what it starts may heed: it never has them from a job."""
_NAME = re.compile(r"[^A-Za-z0-9_.-]")


class Unusable(Exception):
    """The job cannot be had in its container here, and trying again changes nothing. The text names the remedy."""


class EngineFailed(Exception):
    """The engine could not do what was asked, for no fault of the job's."""


@dataclass(frozen=True)
class Container:
    """What is asked of an engine."""

    name: str
    image: str
    command: tuple[str, ...]
    place: Path
    """The attempt's directory, seen inside at the same path."""
    environment: dict[str, str]
    account: Account
    allotment: Allotment
    devices: tuple[int, ...]
    """GPUs of the instance by index; inside they count from 0."""


class State(NamedTuple):
    """What an engine says of a container."""

    status: str
    """`created`, `running`, `exited`, …"""
    out_of_memory: bool
    """The kernel ended it for its memory."""
    exit_code: str
    """0 while it has none."""


def container_name(job_id: str, fence: int, place: Path) -> str:
    """`lowtide-2-train-7-1f0c9a52`: what an engine takes as a name, with the directory's digest to be this one's."""
    digest = hashlib.sha256(str(place).encode()).hexdigest()[:8]
    return f"lowtide-{fence}-{_NAME.sub('-', job_id)}-{digest}"


def find_engine() -> Engine | None:
    """The engine that is on the worker's PATH now: a pool's startup script may have just installed it."""
    path = os.environ.get("PATH") or DEFAULT_PATH
    found = next(filter(None, (shutil.which(name, path=path) for name in ENGINES)), None)
    return None if found is None else Engine(found)


class Engine:
    """One engine by its client's path. Its client never has a variable of a job's but by `_given_by_name`."""

    def __init__(self, program: str, pauses: tuple[float, ...] = (2.0, 8.0)) -> None:
        """`pauses`: seconds from one try of a pull to the next."""
        self._program = program
        self._podman = Path(program).name == "podman"
        self._pauses = pauses

    # --- images -------------------------------------------------------------------------------------------------------

    def fetch(self, image: str, stopped: Callable[[], bool]) -> None:
        """The image is on the instance afterwards. One that is there is fetched again only where its tag moves by
        custom (`latest`, which is also the tag of a name without one); it is used when that fails.

        Raises Unusable or Stopped."""
        if not re.match(r"[A-Za-z0-9]", image):
            raise Unusable(f"image {image} is no image's name")
        there = self._succeeds("inspect", "--type=image", "--format={{.Id}}", image)
        if there and not _moves(image):
            return
        error = self._pull(image, stopped)
        for pause in self._pauses:
            if error is None or there:
                return
            end = time.monotonic() + pause
            while time.monotonic() < end:
                if stopped():
                    raise Stopped
                time.sleep(min(0.1, pause))
            error = self._pull(image, stopped)
        if error is not None and not there:
            raise Unusable(
                f"image {image} cannot be pulled ({error}): check its name, and that the instance reaches and may "
                "read its registry"
            )

    def _pull(self, image: str, stopped: Callable[[], bool]) -> str | None:
        """The client's last line when it fails. Raises Stopped, the client having ended."""
        with tempfile.TemporaryFile() as said:
            client = self._client(["pull", "--quiet", image], subprocess.DEVNULL, said)
            while client.poll() is None:
                if stopped():
                    signal_group(client.pid, 9)
                    client.wait()
                    raise Stopped
                time.sleep(0.05)
            if client.returncode == 0:
                return None
            said.seek(0)
            lines = said.read().decode(errors="replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), f"exit {client.returncode}")

    # --- containers ---------------------------------------------------------------------------------------------------

    def run(self, container: Container, output: IO[bytes] | int) -> Contained:
        """Starts it, its output to `output`. Raises Unusable, OSError."""
        lines, named = _split(container.environment)
        reading, writing = os.pipe()
        try:
            arguments = self._arguments(container, f"/dev/fd/{reading}", sorted(named))
            client = self._client(arguments, output, output, more=named, passed=(reading,))
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        threading.Thread(target=_fill, args=(writing, lines), name="container environment", daemon=True).start()
        return Contained(self, container.name, client)

    def _arguments(self, container: Container, variables: str, named: list[str]) -> list[str]:
        """`--init`: as process 1 of its own a program would ignore every signal that it does not handle, SIGTERM among
        them; the engine's init passes SIGTERM on, and buries orphans. No log of the engine's: it would fill the disk
        with what CloudWatch has. The command is the whole command, so the image's entrypoint is left out."""
        account, place = container.account, container.place
        uid = os.getuid() if account.uid is None else account.uid
        gid = os.getgid() if account.gid is None else account.gid
        return [
            *("run", f"--name={container.name}", "--init", "--pull=never", "--log-driver=none"),
            *(f"--user={uid}:{gid}", *(f"--group-add={group}" for group in account.groups or ())),
            *("--cap-drop=ALL", "--security-opt=no-new-privileges", "--security-opt=label=disable", "--network=host"),
            *(f"--mount=type=bind,source={place},target={place}", f"--workdir={place / 'work'}"),
            *(f"--env-file={variables}", *(f"--env={name}" for name in named)),
            *_limits(container.allotment),
            *self._gpus(container.devices),
            *(f"--entrypoint={container.command[0]}", container.image, *container.command[1:]),
        ]

    def _gpus(self, devices: tuple[int, ...]) -> list[str]:
        """docker reads its value as CSV, so that the list of devices is quoted within it."""
        if self._podman:
            return [f"--device=nvidia.com/gpu={device}" for device in devices]
        return [f'--gpus="device={",".join(map(str, devices))}"'] if devices else []

    def signal(self, name: str, signal_name: str) -> bool:
        """Whether the container was there and running to get it."""
        return self._succeeds("kill", f"--signal={signal_name}", name)

    def state(self, name: str) -> State | None:
        """None: there is no such container, or no answer."""
        form = "{{.State.Status}} {{.State.OOMKilled}} {{.State.ExitCode}}"
        found = self._ask("inspect", "--type=container", f"--format={form}", name)
        words = found.stdout.split() if found is not None and found.returncode == 0 else []
        return State(words[0], words[1] == "true", words[2]) if len(words) == 3 else None

    def remove(self, name: str) -> bool:
        """Ends it if it runs. A container that is not there is removed."""
        return self._succeeds("rm", "--force", "--volumes", name) or self.state(name) is None

    # --- the client ---------------------------------------------------------------------------------------------------

    def _succeeds(self, *arguments: str) -> bool:
        found = self._ask(*arguments)
        return found is not None and found.returncode == 0

    def _ask(self, *arguments: str) -> subprocess.CompletedProcess[str] | None:
        """None: no answer in time, or no client any more."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            return subprocess.run(
                [self._program, *arguments],
                check=False,
                env=_client_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=ASK_SECONDS,
            )
        return None

    def _client(
        self,
        arguments: list[str],
        output: IO[bytes] | int,
        errors: IO[bytes] | int,
        more: dict[str, str] | None = None,
        passed: tuple[int, ...] = (),
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self._program, *arguments],
            env={**_client_environment(), **(more or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
            pass_fds=passed,
        )


class Contained:
    """A container that was asked for, as `Hosted` is a process. Signals go out from threads of their own: an engine may
    take its time, and who stops a job has others to stop."""

    def __init__(self, engine: Engine, name: str, client: subprocess.Popen[bytes]) -> None:
        self._engine = engine
        self._name = name
        self._client = client

    def terminate(self) -> None:
        threading.Thread(target=self._insist, args=("TERM",), name="container SIGTERM", daemon=True).start()

    def kill(self) -> None:
        threading.Thread(target=self._kill, name="container SIGKILL", daemon=True).start()

    def _insist(self, signal_name: str) -> None:
        """Again until it has got it: at first there may be no container yet."""
        while self._client.poll() is None and not self._engine.signal(self._name, signal_name):
            time.sleep(AGAIN_SECONDS)

    def _kill(self) -> None:
        """An engine that does not answer any more is not waited for: its processes are found without it."""
        thread = threading.Thread(target=self._insist, args=("KILL",), name="container SIGKILL", daemon=True)
        thread.start()
        try:
            self._client.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            signal_group(self._client.pid, 9)

    def wait(self) -> Exit:
        """How it ended, the container being gone. A signal is told as 128 and its number, as the engine tells it.

        Raises EngineFailed where the job never ran, or nobody knows how it ended."""
        status = self._client.wait()
        found = self._engine.state(self._name)
        self._engine.remove(self._name)
        its_own = found is not None and found.status in ENDED and found.exit_code == str(ENGINE_FAILED)
        if status < 0 or (status == ENGINE_FAILED and not its_own):
            raise EngineFailed(f"its client ended with {status}")
        return Exit(status, None, out_of_memory=found is not None and found.out_of_memory)


def _moves(image: str) -> bool:
    tag = image.rpartition("/")[2].partition(":")[2]
    return "@" not in image and tag in ("", "latest")


def _limits(allotment: Allotment) -> list[str]:
    """Memory without swap, as on the host; of it, half for /dev/shm, as Linux has it by default (an engine's own 64 MiB
    are too little for PyTorch's loaders)."""
    if allotment.memory_bytes is None:
        return ["--cpu-shares=10"]  # of 1,024: a hundredth, as limits.py gives an auxiliary job
    return [
        f"--cpus={max(0.01, allotment.cpus):.2f}",
        *(f"--memory={allotment.memory_bytes}", f"--memory-swap={allotment.memory_bytes}"),
        f"--shm-size={allotment.memory_bytes // 2}",
    ]


def _client_environment() -> dict[str, str]:
    """What a client needs: programs, its configuration (registries' logins are in root's home), podman's own place."""
    given = {"PATH": os.environ.get("PATH") or DEFAULT_PATH, "HOME": str(Path.home()), "LANG": "C.UTF-8"}
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return {**given, "XDG_RUNTIME_DIR": runtime} if runtime else given


def _split(environment: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """Variables as a file, and those whose values no line of such a file can hold: these alone are given by name, and
    for that the client has them itself. Raises Unusable where it would heed them."""
    named = {name: value for name, value in environment.items() if _needs_a_name(value)}
    heeded = sorted(filter(_OF_THE_CLIENT.match, named))
    if heeded:
        raise Unusable(
            f"{heeded[0]} has several lines or over {LONGEST_LINE:,} bytes, which a container cannot be given under "
            "that name: choose another name, or put it into a file"
        )
    lines = "".join(f"{name}={value}\n" for name, value in environment.items() if name not in named)
    return lines.encode(errors="surrogateescape"), named


def _needs_a_name(value: str) -> bool:
    return "\n" in value or "\r" in value or len(value.encode(errors="surrogateescape")) > LONGEST_LINE


def _fill(writing: int, content: bytes) -> None:
    """Into a pipe, so that the values are in no file. A client that ended without reading is its own news."""
    with contextlib.suppress(OSError), os.fdopen(writing, "wb") as stream:
        stream.write(content)
