"""SQS: one queue to send to, and the doorbell that tells the control loop to look at a pool."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lambdas.adapters import keys
from lambdas.adapters.faults import Conflict, Unavailable, faults
from lambdas.adapters.table import Table
from lambdas.domain.instants import to_text

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

LARGEST_MESSAGE = 1_048_576
"""Bytes of body and attributes together that one SQS message may have."""
_BATCH = 10
"""Messages in one SendMessageBatch (SQS's limit)."""


class Queue:
    """One queue by its URL. Raises Unavailable like every adapter."""

    def __init__(self, client: "SQSClient", url: str) -> None:
        self.client = client
        self.url = url

    def send(self, body: str, *, attributes: Mapping[str, str] | None = None) -> str:
        """Sends to a standard queue; the message id."""
        given = {name: {"DataType": "String", "StringValue": value} for name, value in (attributes or {}).items()}
        return self._send(MessageBody=body, MessageAttributes=given)

    def send_in_group(self, body: str, *, group: str, key: str) -> None:
        """Sends to a FIFO queue; a `key` that was sent in the last five minutes is swallowed."""
        self._send(MessageBody=body, MessageGroupId=group, MessageDeduplicationId=key)

    def send_batch_in_groups(self, messages: Sequence[tuple[str, str, str]]) -> None:
        """Sends at most ten (body, group, key) to a FIFO queue. Raises Unavailable when SQS took only some."""
        entries: Any = [
            {"Id": str(n), "MessageBody": body, "MessageGroupId": group, "MessageDeduplicationId": key}
            for n, (body, group, key) in enumerate(messages)
        ]
        with faults():
            failed = self.client.send_message_batch(QueueUrl=self.url, Entries=entries).get("Failed", [])
        if failed:
            raise Unavailable(f"SQS refused {len(failed)} of {len(entries)} messages: {failed[0]}")

    def _send(self, **message: Any) -> str:
        with faults():
            return self.client.send_message(QueueUrl=self.url, **message)["MessageId"]


class Doorbell:
    """Says that a pool may have changed: it is marked dirty and one message goes to the reconcile queue.

    The mark outlives the message: the tick sends again for a pool that stays dirty, so a ring that died half-way is
    at most a tick late.
    """

    def __init__(self, table: Table, client: "SQSClient", queue_url: str, clock: Callable[[], datetime]) -> None:
        self._table = table
        self._queue = Queue(client, queue_url)
        self._clock = clock

    def ring(self, pool: str, cause: str) -> None:
        """Marks `pool` dirty and sends, if it was clean. If it was dirty, the pass to come will see what changed.

        `cause` names what happened (event id, SQS message id, `finish:<job>:<fence>`), never the pool alone: its hash
        is the deduplication id, so repeating a ring is harmless and another cause is never swallowed.
        """
        now = to_text(self._clock())
        try:
            self._table.insist(lambda: self._mark(pool, cause, now))
        except Conflict as dirty:
            self._hasten(pool, now, dirty)
        else:
            self._queue.send_in_group(_message(pool, cause), group=pool, key=_key(pool, cause))

    def remind(self, pools: Sequence[str], cause: str) -> None:
        """Sends for pools that are due already, ten a call, without marking them. Raises Unavailable when SQS refused
        one of them; those not sent stay due."""
        for start in range(0, len(pools), _BATCH):
            self._queue.send_batch_in_groups(
                [(_message(pool, cause), pool, _key(pool, cause)) for pool in pools[start : start + _BATCH]]
            )

    def _mark(self, pool: str, cause: str, now: str) -> None:
        self._table.update(
            keys.pool(pool),
            keys.STATE,
            "SET #pool = :pool, dirty = :cause, gpk = :due, gsk = :now",
            condition="attribute_not_exists(dirty) OR dirty = :cause",
            names={"#pool": "pool"},
            values={":pool": pool, ":cause": cause, ":due": keys.DUE, ":now": now},
            returning=True,
        )

    def _hasten(self, pool: str, now: str, dirty: Conflict) -> None:
        """Makes a dirty pool due now, where it was due later."""
        state = (dirty.items[0] if dirty.items else None) or {}
        if state.get("gsk", "~") <= now:
            return
        try:
            self._table.insist(
                lambda: self._table.update(
                    keys.pool(pool),
                    keys.STATE,
                    "SET gpk = :due, gsk = :now",
                    condition="attribute_exists(dirty) AND (attribute_not_exists(gsk) OR gsk > :now)",
                    values={":due": keys.DUE, ":now": now},
                )
            )
        except Conflict:
            return  # a pass has begun, or another ring was quicker: both are after what this ring tells


def _message(pool: str, cause: str) -> str:
    return json.dumps({"pool": pool, "cause": cause})


def _key(pool: str, cause: str) -> str:
    return hashlib.sha256(f"{pool}\n{cause}".encode()).hexdigest()
