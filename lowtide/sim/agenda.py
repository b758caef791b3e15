"""What is to be done at instants that are known beforehand."""

import heapq
import itertools
from collections.abc import Callable
from datetime import datetime


class Agenda:
    def __init__(self) -> None:
        self._actions: list[tuple[datetime, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def at(self, instant: datetime, action: Callable[[], object]) -> None:
        """Actions of one instant are done in the order in which they came."""
        heapq.heappush(self._actions, (instant, next(self._order), action))

    def play(self, now: datetime) -> bool:
        """Does one action that is due; False: there is none."""
        if not self._actions or self._actions[0][0] > now:
            return False
        heapq.heappop(self._actions)[2]()
        return True

    def next_instant(self) -> datetime | None:
        return self._actions[0][0] if self._actions else None
