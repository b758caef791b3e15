"""CPU and memory of each job by cgroup v2, where the system has it and lets the worker make groups; said where not.

The worker's unit owns its part of the tree (`Delegate=yes`, boot.py). The worker moves itself into a leaf, `worker`,
since a group with processes of its own cannot divide; each attempt gets a group beside that. A job gets its share of
the instance, by its slots or by the resources that it names: CPU time in that proportion when others want it too, and
no more memory than its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

from worker.log import Log

WANTED = ("cpu", "memory")
ROOT = Path("/sys/fs/cgroup")
KILL = "cgroup.kill"
KILL_ROUNDS = 20
"""Where there is no such file: what is killed may have started something just before."""
KILL_PAUSE_SECONDS = 0.01
LEAST_SHARE = 0.01
"""As an auxiliary job, which takes nothing, or one that names less: a hundredth of the instance's CPU."""
WEIGHT = 10_000
"""cpu.weight of the whole instance; the kernel takes 1 to 10,000."""


class Allotment(NamedTuple):
    """An attempt's share of the instance in numbers, for who keeps to it by other means than a group."""

    cpus: float
    memory_bytes: int | None
    """None: an auxiliary job's, without a bound."""


class Group:
    """One attempt's."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def take(self, process_id: int) -> None:
        """Puts a process in; what it starts is born there. Raises OSError."""
        (self._place / "cgroup.procs").write_text(str(process_id), encoding="ascii")

    def out_of_memory(self) -> bool:
        """Whether the kernel ended something in it for its memory."""
        with contextlib.suppress(OSError, ValueError):
            events = dict(line.split() for line in (self._place / "memory.events").read_text().splitlines())
            return int(events.get("oom_kill", 0)) > 0
        return False

    def end(self) -> None:
        """SIGKILLs what is still in it. A process may have cleared or overwritten its environment, by which all others
        are found: a daemon that was started with an empty one, a program that sets its own title."""
        with contextlib.suppress(OSError):
            if (self._place / KILL).exists():  # Linux 5.14
                (self._place / KILL).write_text("1", encoding="ascii")
                return
            for _ in range(KILL_ROUNDS):
                found = [int(line) for line in (self._place / "cgroup.procs").read_text(encoding="ascii").split()]
                if not found:
                    return
                for process_id in found:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process_id, signal.SIGKILL)
                time.sleep(KILL_PAUSE_SECONDS)

    def remove(self) -> None:
        """Its processes are gone; a group that is busy stays, and goes with the instance."""
        with contextlib.suppress(OSError):
            self._place.rmdir()


class Limits:
    """`group` makes one for an attempt; None where there are none to be had."""

    def __init__(self, base: Path | None, *, memory_mib: int, vcpus: int) -> None:
        self._base = base
        self._memory_bytes = memory_mib * 2**20
        self._vcpus = vcpus

    def share(self, share: float) -> Allotment:
        """`share`: of the instance, 0 to 1; 0 is an auxiliary job's, whose memory has no bound but the instance's."""
        part = min(1.0, share)
        return Allotment(self._vcpus * part, round(self._memory_bytes * part) if share > 0 else None)

    def named(self, vcpus: float, memory_mib: int) -> Allotment:
        """Never more than there is: an instance has a little less memory than its type is said to have."""
        return Allotment(min(float(self._vcpus), vcpus), min(self._memory_bytes, memory_mib * 2**20))

    def group(self, name: str, allotment: Allotment) -> Group | None:
        """Memory: the kernel ends the whole group at its bound, rather than one process of it. Raises OSError."""
        if self._base is None:
            return None
        place = self._base / name
        place.mkdir(exist_ok=True)
        share = allotment.cpus / max(1, self._vcpus)
        weight = max(1, round(WEIGHT * max(share, LEAST_SHARE)))
        (place / "cpu.weight").write_text(str(weight), encoding="ascii")
        if allotment.memory_bytes is not None:
            (place / "memory.max").write_text(str(allotment.memory_bytes), encoding="ascii")
        (place / "memory.oom.group").write_text("1", encoding="ascii")
        return Group(place)


def limits(
    log: Log, *, memory_mib: int, vcpus: int, root: Path = ROOT, own: Path = Path("/proc/self/cgroup")
) -> Limits:
    """What this system has. Where it has none the log says why and jobs run without."""
    try:
        base = root / _own_group(own).lstrip("/")
        available = (base / "cgroup.controllers").read_text(encoding="ascii").split()
        missing = [name for name in WANTED if name not in available]
        if missing:
            raise OSError(f"no {' and no '.join(missing)} controller for the worker's group")
        (base / "worker").mkdir(exist_ok=True)
        (base / "worker" / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
        (base / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in WANTED), encoding="ascii")
    except (OSError, ValueError) as error:
        log("jobs-without-limits", why=str(error))
        return Limits(None, memory_mib=memory_mib, vcpus=vcpus)
    log("jobs-with-limits", group=str(base))
    return Limits(base, memory_mib=memory_mib, vcpus=vcpus)


def _own_group(own: Path) -> str:
    """The path in the v2 tree, `0::/system.slice/lowtide-worker.service`; the unit's own where the worker is restarted
    in its leaf."""
    for line in own.read_text(encoding="ascii").splitlines():
        hierarchy, _, path = line.split(":", 2)
        if hierarchy == "0" and path != "/":
            return path[: -len("/worker")] if path.endswith("/worker") else path
    raise OSError("the worker is in no cgroup v2 of its own")
