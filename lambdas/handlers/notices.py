"""The table's stream, filtered to pools with a shortage that is told of: see control/notices.py."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from lambdas import names
from lambdas.adapters.topic import Topic
from lambdas.control.notices import Notifier
from lambdas.handlers.environment import Environment, environment


def notifier(given: Environment) -> Notifier:
    return Notifier(topic=Topic(given.sns, given[names.ENV_ALARM_TOPIC]), stack=given.stack)


@cache
def _notifier() -> Notifier:
    return notifier(environment())


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    return serve(_notifier(), event, context)


def serve(function: Notifier, event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - what Lambda calls
    return function.tell(event["Records"])
