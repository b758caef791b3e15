"""EventBridge, what EC2 says of instances: see control/news.py."""

from functools import cache
from typing import Any

from lambdas.adapters.observations import Observations
from lambdas.control.news import Newsroom, take_in
from lambdas.handlers.environment import environment, now


@cache
def _newsroom() -> Newsroom:
    given = environment()
    return Newsroom(
        observations=Observations(given.table),
        doorbell=given.doorbell,
        metrics=given.metrics,
        settings=given.settings,
        now=now,
    )


def handler(event: Any, _context: Any) -> None:
    room = _newsroom()
    try:
        take_in(room, event)
    finally:
        room.metrics.flush()
