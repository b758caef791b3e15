"""EventBridge, every minute: see control/tick.py."""

from functools import cache
from typing import Any

from lambdas.adapters.clockwork import Clockwork
from lambdas.adapters.ec2 import Ec2
from lambdas.adapters.observations import Observations
from lambdas.adapters.pool_config import PoolConfig
from lambdas.control.observe import Eyes
from lambdas.control.tick import Works, tick
from lambdas.handlers.environment import Environment, environment, time_left


def works(given: Environment) -> Works:
    return Works(
        eyes=Eyes(
            observations=Observations(given.table),
            clockwork=Clockwork(given.table),
            ec2=Ec2(given.ec2, given.stack),
            pools=PoolConfig(given.table),
            doorbell=given.doorbell,
            settings=given.settings,
            now=given.now,
        ),
        metrics=given.metrics,
        now=given.now,
        new_id=given.new_id,
    )


@cache
def _works() -> Works:
    return works(environment())


def handler(event: dict[str, Any], context: Any) -> None:
    serve(_works(), event, context)


def serve(function: Works, event: dict[str, Any], context: Any) -> None:
    try:
        tick(function, event.get("id") or function.new_id(), lambda: time_left(context))
    finally:
        function.metrics.flush()
