"""EventBridge: what the stack tells the account's default bus."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lambdas import names
from lambdas.adapters.faults import faults

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

ENTRIES_A_CALL = 10
"""PutEvents' limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    detail_type: str
    detail: Mapping[str, Any]
    """JSON values only."""
    at: datetime


class EventBus:
    def __init__(self, client: "EventBridgeClient") -> None:
        self._client = client

    def put(self, events: Sequence[Event]) -> list[int]:
        """Tells at most ten events; the places of those that the bus did not take. Raises Unavailable like every
        adapter where it took none."""
        entries: Any = [
            {
                **{"Source": names.EVENT_SOURCE, "DetailType": event.detail_type, "Time": event.at},
                "Detail": json.dumps(event.detail),
            }
            for event in events
        ]
        with faults():
            answer = self._client.put_events(Entries=entries)
        return [place for place, entry in enumerate(answer["Entries"]) if "EventId" not in entry]
