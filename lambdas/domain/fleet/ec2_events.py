"""EC2's events about instances, as EventBridge delivers them, parsed into news by a table. Pure; nothing is refused by
an exception: what is no news says why.

    {"id": "7bf73129-…", "detail-type": "EC2 Spot Instance Interruption Warning", "source": "aws.ec2",
     "account": "123456789012", "time": "2026-11-23T15:00:00Z", "region": "us-west-2",
     "resources": ["arn:aws:ec2:us-west-2b:instance/i-0b662ef9931388ba0"],
     "detail": {"instance-id": "i-0b662ef9931388ba0", "instance-action": "terminate"}}
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lambdas.domain.fleet import observed
from lambdas.domain.instants import from_text


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptionWarned:
    """EC2 is going to take a spot instance back."""

    event_id: str
    instance_id: str
    at: datetime
    """When EC2 said so; it ends the instance some two minutes later, however late the event is delivered."""
    action: str
    """terminate, stop or hibernate: to us the same, the instance is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RebalanceAdvised:
    """EC2 sees a raised risk of interruption."""

    event_id: str
    instance_id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChanged:
    """An instance is on its way out, or out."""

    event_id: str
    instance_id: str
    at: datetime
    state: str


News = InterruptionWarned | RebalanceAdvised | StateChanged


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """An event that is no news, and why."""

    why: str
    expected: bool
    """True: such events come all the time (an instance has started). False: EC2 has said something we do not know."""


_NEWS_STATES = observed.LOST - {observed.GONE}
_DULL_STATES = {observed.PENDING, observed.RUNNING}


def _warning(origin: dict[str, Any], detail: Mapping[str, Any]) -> News | Ignored:
    action = detail.get("instance-action")
    if action not in {"terminate", "stop", "hibernate"}:
        return Ignored(why=f"instance-action {action!r}", expected=False)
    return InterruptionWarned(**origin, action=action)


def _rebalance(origin: dict[str, Any], _: Mapping[str, Any]) -> News | Ignored:
    return RebalanceAdvised(**origin)


def _state_change(origin: dict[str, Any], detail: Mapping[str, Any]) -> News | Ignored:
    state = detail.get("state")
    if state in _NEWS_STATES:
        return StateChanged(**origin, state=state)
    return Ignored(why=f"state {state!r}", expected=state in _DULL_STATES)


_PARSERS: dict[str, Callable[[dict[str, Any], Mapping[str, Any]], News | Ignored]] = {
    "EC2 Spot Instance Interruption Warning": _warning,
    "EC2 Instance Rebalance Recommendation": _rebalance,
    "EC2 Instance State-change Notification": _state_change,
}


def parse(event: Any) -> News | Ignored:
    """The news in an event, or why there is none."""
    if not isinstance(event, dict) or event.get("source") != "aws.ec2":
        return Ignored(why="not an event of aws.ec2", expected=False)
    parser, detail = _PARSERS.get(str(event.get("detail-type"))), event.get("detail")
    if parser is None or not isinstance(detail, dict):
        return Ignored(why=f"detail-type {event.get('detail-type')!r}", expected=False)
    instance_id, event_id, at = detail.get("instance-id"), event.get("id"), _instant(event.get("time"))
    if not (isinstance(instance_id, str) and instance_id.startswith("i-") and isinstance(event_id, str) and at):
        return Ignored(why="no instance id, event id or time", expected=False)
    return parser({"event_id": event_id, "instance_id": instance_id, "at": at}, detail)


def _instant(text: Any) -> datetime | None:
    try:
        return from_text(text) if isinstance(text, str) else None
    except ValueError:
        return None
