"""Time that moves only when told."""

from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


class VirtualClock:
    """A clock that product code can call as `now()`; it stands still between `advance` calls."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start

    def __call__(self) -> datetime:
        return self._now

    def advance(self, period: timedelta) -> datetime:
        """Moves on by `period` (never back: ValueError) and returns the new instant."""
        if period < timedelta(0):
            raise ValueError(f"{period} would turn the clock back")
        self._now += period
        return self._now
