"""What the agent needs of the world: time, calls, notices, processes, power; and the terms it works on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from worker.imds import Notice
from worker.leases import Lease, Outcome, Stop
from worker.pace import Reserve


class Clock(Protocol):
    def now(self) -> datetime:
        """Aware; for what is written down and compared with EC2's instants."""
        ...

    def monotonic(self) -> float: ...


class Calls(Protocol):
    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]: ...


class Notices(Protocol):
    def interruption(self) -> Notice | None: ...
    def rebalance(self) -> Notice | None: ...


class Running(Protocol):
    @property
    def lease(self) -> Lease: ...
    @property
    def devices(self) -> tuple[int, ...]: ...
    @property
    def outcome(self) -> Outcome | None: ...
    def stop(self, why: Stop, kill_after: float = ...) -> None: ...
    def warn(self, notice: Notice, seconds_left: float) -> None: ...
    def confirm(self, began_at: float) -> None: ...
    def standing(self) -> dict[str, str]:
        """What a heartbeat tells of it (progress.standing)."""
        ...

    def forget(self) -> None: ...


class Starts(Protocol):
    def start(self, lease: Lease, devices: tuple[int, ...], terms: Terms) -> Running: ...
    def clear_leftovers(self) -> list[tuple[str, int]]: ...


class Switch(Protocol):
    def off(self, why: str) -> None: ...
    def keep_on(self) -> None: ...


@dataclass(frozen=True)
class Machine:
    """What hello tells of the instance."""

    boot_id: str
    worker: str
    """The artefact's version: which worker this is."""
    vcpus: int
    memory_mib: int
    gpus: int


@dataclass(frozen=True)
class Terms:
    """What hello answers: the pool's slots and the deployment's periods, in seconds."""

    slots: int
    aux_slots: int
    heartbeat: float
    notice_poll: float
    checkpoint: float
    """From one save of a job's checkpoint to the next."""
    reserve: Reserve

    @classmethod
    def parse(cls, answer: dict[str, Any]) -> Terms:
        settings = answer["settings"]
        return cls(
            int(answer["slots"]),
            int(answer["aux_slots"]),
            float(settings["heartbeat_seconds"]),
            float(settings["notice_poll_seconds"]),
            float(settings["checkpoint_seconds"]),
            Reserve(float(settings["reserve_least_seconds"]), float(settings["reserve_most_seconds"])),
        )
