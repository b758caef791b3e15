"""Messages that are no job: a small record each in one list, the body beside it, a copy in the parked queue.

The record is the truth; `parked list` reads it and never the queue. A body over 256 KiB is only in the queue.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from lambdas.adapters import keys
from lambdas.adapters.attributes import Item
from lambdas.adapters.flat import read, written
from lambdas.adapters.table import Conflict, Table

LARGEST_STORED = 256 * 1024
"""Bytes of a body that the table takes beside its record (an item has at most 400 KiB)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedMessage:
    parked_id: str
    """`<instant>#<message id>`: the same message is parked once, however often it is delivered."""
    reason: str
    sent_at: datetime
    parked_at: datetime
    size: int
    """Bytes of the body."""
    field: str | None = None
    job_id: str | None = None
    pool: str | None = None
    body: str | None = None
    """None in lists, and where it is too large: then it is in the parked queue."""
    copy_id: str | None = None
    """Message id of the copy in the parked queue; None: not sent yet, or parked from the ledger."""


class Parked:
    def __init__(self, table: Table) -> None:
        self._table = table

    def put(self, message: ParkedMessage) -> ParkedMessage:
        """The record as it now stands: this one, or the one of the same id that was there before."""
        try:
            self._table.insist(lambda: self._table.transact(self.put_ops(message)))
        except Conflict:
            return self.record(message.parked_id) or message
        return replace(message, body=None)

    def put_ops(self, message: ParkedMessage) -> list[Item]:
        """The operations of a transaction that parks it; they fail where its record is there already."""
        record = replace(message, body=None)
        operations = [
            self._table.put_op(
                {"pk": keys.PARKED, "sk": message.parked_id, **written(record)}, condition="attribute_not_exists(pk)"
            )
        ]
        if message.body is not None and message.size <= LARGEST_STORED:
            body = {"pk": keys.parked_body(message.parked_id), "sk": keys.BODY, "body": message.body}
            operations.append(self._table.put_op(body))
        return operations

    def copied(self, parked_id: str, copy_id: str) -> None:
        """Notes the copy in the parked queue; nothing where the record was deleted meanwhile."""
        try:
            self._table.insist(
                lambda: self._table.update(
                    keys.PARKED,
                    parked_id,
                    "SET copy_id = :copy",
                    condition="attribute_exists(pk)",
                    values={":copy": copy_id},
                )
            )
        except Conflict:
            return

    def list(self, *, most: int | None = None) -> Iterator[ParkedMessage]:
        """Records without bodies, last parked first."""
        return map(_from, self._table.query(keys.PARKED, newest_first=True, limit=most))

    def record(self, parked_id: str) -> ParkedMessage | None:
        """One record, with its body where the table holds it."""
        wanted = [(keys.PARKED, parked_id), (keys.parked_body(parked_id), keys.BODY)]
        found = {item["sk"]: item for item in self._table.get_many(wanted)}
        if (record := found.get(parked_id)) is None:
            return None
        return _from({**record, "body": found.get(keys.BODY, {}).get("body")})

    def delete(self, parked_id: str) -> None:
        """May be repeated."""
        self._table.insist(
            lambda: self._table.transact(
                [
                    self._table.delete_op(keys.PARKED, parked_id),
                    self._table.delete_op(keys.parked_body(parked_id), keys.BODY),
                ]
            )
        )


def _from(item: Item) -> ParkedMessage:
    given: dict[str, Any] = read(ParkedMessage, item)
    return ParkedMessage(**given)
