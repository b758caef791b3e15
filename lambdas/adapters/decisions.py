"""Decisions in the table: kept for `settings.decisions_kept`, each with the snapshot that it was made from.

The snapshot is the domain's document as JSON, compressed: some 60 bytes an instance and 30 a job.
"""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from lambdas.adapters import items, keys
from lambdas.adapters.flat import read, written
from lambdas.adapters.table import Item, Table
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.instants import from_text, to_text
from lambdas.domain.plan.decision import Decision, Mark

SNAPSHOT_MOST = 300_000
"""Bytes of a kept snapshot. DynamoDB takes 400 KB an item; the outcomes of a pass may take some 30 KB of them."""
_AFTER_ITS_LAUNCH = timedelta(minutes=5)
"""How much earlier than its instance's record a launch's decision may have been made: a pass ends within minutes, and
an intention is repeated for one."""
_LOOKED_THROUGH = 200
"""Decisions that are read to find one launch: an instance is recorded in the pass that decides on it, or soon after."""


@dataclass(frozen=True, slots=True)
class Packed:
    data: bytes | None
    note: str | None
    """What is missing of it; None: nothing."""


class Decisions:
    def __init__(self, table: Table) -> None:
        self._table = table

    def put(self, decision: Decision, *, kept: timedelta) -> None:
        """Once for each pass: putting it again changes nothing."""
        packed = packed_snapshot(decision.snapshot) if decision.snapshot else Packed(None, None)
        self._table.put(
            {
                **{"pk": keys.decisions(decision.pool), "sk": f"{to_text(decision.at)}#{decision.epoch}"},
                **{"pool": decision.pool, "epoch": decision.epoch, "at": to_text(decision.at)},
                **{"pool_version": decision.pool_version, "actions": [dict(a) for a in decision.actions]},
                **{"summary": dict(decision.summary), "snapshot": packed.data},
                "reasons": [items.reason_document(reason) for reason in decision.reasons],
                "notes": [*decision.notes, *([packed.note] if packed.note else [])],
                "expires_at": int((decision.at + kept).timestamp()),
            }
        )

    def in_force(self, pool: str, at: datetime) -> Decision | None:
        """The last one made at `at` or before; None: none is kept from then."""
        upto = f"{to_text(at)}#~"
        found = self._table.query(keys.decisions(pool), upto=upto, newest_first=True, limit=1)
        return next(map(_decision, found), None)

    def over(self, pool: str, since: datetime, until: datetime) -> Iterator[Decision]:
        """The one in force at `since`, then each one made after it and not after `until`, oldest first."""
        if first := self.in_force(pool, since):
            yield first
        for item in self._table.query(keys.decisions(pool), since=f"{to_text(since)}#~", page=20):
            if from_text(item["at"]) > until:
                return
            yield _decision(item)

    def newest_first(self, pool: str, *, limit: int) -> Iterator[Decision]:
        found = self._table.query(keys.decisions(pool), newest_first=True, limit=limit, page=20)
        return map(_decision, found)

    def that_launched(self, pool: str, decision_id: str, launched_at: datetime) -> Decision | None:
        """The one in which the launch with this id (an instance's `lowtide:decision` tag) was made."""
        since = to_text(launched_at - _AFTER_ITS_LAUNCH)
        found = self._table.query(keys.decisions(pool), since=since, limit=_LOOKED_THROUGH, page=20)
        decided = map(_decision, found)
        return next((d for d in decided if any(a.get("decision") == decision_id for a in d.actions)), None)


def packed_snapshot(snapshot: Snapshot) -> Packed:
    """At most SNAPSHOT_MOST bytes: where it is larger, the end of the queue is left out, then all of it."""
    plain = replace(snapshot, leases=tuple(replace(lease, request_id="") for lease in snapshot.leases))
    count = len(plain.queue)
    while True:
        cut = plain if count == len(plain.queue) else replace(plain, queue=plain.queue[:count], queue_complete=False)
        data = zlib.compress(json.dumps(cut.to_document(), separators=(",", ":")).encode(), 6)
        if len(data) <= SNAPSHOT_MOST:
            left = len(plain.queue) - count
            return Packed(data, f"the kept snapshot leaves out the last {left} queued jobs" if left else None)
        if not count:
            return Packed(None, f"the snapshot is not kept: it has {len(data)} bytes")
        count //= 2


def unpacked_snapshot(data: Any) -> Snapshot:
    return Snapshot.from_document(json.loads(zlib.decompress(bytes(data))))


def mark_document(mark: Mark) -> Item:
    return written(mark)


def mark_from(document: Item | None) -> Mark | None:
    """None where there is none, and for one that another version of Lowtide wrote."""
    if document is None or not {f.name for f in fields(Mark)} <= set(document):
        return None
    return Mark(**read(Mark, document))


def _decision(item: Item) -> Decision:
    snapshot = item.get("snapshot")
    return Decision(
        pool=item["pool"],
        epoch=item["epoch"],
        at=from_text(item["at"]),
        pool_version=item["pool_version"],
        actions=tuple(item["actions"]),
        summary=item["summary"],
        reasons=tuple(map(items.reason_from, item["reasons"])),
        notes=tuple(item["notes"]),
        snapshot=None if snapshot is None else unpacked_snapshot(snapshot),
    )
