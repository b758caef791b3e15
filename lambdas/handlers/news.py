"""EventBridge, what EC2 says of instances: see control/news.py."""

from functools import cache
from typing import Any

from lambdas.adapters.observations import Observations
from lambdas.control.news import Newsroom, take_in
from lambdas.handlers.environment import Environment, environment


def newsroom(given: Environment) -> Newsroom:
    return Newsroom(
        observations=Observations(given.table),
        doorbell=given.doorbell,
        metrics=given.metrics,
        settings=given.settings,
        now=given.now,
    )


@cache
def _newsroom() -> Newsroom:
    return newsroom(environment())


def handler(event: Any, _context: Any) -> None:
    serve(_newsroom(), event)


def serve(room: Newsroom, event: Any) -> None:
    try:
        take_in(room, event)
    finally:
        room.metrics.flush()
