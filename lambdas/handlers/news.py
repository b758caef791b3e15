"""EventBridge, what EC2 says of instances: see control/news.py."""

from functools import cache
from typing import Any

from lambdas.adapters.observations import Observations
from lambdas.control.news import Newsroom, take_in
from lambdas.handlers import surroundings


@cache
def _newsroom() -> Newsroom:
    return Newsroom(
        observations=Observations(surroundings.table()),
        doorbell=surroundings.doorbell(),
        metrics=surroundings.metrics(),
        settings=surroundings.settings(),
        now=surroundings.now,
    )


def handler(event: Any, _context: Any) -> None:
    room = _newsroom()
    try:
        take_in(room, event)
    finally:
        room.metrics.flush()
