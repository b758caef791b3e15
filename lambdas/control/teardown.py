"""The stack's last work, a custom resource that CloudFormation deletes first: launches stop, then every instance ends,
then the bucket is emptied if it goes with the stack.

Nothing launched is missed, although Describe shows a new instance late: the table names what CreateFleet answered, open
intentions say what may still be answered, and only what is found to be nothing twice in a row counts as nothing.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol, Self

from lambdas import names
from lambdas.adapters.launch_templates import LaunchTemplates
from lambdas.adapters.observations import Observations
from lambdas.adapters.stack_switch import StackSwitch
from lambdas.control.observe import Fleet
from lambdas.domain.fleet import observed
from lambdas.domain.settings import Settings

_log = logging.getLogger(__name__)

RESERVE = timedelta(seconds=30)
"""Time kept for one more look and for the answer, which CloudFormation otherwise waits for in vain."""
NAMED_MOST = 10
"""Instances that a failure's sentence names."""


class Emptied(Protocol):
    """A bucket that goes with the stack."""

    @property
    def name(self) -> str: ...

    def empty(self, time_left: Callable[[], timedelta]) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """What ending a stack needs."""

    stack: str
    switch: StackSwitch
    observations: Observations
    ec2: Fleet
    templates: LaunchTemplates
    settings: Settings
    now: Callable[[], datetime]
    pause: Callable[[float], None]
    bucket: Callable[[str], Emptied]
    """By name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What CloudFormation asks, and what the template says of the stack's data."""

    type: str
    emptied: str = ""
    """The bucket that goes with the stack; empty: none does."""
    retained: str = "nothing"
    """What stays behind, in words."""

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Self:
        told = event.get("ResourceProperties", {})
        return cls(
            type=event["RequestType"],
            emptied=told.get(names.PROPERTY_EMPTIED, ""),
            retained=told.get(names.PROPERTY_RETAINED, "nothing"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    succeeded: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Left:
    """What one look found."""

    instances: tuple[str, ...] = ()
    """Not terminated yet, those included that already shut down: they still hold their network interfaces."""
    to_end: tuple[str, ...] = ()
    launches: int = 0
    """Calls that may still bring instances."""
    templates: tuple[str, ...] = ()
    """Launch templates of pools."""
    refused: tuple[str, ...] = ()
    """EC2's codes where it refused to end some of them."""

    def nothing(self) -> bool:
        return not self.instances and not self.launches and not self.templates


def respond(closing: Closing, request: Request, time_left: Callable[[], timedelta]) -> Result:
    """Do what CloudFormation asks: `Delete` ends every instance and empties the bucket that goes with the stack;
    anything else lets launches begin. May be repeated."""
    if request.type != "Delete":
        closing.switch.open(closing.stack, closing.now())
        return Result(succeeded=True, reason="Launches may begin.")
    left = _end_all(closing, time_left)
    if not left.nothing():
        return Result(succeeded=False, reason=_sentence(left))
    if request.emptied and not closing.bucket(request.emptied).empty(time_left):
        return Result(succeeded=False, reason=f"The bucket {request.emptied} is not empty yet; delete the stack again.")
    return Result(
        succeeded=True,
        reason=f"Launches are stopped and every instance has ended. Retained: {request.retained}.",
    )


def physical_id(stack: str) -> str:
    """The same for ever: another id would make CloudFormation delete the old one, which ends instances."""
    return f"{stack}-instances"


def _end_all(closing: Closing, time_left: Callable[[], timedelta]) -> _Left:
    """End instances until two looks in a row find nothing, or until only RESERVE is left; what the last look found."""
    has_table = closing.switch.close(closing.now())
    empty = 0
    while True:
        left = _look(closing, has_table=has_table)
        empty = empty + 1 if left.nothing() else 0
        for name in left.templates:
            closing.templates.delete(name)
        if left.to_end:
            left = _end(closing, left)
        if empty == 2 or time_left() < RESERVE:
            return left
        closing.pause(closing.settings.teardown_look.total_seconds())


def _end(closing: Closing, left: _Left) -> _Left:
    ended = closing.ec2.terminate(left.to_end)
    refused = tuple(dict.fromkeys(failure.code for failure in ended.failures))
    _log.info("ending instances", extra={"instance_ids": left.to_end, "refused": refused})
    return replace(left, refused=refused)


def _look(closing: Closing, *, has_table: bool) -> _Left:
    listed = {instance.instance_id: instance.state for page in closing.ec2.pages() for instance in page.instances}
    recorded, launches = _recorded(closing, listed) if has_table else ((), 0)
    alive = [instance_id for instance_id, state in listed.items() if state != observed.TERMINATED]
    to_end = [instance_id for instance_id in alive if listed[instance_id] != observed.SHUTTING_DOWN]
    return _Left(
        instances=(*alive, *recorded),
        to_end=(*to_end, *recorded),
        launches=launches,
        templates=tuple(closing.templates.every()),
    )


def _recorded(closing: Closing, listed: Mapping[str, Any]) -> tuple[tuple[str, ...], int]:
    """Instances that CreateFleet named and Describe does not list yet, and launches that may still bring some."""
    now, settings = closing.now(), closing.settings
    unseen = (known for known in closing.observations.fleet().values() if known.instance_id not in listed)
    fresh = tuple(
        known.instance_id
        for known in unseen
        if known.observed_state not in observed.OVER and now < known.launched_at + settings.unseen_grace
    )
    return fresh, closing.observations.launches_under_way(since=now - settings.observation_margin)


def _sentence(left: _Left) -> str:
    if not left.instances and not left.launches:
        return f"Launch templates are left: {', '.join(left.templates)}. Delete them, then delete the stack again."
    if not left.instances:
        return f"{left.launches} launches may still bring instances; delete the stack again in two minutes."
    named = ", ".join(left.instances[:NAMED_MOST]) + (" and more" if len(left.instances) > NAMED_MOST else "")
    refused = f" EC2 refused: {', '.join(left.refused)}." if left.refused else ""
    return f"{len(left.instances)} instances have not ended: {named}.{refused} End them, then delete the stack again."
