"""What EC2's words for an instance mean here, and which of them may follow which. Pure.

EC2 tells of an instance in two ways that overtake each other: Describe (late by up to a minute) and events (late,
doubled, out of order). An instance that ends never comes back, so what says that it ends wins whatever its age.
"""

from datetime import datetime, timedelta

from lambdas.domain.fleet.fleet import Instance
from lambdas.domain.pools.pools import CapacityType

PENDING = "pending"
RUNNING = "running"
STOPPING = "stopping"
STOPPED = "stopped"
SHUTTING_DOWN = "shutting-down"
TERMINATED = "terminated"
GONE = "gone"
"""Lowtide's own word: Describe does not list it any more."""

ENDING = frozenset({SHUTTING_DOWN, TERMINATED})
OVER = frozenset({TERMINATED, GONE})
LOST = frozenset({STOPPING, STOPPED, SHUTTING_DOWN, TERMINATED, GONE})
"""States in which an instance takes no job. A stopped one too: nobody here would start it again."""

FROM_WITHIN = "Client.InstanceInitiatedShutdown"
BY_REQUEST = "Client.UserInitiatedShutdown"
NOT_EC2S_WILL = frozenset({FROM_WITHIN, BY_REQUEST})
"""EC2's state reasons of an end that somebody else wanted: the guest powered itself off, or a caller of EC2 ended it.
EC2's own are `Server.SpotInstanceTermination` and `Server.SpotInstanceShutdown`. What is missing or unknown counts as
EC2's: taken for a loss of capacity, an end costs another zone's price; overlooked, it costs the next instance too."""

INTERRUPTED = "EC2 announced that it takes the spot instance back"
"""Why such an instance drains, as people read it."""

_REPORTED = "EC2 reports it"

_KEPT: dict[str, frozenset[str]] = {
    SHUTTING_DOWN: frozenset({SHUTTING_DOWN, TERMINATED, GONE}),
    TERMINATED: frozenset({TERMINATED, GONE}),
    GONE: frozenset({GONE}),
}
"""New state -> the recorded states that it does not replace."""


def kept_against(state: str) -> frozenset[str]:
    """The recorded states that news of `state` does not replace: itself, and what only comes after it.

    A living state replaces `gone` (Describe omitted it for a while) but no end that EC2 itself reported."""
    return _KEPT.get(state, ENDING | {state})


def changes(recorded: str | None, state: str) -> bool:
    """Whether an instance recorded so and now seen as `state` is to be recorded anew."""
    return recorded is None or recorded not in kept_against(state)


def is_gone(
    recorded: str | None, launched_at: datetime, *, started_at: datetime, missed_before: bool, grace: timedelta
) -> bool:
    """Whether an instance that a complete observation does not list no longer exists.

    At once when EC2 had reported its end. Otherwise only when the complete observation before missed it too
    (`missed_before`) and it was launched at least `grace` before this one started: Describe omits new instances."""
    if recorded in ENDING:
        return True
    return missed_before and launched_at + grace <= started_at


def was_interrupted(instance: Instance, *, was_draining: bool) -> bool:
    """Whether a record that was just made to say so ends by EC2's will, without a warning that reached us.

    Nobody here had asked for its end: it was taking jobs, no termination was requested. A worker that powers off by
    itself is drained first, except where it had lost its control plane, or a user powered its machine off: EC2's state
    reason tells these apart where it is known. An event's news has none, and counts."""
    return (
        instance.observed_state in ENDING
        and instance.state_reason not in NOT_EC2S_WILL
        and instance.capacity_type is CapacityType.SPOT
        and not was_draining
        and instance.ends_at is None
        and instance.termination_requested_at is None
    )


def reported(state: str) -> str:
    """Why an instance drains whose end nobody here asked for and EC2 never announced."""
    return f"{_REPORTED} {state}"


def names_reason(recorded: str | None, state: str, reason: str | None) -> bool:
    """Whether a look that sees `state` may know better than the record that the end was not EC2's will: an event had
    recorded it first, without a reason."""
    return recorded in ENDING and state in ENDING and reason in NOT_EC2S_WILL


def taken_at(instance: Instance) -> datetime | None:
    """When EC2 ends, or was first seen to have ended, a spot instance by its own will; None: it does not, or the end
    was asked for here, elsewhere, or by the guest."""
    if instance.ends_at is not None:
        return instance.ends_at
    if instance.state_reason in NOT_EC2S_WILL:
        return None
    unasked = (instance.drain_reason or "").startswith(_REPORTED) and instance.termination_requested_at is None
    took = instance.capacity_type is CapacityType.SPOT and instance.observed_state in ENDING | OVER
    return instance.observed_at if unasked and took else None
