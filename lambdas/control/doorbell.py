"""How control asks for passes of pools (adapters/queues.py does it)."""

from collections.abc import Sequence
from typing import Protocol


class Doorbell(Protocol):
    def ring(self, pool: str, cause: str) -> None:
        """The pool may have changed: marks it dirty, and sends a message if it was clean."""

    def remind(self, pools: Sequence[str], cause: str) -> None:
        """These are due already: sends messages, marks nothing."""
