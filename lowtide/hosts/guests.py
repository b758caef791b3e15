"""How a guest gets a file system of its own, so that /etc/lowtide and /opt/lowtide in its user data are its own.

`Namespaced`: a root directory, mount and process namespace of its own (root, or a user namespace where Linux permits
one). The machine's files are all there to read; /etc, /opt, /run, /var/lib are directories of links to them, so that
what the guest adds stays in its own directory; /root, /home, /tmp and /var/log are its own and empty.

`Rewritten`, where the machine permits neither (a container without the right, macOS): the guest runs beside everything
else, and `PREFIXES` in its user data are rewritten, textually, to its own directory. Nothing else is changed.
"""

import ctypes
import os
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import psutil

from lowtide.hosts import orphans, standins

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PREFIXES = (
    "/etc/lowtide",
    "/opt/lowtide",
    "/var/lib/lowtide",
    "/var/log/lowtide",
    "/run/lowtide",
    "/etc/systemd/system",
)
OWN = ("home", "root", "tmp")
"""Empty in a guest: the caller's files and credentials are not an instance's."""
ADDED_TO = {
    "etc": ("lowtide", "passwd", "group", "systemd"),
    "opt": ("lowtide",),
    "run": ("lowtide", "systemd"),
    "var/lib": ("lowtide",),
}
"""Directories of links to the machine's, and what of the machine's is not linked: the guest has its own."""
HOST = ".host"
"""Where the machine's own tree is seen inside a guest."""

_INIT = """#!/bin/bash
# First process of the instance. Writes `shutdown` to its pipe when the guest powers itself off, and stays until killed.
echo $$ > {machine}/run/init.pid
trap 'echo shutdown' TERM
cd /
if [ -f {machine}/user-data ]; then
  bash {machine}/user-data >> {machine}/console.log 2>&1 < /dev/null &
fi
while :; do
  sleep 86400 > /dev/null 2>&1 &
  wait $!
done
"""
_MOUNT = """set -e
mount --rbind / {root}/{host}
mount -t proc proc {root}/proc
{interpreter}
exec chroot {root} /bin/bash /machine/init
"""
_TIED = """import ctypes, os, signal, sys
prctl = ctypes.CDLL(None).prctl
prctl(1, signal.SIGKILL, 0, 0, 0)
prctl(36, 1, 0, 0, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Runs a command that the kernel kills with the thread that started it (PR_SET_PDEATHSIG), and to which the orphans
among its descendants come back (PR_SET_CHILD_SUBREAPER), so that none of them is ever out of sight."""


class Guests(Protocol):
    """One way to give guests their file system."""

    def prepare(self, place: Path, user_data: bytes | None, *, gpus: int) -> None:
        """Makes everything of one instance under `place`, which does not exist yet."""
        ...

    def command(self, place: Path) -> Sequence[str]:
        """What runs its first process; its standard output is the pipe that `init` writes to."""
        ...

    def environment(self, place: Path) -> dict[str, str]: ...


class Namespaced:
    def __init__(self, unshare: Sequence[str], *, own_users: bool) -> None:
        """`unshare`: the command with the options that this machine permits. `own_users`: it may change user ids."""
        self._unshare = list(unshare)
        self._own_users = own_users
        self._python = Path(sys.executable).resolve()

    def prepare(self, place: Path, user_data: bytes | None, *, gpus: int) -> None:
        root = place / "root"
        _link_tree(root)
        _make_machine(root / "machine", user_data, machine="/machine")
        standins.write(
            root / "machine" / "bin",
            machine="/machine",
            root="",
            own_users=self._own_users,
            python=str(self._python),
            gpus=gpus,
        )
        if self._hidden_prefix():
            (root / self._hidden_prefix()).mkdir(parents=True)
        (place / "mount").write_text(
            _MOUNT.format(root=_quoted(root), host=HOST, interpreter=self._interpreter_mount(root))
        )

    def command(self, place: Path) -> Sequence[str]:
        return _tied([*self._unshare, "/bin/bash", str(place / "mount")])

    def environment(self, place: Path) -> dict[str, str]:  # noqa: ARG002 - the same in every guest
        return {"PATH": f"/machine/bin:{SYSTEM_PATH}", "HOME": "/root"}

    def _hidden_prefix(self) -> str:
        """The interpreter's own installation, relative to the root, when a guest would not see it; else empty."""
        prefix = Path(sys.base_prefix).resolve()
        return str(prefix)[1:] if prefix.parts[1] in OWN else ""

    def _interpreter_mount(self, root: Path) -> str:
        hidden = self._hidden_prefix()
        return f"mount --rbind {_quoted(Path('/', hidden))} {_quoted(root / hidden)}" if hidden else ""


