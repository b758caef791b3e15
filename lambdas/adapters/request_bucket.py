"""The stack's share of EC2's launch request rate, as one item: `STACK/BUCKET`.

    {"tokens": 3.5, "counted_at": "2026-…", "turn": 17, "served": {"gpu": "2026-…"},
     "waiting": {"cpu": {"since": "2026-…", "asked_at": "2026-…", "replaces": false}}}

`turn` rises with every write; a writer that knew an older one is told the one that stands, and reckons again. So who
wrote last needs not read first.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from lambdas.adapters import keys
from lambdas.adapters.table import Conflict, Item, Table, Unavailable
from lambdas.domain.buying.turns import Rate, Turns, Waiting, full, next_in_turn, spare, take
from lambdas.domain.instants import from_text, to_text
from lambdas.domain.settings import Settings

_ATTEMPTS = 12
"""Reads and writes before a pool is told to come back: with so many losses in a row, others are taking the tokens."""


class RequestBucket:
    def __init__(self, table: Table, settings: Settings, now: Callable[[], datetime]) -> None:
        share = settings.ec2_request_share
        self._table = table
        self._now = now
        self._rate = Rate(
            burst=max(1.0, settings.ec2_bucket * share),
            per_second=settings.ec2_refill_per_second * share,
            patience=3 * settings.look_again,
        )
        self._last: tuple[int, Turns] | None = None
        """What was known last: a guess at what stands."""

    def take(self, pool: str, *, replaces: bool) -> datetime | None:
        """None: the pool has a token, and may make one call. Else when to ask again."""
        for _ in range(_ATTEMPTS):
            now = self._now()
            turn, turns = self._last or self._read(now)
            taken, retry_at = take(turns, pool, replaces=replaces, rate=self._rate, now=now)
            if self._write(taken, turn):
                return retry_at
        return self._now() + timedelta(seconds=1 / self._rate.per_second)

    def next_in_turn(self) -> tuple[tuple[str, ...], float | None]:
        """The waiting pools that would get a token now, and the seconds until the next has one; None: nobody waits."""
        now = self._now()
        _, turns = self._read(now)
        pools, seconds = next_in_turn(turns, self._rate, now)
        return pools, seconds if turns.waiting else None

    def spare(self) -> bool:
        """Whether a call beside the passes takes nothing away from them now. Takes no token."""
        now = self._now()
        _, turns = self._read(now)
        return spare(turns, self._rate, now)

    def emptied(self) -> None:
        """EC2 throttled a call: others in the account have used up the bucket. Nobody calls for a second and more, so
        that they are not met again at once."""
        now = self._now()
        turn, turns = self._read(now)
        self._write(replace(turns, tokens=-self._rate.per_second, counted_at=now), turn)

    def _read(self, now: datetime) -> tuple[int, Turns]:
        item = self._table.get(keys.STACK, keys.BUCKET)
        self._last = (0, full(self._rate, now)) if item is None else (item["turn"], _turns(item))
        return self._last

    def _write(self, turns: Turns, turn: int) -> bool:
        document = {"turn": turn + 1, **_document(turns)}
        try:
            self._table.insist(
                lambda: self._table.put(
                    {"pk": keys.STACK, "sk": keys.BUCKET, **document},
                    condition="attribute_not_exists(pk) OR turn = :turn",
                    values={":turn": turn},
                    returning=True,
                )
            )
        except Conflict as conflict:
            stands = conflict.items[0] if conflict.items else None
            self._last = None if stands is None else (stands["turn"], _turns(stands))
            return False
        except Unavailable:
            self._last = None  # whether it was written is not known
            raise
        self._last = (turn + 1, _turns(document))
        return True


def _turns(item: Item) -> Turns:
    waiting: Mapping[str, Any] = item["waiting"]
    return Turns(
        tokens=float(item["tokens"]),
        counted_at=from_text(item["counted_at"]),
        waiting={
            pool: Waiting(since=from_text(w["since"]), asked_at=from_text(w["asked_at"]), replaces=w["replaces"])
            for pool, w in waiting.items()
        },
        served={pool: from_text(at) for pool, at in item["served"].items()},
    )


def _document(turns: Turns) -> Item:
    return {
        **{"tokens": round(turns.tokens, 3), "counted_at": to_text(turns.counted_at)},
        "waiting": {
            pool: {"since": to_text(w.since), "asked_at": to_text(w.asked_at), "replaces": w.replaces}
            for pool, w in turns.waiting.items()
        },
        "served": {pool: to_text(at) for pool, at in turns.served.items()},
    }
