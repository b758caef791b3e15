"""EC2's request throttling: a bucket of tokens that fills at a steady rate."""

from datetime import datetime


class Bucket:
    """Full at first; one request takes one token."""

    def __init__(self, size: float, refill_per_second: float, now: datetime) -> None:
        self._size = size
        self._refill_per_second = refill_per_second
        self._tokens = size
        self._at = now

    def take(self, now: datetime) -> bool:
        """Whether there was a token. A clock that goes back fills nothing."""
        passed = max((now - self._at).total_seconds(), 0.0)
        self._tokens = min(self._size, self._tokens + passed * self._refill_per_second)
        self._at = max(self._at, now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