class Rewritten:
    def prepare(self, place: Path, user_data: bytes | None, *, gpus: int) -> None:
        """Raises ValueError when `place` has a blank in it: user data does not quote its paths."""
        if re.search(r"\s", str(place)):
            raise ValueError(f"instances cannot live in {str(place)!r}: choose a data directory without blanks")
        root = place / "root"
        for name in ("etc/systemd/system", "opt", "var/lib", "var/log", "run", "tmp", "home"):
            (root / name).mkdir(parents=True)
        machine = str(root / "machine")
        _make_machine(root / "machine", rewritten(user_data, root) if user_data else None, machine=machine)
        standins.write(
            root / "machine" / "bin",
            machine=machine,
            root=str(root),
            own_users=False,
            python=str(Path(sys.executable).resolve()),
            gpus=gpus,
        )

    def command(self, place: Path) -> Sequence[str]:
        return _tied(["/bin/bash", str(place / "root" / "machine" / "init")])

    def environment(self, place: Path) -> dict[str, str]:
        root = place / "root"
        return {"PATH": f"{root}/machine/bin:{SYSTEM_PATH}", "HOME": f"{root}/home", "TMPDIR": str(root / "tmp")}


def rewritten(user_data: bytes, root: Path) -> bytes:
    """User data with `PREFIXES` led to `root`, where they stand as paths of their own and not inside longer ones."""
    either = "|".join(re.escape(prefix) for prefix in PREFIXES)
    pattern = rf"(?<![\w./-])({either})(?![\w-])".encode()
    return re.sub(pattern, lambda found: str(root).encode() + found[1], user_data)


def best_for_this_machine(probe_place: Path) -> Guests:
    """The first way in which a guest really starts here; each is tried with a guest of its own, in some 100 ms."""
    unshare = shutil.which("unshare")
    namespaces = ["--mount", "--pid", "--fork", "--kill-child"]
    candidates: list[Guests] = []
    if unshare and sys.platform == "linux":
        if os.geteuid() == 0:
            candidates.append(Namespaced([unshare, *namespaces], own_users=True))
        candidates.append(Namespaced([unshare, "--map-root-user", *namespaces], own_users=False))
    for number, candidate in enumerate(candidates):
        if starts(candidate, probe_place / str(number)):
            return candidate
    return Rewritten()


def starts(guests: Guests, place: Path, seconds: float = 20.0) -> bool:
    """Whether a guest comes up in which Python runs and /opt/lowtide is its own. Leaves nothing behind."""
    user_data = b'mkdir -p /opt/lowtide && cd /opt/lowtide && python3 -c \'open("up", "w")\'; poweroff\n'
    try:
        guests.prepare(place, user_data, gpus=0)
        with subprocess.Popen(
            guests.command(place),
            env=guests.environment(place),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            try:
                select.select([process.stdout], [], [], seconds)
            finally:
                orphans.end(psutil.Process(process.pid), grace=0.0)
        return (place / "root/opt/lowtide/up").exists() and not Path("/opt/lowtide/up").exists()
    except (OSError, psutil.NoSuchProcess):
        return False
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _tied(command: list[str]) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", _TIED, *command] if hasattr(ctypes.CDLL(None), "prctl") else command


def _make_machine(machine_directory: Path, user_data: bytes | None, *, machine: str) -> None:
    (machine_directory / "run").mkdir(parents=True)
    (machine_directory / "console.log").touch()
    (machine_directory / "init").write_text(_INIT.format(machine=machine))
    if user_data:
        (machine_directory / "user-data").write_bytes(user_data)


def _link_tree(root: Path) -> None:
    """A root directory that shows the machine's files and takes what a guest adds."""
    for name in (HOST, "proc", "machine", "var/log", "var/tmp", "etc/systemd/system", "run/systemd", *OWN, *ADDED_TO):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    for name in ("passwd", "group"):
        shutil.copyfile(f"/etc/{name}", root / "etc" / name)
    for folder, kept in (("", ()), ("var", ()), *ADDED_TO.items()):
        for entry in Path("/", folder).iterdir():
            place = root / folder / entry.name
            if entry.name not in kept and not place.is_symlink() and not place.exists():
                place.symlink_to(Path("/", HOST, folder, entry.name))


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"
