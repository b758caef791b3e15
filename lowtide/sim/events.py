"""EventBridge in memory: the call that lambdas/adapters/event_bus.py makes. What was told is kept."""

from typing import Any

from lowtide.sim.calls import Hook, Request, Response, SimClient


class FakeEvents(SimClient):
    service = "events"

    def __init__(self, *, hook: Hook | None = None) -> None:
        super().__init__(hook)
        self.told: list[dict[str, Any]] = []

    def put_events(self, **request: Any) -> Response:
        return self._call("put_events", request, frozenset({"Entries"}), self._put)

    def _put(self, request: Request) -> Response:
        self.told.extend(request["Entries"])
        ids = range(len(self.told) - len(request["Entries"]), len(self.told))
        return {"FailedEntryCount": 0, "Entries": [{"EventId": f"event-{number}"} for number in ids]}
