"""The table's stream, filtered to jobs and to pools with a shortage that is told of: see control/job_events.py."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from lambdas.adapters.event_bus import EventBus
from lambdas.control.job_events import Teller
from lambdas.handlers.environment import Environment, environment


def teller(given: Environment) -> Teller:
    return Teller(bus=EventBus(given.events), metrics=given.metrics, stack=given.stack)


@cache
def _teller() -> Teller:
    return teller(environment())


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    return serve(_teller(), event, context)


def serve(function: Teller, event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - what Lambda calls
    try:
        return function.tell(event["Records"])
    finally:
        function.metrics.flush()
