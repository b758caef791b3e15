"""When the worker API was last known to work: the item STACK/API.

Leases expire with their instance's silence, but silence proves nothing while workers had nobody to talk to. So the API
writes a beat every minute (its schedule calls it) and after calls it answered. A gap between beats, or a call that it
had to fail, was an outage; no lease expires during one, nor for a full lease length after it.
"""

from datetime import datetime, timedelta

from lambdas.adapters import keys
from lambdas.adapters.attributes import Item
from lambdas.adapters.table import Conflict, Table
from lambdas.domain.instants import from_text, to_text
from lambdas.domain.settings import Settings

_MISSED_BEATS = 3


def longest_gap(settings: Settings) -> timedelta:
    """Beats further apart than this had an outage between them: three minutes. A shorter one cannot expire a lease:
    300 s of lease leave 120 s, four heartbeats, to be heard in again."""
    return settings.look_again * _MISSED_BEATS


def outage_end(item: Item | None, now: datetime, settings: Settings) -> datetime | None:
    """End of the last outage as of `now`, from the item STACK/API; `now` itself while one goes on; None: none known.

    An outage holds leases for at most `running_power_off`: by then every worker that had no answer has ended itself."""
    if item is None:
        return None
    beat = from_text(item["beat_at"])
    if longest_gap(settings) < now - beat < settings.running_power_off:
        return now
    ended = item.get("outage_ended_at")
    return None if ended is None else from_text(ended)


class Pulse:
    """The API's side: one object per process."""

    def __init__(self, table: Table, settings: Settings) -> None:
        self._table = table
        self._settings = settings
        self._beat_at: datetime | None = None
        self._failed = False

    def failed(self) -> None:
        """A call had to be answered with 5xx; told with the next beat."""
        self._failed = True

    def answered(self, now: datetime) -> None:
        """A call was answered: beats if this process has not for a heartbeat, or has failed a call since."""
        if self._failed or self._beat_at is None or now - self._beat_at >= self._settings.heartbeat:
            self.beat(now)

    def beat(self, now: datetime) -> None:
        if self._failed or not self._went_on(now):
            self._recovered(now)
        self._beat_at, self._failed = now, False

    def _went_on(self, now: datetime) -> bool:
        """False: the last beat is too long ago, or there was none."""
        oldest = to_text(now - longest_gap(self._settings))
        try:
            self._table.insist(
                lambda: self._table.update(
                    keys.STACK,
                    keys.API,
                    "SET beat_at = :now",
                    condition="beat_at >= :oldest",
                    values={":now": to_text(now), ":oldest": oldest},
                )
            )
        except Conflict:
            return False
        return True

    def _recovered(self, now: datetime) -> None:
        self._table.insist(
            lambda: self._table.update(
                keys.STACK, keys.API, "SET beat_at = :now, outage_ended_at = :now", values={":now": to_text(now)}
            )
        )
