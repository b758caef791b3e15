"""What a pass may do: the actions of a plan, each a value with its why. What decides on them is plan.py."""

from dataclasses import dataclass
from datetime import datetime

from lambdas.domain.fleet.fleet import Intention, LaunchRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Ask EC2 for `request.count` instances. One CreateFleet call."""

    request: LaunchRequest
    why: str
    replaces: bool = False
    """True where it replaces capacity that EC2 announced to end: such requests get tokens first."""
    kept_for: tuple[str, ...] = ()
    """Jobs for whose deadlines it is made: each has one of the instances kept for it from the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """Make an unanswered intention's identical call again, with its token (`now` is before its `not_after`)."""

    intention: Intention
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Close an intention whose outcome is known from observations: what it launched has been adopted."""

    intention: Intention
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire:
    """Drain each of these if it holds no lease at that moment, and terminate those that were drained."""

    instance_ids: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Give these no more jobs. Each keeps the jobs it has, and is ended when the last of them is."""

    instance_ids: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Give this instance no more jobs, and have its worker end those that it runs with a last save: each goes on
    elsewhere at less cost (in_time.py). Theirs are all its jobs."""

    instance_id: str
    job_ids: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminate:
    """End instances that are draining and hold no lease (or never reported). Repeated until EC2 reports them gone."""

    instance_ids: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnJob:
    """End a lease and queue its job again: its instance is gone, or was silent for a full lease length."""

    job_id: str
    instance_id: str
    fence: int
    why: str
    renewed_at: datetime | None = None
    """The last renewal that was seen: a lease renewed since is left alone. None: it is ended whatever it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Drop the record of an instance that EC2 no longer has and that holds no lease."""

    instance_id: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Keep the instance free for this job until it has its room there (starvation.py); None: for nobody any more."""

    instance_id: str
    job_id: str | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailQueued:
    """These queued jobs fail, with the why as their reason: no instance for them can be launched (launch_errors.py)."""

    job_ids: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkQueued:
    """The pool is deleted: park what waits in its queue with a reason."""

    why: str


Action = (
    Launch | Repeat | Close | Retire | Drain | Move | Terminate | ReturnJob | Forget | Keep | FailQueued | ParkQueued
)


def name_of(action: Action) -> str:
    """As outcomes, decisions and log lines call it: `returnjob`."""
    return type(action).__name__.lower()
