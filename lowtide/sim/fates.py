"""What may become of deliveries on the way to functions. Nobody delivers here."""

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum


class Fate(StrEnum):
    """What may become of a delivery: of a message, an event, a schedule's minute, a worker's call."""

    DOUBLED = "doubled"
    """Twice, one right after the other."""
    DELAYED = "delayed"
    LOST = "lost"
    """A message, which no queue loses, is delayed."""
    UNANSWERED = "unanswered"
    """It arrives, and its sender never hears: a message comes again, a worker asks again."""
    REORDERED = "reordered"
    """What came first comes last, where nothing promises an order."""


class Channel(StrEnum):
    """Where deliveries are counted, each for itself, from 1."""

    JOBS = "job messages"
    RECONCILE = "reconcile messages"
    EVENTS = "event"
    SCHEDULE = "minute"
    WORKERS = "worker's call"


Fates = Callable[[Channel], Fate | None]
"""What becomes of a channel's next delivery; None: nothing unusual."""

DELAY = timedelta(seconds=150)
"""Of a delayed delivery: long enough for what followed it to come first."""


def usual(_: Channel) -> Fate | None:
    """Every delivery is made once, in order and in time."""
