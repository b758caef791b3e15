"""STS in memory: the call that lambdas/adapters/sts.py makes. Every session is a new one, as AWS gives them."""

import itertools
from datetime import timedelta
from typing import Any

from lowtide.sim.calls import Hook, Request, Response, SimClient
from lowtide.sim.clock import VirtualClock


class FakeSTS(SimClient):
    service = "sts"

    def __init__(self, now: VirtualClock, *, hook: Hook | None = None) -> None:
        super().__init__(hook)
        self._now = now
        self._sessions = itertools.count(1)

    def assume_role(self, **request: Any) -> Response:
        known = frozenset({"RoleArn", "RoleSessionName", "DurationSeconds", "Tags"})
        return self._call("assume_role", request, known, self._assume_role)

    def _assume_role(self, request: Request) -> Response:
        session = next(self._sessions)
        return {
            "Credentials": {
                "AccessKeyId": f"ASIA{session:016d}",
                "SecretAccessKey": f"secret-{session}",
                "SessionToken": f"token-{session}",
                "Expiration": self._now() + timedelta(seconds=request["DurationSeconds"]),
            }
        }
