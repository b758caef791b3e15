"""The market of the local AWS as a drill uses it: its control endpoint (lowtide/local/ec2/control.py), over HTTP.

Trouble is held for a few seconds at a time and renewed for as long as it is wanted. So the market is its own again soon
after a drill ends, however it ends, and what others hold there stays.
"""

import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

import httpx

from lowtide.cli.errors import Failure

PREFIX = "/_world/market/"
HELD_SECONDS = 8.0
"""How long a hold lasts that is not renewed; renewed every second or so (watch.POLL_SECONDS)."""
_PATIENCE = 10.0


class Market(Protocol):
    """What a drill does to a market."""

    def interrupt(self, instance_id: str) -> None: ...

    def hold_prices(self, types: Sequence[str], usd: Decimal) -> None: ...

    def hold_empty(self, types: Sequence[str]) -> None: ...


class LocalMarket:
    def __init__(self, endpoint: str) -> None:
        self._client = httpx.Client(base_url=endpoint + PREFIX, timeout=_PATIENCE, trust_env=False)

    def interrupt(self, instance_id: str) -> None:
        """With the notice that EC2 gives. Raises Failure for what is no spot instance."""
        self._post("interrupt", {"instance_id": instance_id, "notice": True})

    def hold_prices(self, types: Sequence[str], usd: Decimal) -> None:
        """For HELD_SECONDS, in every zone."""
        self._hold([{"price": str(usd), "instance_type": name} for name in types])

    def hold_empty(self, types: Sequence[str]) -> None:
        """No capacity, spot or on-demand, in any zone, for HELD_SECONDS."""
        self._hold([{"capacity": 0, "lifecycle": "any", "instance_type": name} for name in types])

    def _hold(self, entries: Sequence[Mapping[str, Any]]) -> None:
        self._post("script", [{**entry, "to": HELD_SECONDS} for entry in entries])

    def _post(self, name: str, document: Any) -> None:
        try:
            answer = self._client.post(name, json=document)
        except httpx.HTTPError as error:
            raise Failure(f"the local AWS does not answer: {error}; see `lowtide local status`") from error
        if not answer.is_success:
            raise Failure(f"the market refused: {answer.json().get('error', answer.text)}")


def local_market() -> LocalMarket | None:
    """That of the AWS that AWS_ENDPOINT_URL names; None: there is no market to be moved, as in a real account."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "").rstrip("/")
    if not endpoint:
        return None
    try:
        answer = httpx.get(f"{endpoint}{PREFIX}instances", timeout=_PATIENCE, trust_env=False)
        has_one = answer.is_success and "instances" in answer.json()
    except (httpx.HTTPError, ValueError):
        return None
    return LocalMarket(endpoint) if has_one else None
