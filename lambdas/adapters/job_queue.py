"""A pool's queue as one list in rank order, although it is spread over key shards."""

import heapq
from collections.abc import Iterator

from lambdas.adapters import keys
from lambdas.adapters.attributes import Item
from lambdas.adapters.table import Table

_PAGE = 50
"""Entries a call and shard; some 300 bytes each."""


def ranked_entries(table: Table, pool: str) -> Iterator[Item]:
    """Queue entries, highest priority first, then first in, first out; read page by page as far as asked."""
    shards = [table.query(keys.queue(pool, number), page=_PAGE) for number in range(keys.QUEUE_SHARDS)]
    return heapq.merge(*shards, key=lambda item: item["sk"])
