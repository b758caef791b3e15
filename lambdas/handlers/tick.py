"""EventBridge, every minute: see control/tick.py."""

import uuid
from datetime import timedelta
from functools import cache
from typing import Any

from lambdas.adapters.clockwork import Clockwork
from lambdas.adapters.ec2 import Ec2
from lambdas.adapters.observations import Observations
from lambdas.adapters.pool_config import PoolConfig
from lambdas.control.observe import Eyes
from lambdas.control.tick import Works, tick
from lambdas.handlers import surroundings


@cache
def _works() -> Works:
    table = surroundings.table()
    return Works(
        eyes=Eyes(
            observations=Observations(table),
            clockwork=Clockwork(table),
            ec2=Ec2(surroundings.patient_ec2(), surroundings.stack()),
            pools=PoolConfig(table),
            doorbell=surroundings.doorbell(),
            settings=surroundings.settings(),
            now=surroundings.now,
        ),
        metrics=surroundings.metrics(),
        now=surroundings.now,
        new_id=lambda: uuid.uuid4().hex,
    )


def handler(event: dict[str, Any], context: Any) -> None:
    works = _works()

    def time_left() -> timedelta:
        return surroundings.time_left(context)

    try:
        tick(works, event.get("id") or works.new_id(), time_left)
    finally:
        works.metrics.flush()
