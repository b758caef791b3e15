"""CloudFormation, when the stack is made, changed or deleted: see control/teardown.py."""

import logging
from functools import cache
from typing import Any

from lambdas.adapters import cfn_answer
from lambdas.adapters.bucket import Bucket
from lambdas.adapters.ec2 import Ec2
from lambdas.adapters.observations import Observations
from lambdas.adapters.stack_switch import StackSwitch
from lambdas.control.teardown import Closing, Request, Result, physical_id, respond
from lambdas.handlers.environment import Environment, environment, time_left

_log = logging.getLogger(__name__)


def closing(given: Environment) -> Closing:
    return Closing(
        stack=given.stack,
        switch=StackSwitch(given.table),
        observations=Observations(given.table),
        ec2=Ec2(given.ec2, given.stack),
        settings=given.settings,
        now=given.now,
        pause=given.pause,
        bucket=lambda name: Bucket(given.s3, name),
    )


@cache
def _closing() -> Closing:
    return closing(environment())


def handler(event: dict[str, Any], context: Any) -> None:
    """Always answers: an unanswered request leaves the stack waiting until its time is over."""
    function = _closing()
    try:
        result = respond(function, Request.of(event), lambda: time_left(context))
    except Exception as error:
        _log.exception("teardown failed")
        result = Result(succeeded=False, reason=f"{type(error).__name__}: {error}")
    _log.info(
        "answering",
        extra={"request_type": event["RequestType"], "succeeded": result.succeeded, "reason": result.reason},
    )
    cfn_answer.answer(event, succeeded=result.succeeded, reason=result.reason, physical_id=physical_id(function.stack))
