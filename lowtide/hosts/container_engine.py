"""A container engine's client that has no engine: `run`, `kill`, `inspect`, `rm` and `pull` as docker takes them.

It runs the command as a process of this machine, in its file system. True of it: names, users, variables, the working
directory, signals to all of the group, exit codes and their meaning, states, the end by memory. Not so: images (any can
be pulled and none is read), mounts (a path must be there already), cpu limits, GPUs, capabilities, networks.

It is copied beside the other stand-ins and imports the standard library alone. What it knows is beside it, in
`containers/NAME/state`, `images/NAME` and `calls`, its arguments one JSON list a line.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENGINE_FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127
LOOK_SECONDS = 0.02

Options = dict[str, list[str]]


class Store:
    """What the engine knows, in a directory."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def note(self, arguments: Sequence[str]) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        with (self.place / "calls").open("a") as calls:
            calls.write(json.dumps(list(arguments)) + "\n")

    def image(self, name: str) -> Path:
        return self.place / "images" / quote(name, safe="")

    def container(self, name: str) -> Path:
        return self.place / "containers" / name

    def record(
        self, name: str, status: str, *, process: int = 0, out_of_memory: bool = False, exit_code: int = 0
    ) -> None:
        """Whole or not at all; nothing once the container is removed."""
        folder = self.container(name)
        if folder.is_dir():
            fresh = folder / ".state"
            told = {"status": status, "process": process, "out_of_memory": out_of_memory, "exit_code": exit_code}
            fresh.write_text(json.dumps(told))
            fresh.replace(folder / "state")

    def state(self, name: str) -> dict[str, str | int | bool] | None:
        try:
            return json.loads((self.container(name) / "state").read_text())
        except FileNotFoundError:
            return None


def main(arguments: Sequence[str], store: Store) -> int:
    store.note(arguments)
    verb, options, rest = arguments[0], *_options(arguments[1:])
    match verb:
        case "pull":
            store.image(rest[0]).parent.mkdir(parents=True, exist_ok=True)
            store.image(rest[0]).touch()
            return 0
        case "run":
            return _run(store, options, rest)
        case "kill":
            return _kill(store, rest[0], options["signal"][-1])
        case "inspect":
            return _inspect(store, options, rest[0])
        case "rm":
            return _remove(store, rest[0])
        case _:
            return _failed(f"{verb} is no command of this stand-in", 1)


def _options(arguments: Sequence[str]) -> tuple[Options, list[str]]:
    """`--name=value` and `--flag`, up to the first argument that is neither."""
    found: Options = defaultdict(list)
    for place, argument in enumerate(arguments):
        if not argument.startswith("--"):
            return found, list(arguments[place:])
        name, _, value = argument[2:].partition("=")
        found[name].append(value)
    return found, []


def _run(store: Store, options: Options, rest: list[str]) -> int:
    name, image, command = options["name"][-1], rest[0], [*options["entrypoint"], *rest[1:]]
    if not store.image(image).exists():
        return _failed(f"No such image: {image}", ENGINE_FAILED)
    try:
        store.container(name).mkdir(parents=True)
    except FileExistsError:
        return _failed(f"The container name {name} is already in use", ENGINE_FAILED)
    store.record(name, "created")
    try:
        process = _started(command, options)
    except OSError as error:
        return _failed(str(error), NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE)
    store.record(name, "running", process=process.pid)
    out_of_memory = _ended_for_memory(process, [int(value) for value in options["memory"]])
    _signal_group(process.pid, signal.SIGKILL)
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    store.record(name, "exited", out_of_memory=out_of_memory, exit_code=code)
    return code


def _started(command: list[str], options: Options) -> subprocess.Popen[bytes]:
    uid, gid = map(int, options["user"][-1].split(":"))
    other = os.geteuid() == 0
    return subprocess.Popen(
        command,
        cwd=options["workdir"][-1],
        env=_environment(options),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        user=uid if other else None,
        group=gid if other else None,
        extra_groups=[int(group) for group in options["group-add"]] if other else None,
    )


def _environment(options: Options) -> dict[str, str]:
    found = {"PATH": DEFAULT_PATH}
    for file in options["env-file"]:
        for line in Path(file).read_text().split("\n"):
            name, equals, value = line.partition("=")
            if equals:
                found[name] = value
    return found | {name: os.environ[name] for name in options["env"] if name in os.environ}


def _ended_for_memory(process: subprocess.Popen[bytes], bounds: list[int]) -> bool:
    """Waits for it, and ends it as the kernel would where its processes together have more than a bound allows."""
    while process.poll() is None:
        if bounds and _resident_bytes(process.pid) > min(bounds):
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(LOOK_SECONDS)
    return False


def _resident_bytes(session: int) -> int:
    """Of every process of the session, pages that they share counted for each; 0 without Linux's /proc."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return total


def _kill(store: Store, name: str, number: str) -> int:
    state = store.state(name)
    if state is None or state["status"] != "running":
        return _failed(f"Cannot kill container: {name}: no such container, or it is not running", 1)
    _signal_group(int(state["process"]), signal.Signals[f"SIG{number}"])
    return 0


def _inspect(store: Store, options: Options, name: str) -> int:
    if options["type"] == ["image"]:
        return 0 if store.image(name).exists() else _failed(f"No such image: {name}", 1)
    state = store.state(name)
    if state is None:
        return _failed(f"No such container: {name}", 1)
    told = {
        "{{.State.Status}}": str(state["status"]),
        "{{.State.OOMKilled}}": str(state["out_of_memory"]).lower(),
        "{{.State.ExitCode}}": str(state["exit_code"]),
    }
    text = options["format"][-1]
    for field, value in told.items():
        text = text.replace(field, value)
    sys.stdout.write(text + "\n")
    return 0


def _remove(store: Store, name: str) -> int:
    state = store.state(name)
    if state is None:
        return _failed(f"No such container: {name}", 1)
    if state["status"] == "running":
        _signal_group(int(state["process"]), signal.SIGKILL)
    shutil.rmtree(store.container(name))
    return 0


def _signal_group(leader: int, number: int) -> None:
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):  # PermissionError: macOS, for a group of zombies
        return


def _failed(text: str, status: int) -> int:
    sys.stderr.write(f"Error: {text}\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Store(Path(__file__).parent / "engine")))
