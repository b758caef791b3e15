"""Messages of the job queue become jobs. Invoked by SQS with up to ten at once; answers which have to come again."""

import logging
from functools import cache
from typing import Any

from lambdas.adapters.ledger import Ledger
from lambdas.adapters.parked import Parked
from lambdas.adapters.pool_config import PoolConfig
from lambdas.control.intake import Intake, Message
from lambdas.handlers.environment import Environment, environment

_log = logging.getLogger(__name__)


def intake(given: Environment) -> Intake:
    return Intake(
        config=PoolConfig(given.table),
        ledger=Ledger(given.table, jobs_kept=given.settings.jobs_kept),
        parked=Parked(given.table),
        parked_queue=given.parked_queue,
        doorbell=given.doorbell,
        now=given.now,
    )


@cache
def _intake() -> Intake:
    return intake(environment())


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    return serve(_intake(), event)


def serve(function: Intake, event: dict[str, Any]) -> dict[str, Any]:
    taken = function.take([Message.from_record(record) for record in event["Records"]])
    _log.log(
        logging.ERROR if taken.failed else logging.INFO,
        "intake",
        extra={"new": taken.new, "repeated": taken.repeated, "parked": taken.parked, "failed": taken.failed},
    )
    return taken.to_response()
