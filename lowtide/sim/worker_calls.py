"""Workers' calls of the control plane through the function URL."""

import json
from typing import Any

from lowtide.sim.fates import Channel, Fate, Fates
from lowtide.sim.functions import ACCOUNT, ROLE, Crashed, Function
from lowtide.sim.invocations import Invocations
from worker.api import LeaseLost, Refused, Unanswered


class WorkerCalls:
    def __init__(self, invocations: Invocations, fate: Fates) -> None:
        self._invocations = invocations
        self._fate = fate

    def call(self, instance_id: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the answer means to worker.api.Api. Raises as that does."""
        event = _event(instance_id, path, body)
        fate = self._fate(Channel.WORKERS)
        if fate is Fate.LOST:
            raise Unanswered("the call is lost")
        try:
            if fate is Fate.DOUBLED:
                self._invocations.attempt(Function.WORKER_API, event)
            reply = self._invocations.invoke(Function.WORKER_API, event)
        except Crashed as crashed:
            raise Unanswered(str(crashed)) from crashed
        if fate is Fate.UNANSWERED:
            raise Unanswered("the answer is lost")
        return _heard(reply)


def _event(instance_id: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """As the function URL hands over a call signed by the instance's role."""
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{ROLE}/{instance_id}"
    identity = {"accountId": ACCOUNT, "userArn": arn, "userId": f"AROAEXAMPLE:{instance_id}"}
    return {
        "rawPath": path,
        "requestContext": {"http": {"method": "POST", "path": path}, "authorizer": {"iam": identity}},
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }


def _heard(reply: dict[str, Any]) -> dict[str, Any]:
    match reply["statusCode"]:
        case 200:
            return json.loads(reply["body"])
        case 409:
            raise LeaseLost
        case 400 | 403:
            raise Refused(reply["statusCode"], reply["body"])
        case status:
            raise Unanswered(f"HTTP {status}")
