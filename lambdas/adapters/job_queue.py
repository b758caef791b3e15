"""A pool's queue as one list in rank order, although it is spread over key shards."""

import heapq
from collections.abc import Iterator

from lambdas.adapters import keys
from lambdas.adapters.attributes import Item
from lambdas.adapters.table import Table

PAGE = 50
"""Entries a call and shard; some 300 bytes each."""


def ranked_entries(table: Table, pool: str, *, first: int = PAGE) -> Iterator[Item]:
    """Queue entries, highest priority first, then first in, first out; read page by page as far as asked.

    `first`: entries that each shard's first page has, for who seldom goes further."""
    shards = [table.query(keys.queue(pool, number), first=first, page=PAGE) for number in range(keys.QUEUE_SHARDS)]
    return heapq.merge(*shards, key=lambda item: item["sk"])
