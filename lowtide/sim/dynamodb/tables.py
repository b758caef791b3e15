"""Tables: their items, the order of these, and the sparse indexes that follow some time later. Nothing is judged here
but keys."""

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lowtide.sim.dynamodb.wire import Invalid, WireItem

Key = tuple[str, str]
"""The values of a table's hash and range attribute."""
Row = tuple[str, str, str]
"""Where an item stands under its hash value: range value, then its key in the table."""


@dataclass
class Order:
    """Items under one hash and one range attribute, in range order."""

    hash_name: str
    range_name: str
    rows: dict[str, list[Row]] = field(default_factory=dict[str, list[Row]])
    """Of each hash value, sorted."""

    def place(self, item: WireItem) -> tuple[str, str] | None:
        """Where an item stands; None: it lacks a key of this (sparse) index."""
        if self.hash_name not in item or self.range_name not in item:
            return None
        return item[self.hash_name]["S"], item[self.range_name]["S"]

    def move(self, key: Key, old: WireItem | None, new: WireItem | None) -> None:
        """What stood where `old` stands, stands where `new` does."""
        before = None if old is None else self.place(old)
        after = None if new is None else self.place(new)
        if before == after:
            return
        if before is not None:
            rows = self.rows[before[0]]
            del rows[bisect_left(rows, (before[1], *key))]
            if not rows:
                del self.rows[before[0]]
        if after is not None:
            insort(self.rows.setdefault(after[0], []), (after[1], *key))


@dataclass
class Index:
    order: Order
    carried: frozenset[str] | None
    """The attributes that it shows; None: all."""
    items: dict[Key, WireItem] = field(default_factory=dict[Key, WireItem])
    """As far as it has followed the table."""

    def follow(self, key: Key, item: WireItem | None) -> None:
        self.order.move(key, self.items.get(key), item)
        if item is not None and self.order.place(item) is not None:
            self.items[key] = item
        else:
            self.items.pop(key, None)


@dataclass
class Table:
    keys: Order
    indexes: dict[str, Index]
    items: dict[Key, WireItem] = field(default_factory=dict[Key, WireItem])
    sizes: dict[Key, int] = field(default_factory=dict[Key, int])
    """Bytes of each item, counted when it was written."""
    late: list[tuple[datetime, Key, WireItem | None]] = field(
        default_factory=list[tuple[datetime, Key, WireItem | None]]
    )
    """Changes that the indexes do not show yet, and from when on they do."""

    def store(self, key: Key, item: WireItem | None, size: int, shown_at: datetime) -> None:
        """A key's item from now on (None: gone); the indexes show it later."""
        old = self.items.get(key)
        if item is None:
            self.items.pop(key, None)
        else:
            self.items[key] = item
            self.sizes[key] = size
        self.keys.move(key, old, item)
        self.late.append((shown_at, key, item))

    def catch_up(self, now: datetime) -> None:
        """Shows the indexes what they are due to see by now."""
        if not self.late or self.late[0][0] > now:
            return
        due = [change for change in self.late if change[0] <= now]
        self.late = [change for change in self.late if change[0] > now]
        for _, key, item in due:
            for index in self.indexes.values():
                index.follow(key, item)

    def key_of(self, item: WireItem) -> Key:
        """Raises Invalid for an item without a whole key."""
        for name in (self.keys.hash_name, self.keys.range_name):
            if name not in item or "S" not in item[name]:
                raise Invalid(f"One or more parameter values were invalid: Missing or mistyped key {name} in the item")
            if not item[name]["S"]:
                raise Invalid(
                    f"The AttributeValue for a key attribute cannot contain an empty string value. Key: {name}"
                )
        return item[self.keys.hash_name]["S"], item[self.keys.range_name]["S"]

    def key(self, given: WireItem) -> Key:
        """Raises Invalid for what is not a key and nothing but a key."""
        if set(given) != {self.keys.hash_name, self.keys.range_name}:
            raise Invalid("The provided key element does not match the schema")
        return self.key_of(given)


def made(key_schema: Iterable[dict[str, str]], indexes: Iterable[dict[str, Any]]) -> Table:
    """An empty table of what CreateTable was asked for."""
    keys = _order(key_schema)
    return Table(keys, {asked["IndexName"]: _index(asked, keys) for asked in indexes})


def _order(key_schema: Iterable[dict[str, str]]) -> Order:
    by_type = {entry["KeyType"]: entry["AttributeName"] for entry in key_schema}
    return Order(by_type["HASH"], by_type["RANGE"])


def _index(asked: dict[str, Any], keys: Order) -> Index:
    order, projection = _order(asked["KeySchema"]), asked["Projection"]
    if projection["ProjectionType"] == "ALL":
        return Index(order, None)
    always = {order.hash_name, order.range_name, keys.hash_name, keys.range_name}
    return Index(order, frozenset(always | set(projection.get("NonKeyAttributes", []))))
