"""EventBridge, once a day: see control/catalogue.py."""

from functools import cache
from typing import Any

from lambdas.adapters.catalogue import Catalogue
from lambdas.adapters.pool_config import PoolConfig
from lambdas.control.catalogue import Refresher, refresh
from lambdas.handlers.environment import Environment, environment, time_left


def refresher(given: Environment) -> Refresher:
    return Refresher(pools=PoolConfig(given.table), catalogue=Catalogue(given.ec2, given.pricing, given.region))


@cache
def _refresher() -> Refresher:
    return refresher(environment())


def handler(event: dict[str, Any], context: Any) -> None:
    serve(_refresher(), event, context)


def serve(function: Refresher, event: dict[str, Any], context: Any) -> None:  # noqa: ARG001 - what Lambda calls
    refresh(function, lambda: time_left(context))
