"""EventBridge, every minute: see control/tick.py."""

import uuid
from functools import cache
from typing import Any

from lambdas.adapters.clockwork import Clockwork
from lambdas.adapters.ec2 import Ec2
from lambdas.adapters.observations import Observations
from lambdas.adapters.pool_config import PoolConfig
from lambdas.control.observe import Eyes
from lambdas.control.tick import Works, tick
from lambdas.handlers.environment import environment, now, time_left


@cache
def _works() -> Works:
    given = environment()
    return Works(
        eyes=Eyes(
            observations=Observations(given.table),
            clockwork=Clockwork(given.table),
            ec2=Ec2(given.ec2, given.stack),
            pools=PoolConfig(given.table),
            doorbell=given.doorbell,
            settings=given.settings,
            now=now,
        ),
        metrics=given.metrics,
        now=now,
        new_id=lambda: uuid.uuid4().hex,
    )


def handler(event: dict[str, Any], context: Any) -> None:
    works = _works()
    try:
        tick(works, event.get("id") or works.new_id(), lambda: time_left(context))
    finally:
        works.metrics.flush()
