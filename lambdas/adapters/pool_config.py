"""Pools as their owners declared them: the current version, the list of pools, the history of versions.

A CONFIG item holds the pool as a map (`document`) and, beside it, what other transactions put conditions on:
`{"pool": "gpu", "version": 3, "paused": false, "deleted": false, "document": {…}}`.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from lambdas.adapters import keys
from lambdas.adapters.table import Conflict, Item, Table
from lambdas.domain.instants import to_text
from lambdas.domain.pools.pools import Pool

_log = logging.getLogger(__name__)


def look_anew_op(table: Table, pool: str, now: datetime) -> Item:
    """The operation that makes a pool due at once, and keeps a pass under way from deciding by what it has read."""
    return table.update_op(
        keys.pool(pool),
        keys.STATE,
        "SET epoch = if_not_exists(epoch, :first) + :one, #pool = :pool, gpk = :due, gsk = :now",
        names={"#pool": "pool"},
        values={
            **{":first": int(now.timestamp() * 1000), ":one": 1, ":pool": pool},
            **{":due": keys.DUE, ":now": to_text(now)},
        },
    )


class Unreadable(Exception):
    """A pool's record is none that this release can read: it is damaged, or a later release wrote it."""


def pool_from(item: Item) -> Pool:
    """Raises Unreadable."""
    try:
        return Pool.from_document(item["document"])
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise Unreadable(f"the record of pool {item.get('pool')} cannot be read: {error!r}") from error


_VERSIONS_AT_LAST = 90
"""Versions that go in one transaction with the pool itself; what is older goes before, oldest first."""


class PoolConfig:
    def __init__(self, table: Table) -> None:
        self._table = table

    def pool(self, name: str) -> Pool | None:
        """The current version, deleted ones that still have instances or jobs included; None where there is none."""
        item = self._table.get(keys.pool(name), keys.CONFIG)
        return None if item is None else pool_from(item)

    def pools(self) -> list[Pool]:
        """Every pool in order of its name. Raises Unreadable where there is one that cannot be read."""
        return [pool_from(item) for item in self._records()]

    def readable(self) -> tuple[list[Pool], frozenset[str]]:
        """Every pool in order of its name, and the names of those that are left out since their record cannot be read:
        that is their own trouble and no other pool's (law 8)."""
        found: list[Pool] = []
        others: set[str] = set()
        for item in self._records():
            try:
                found.append(pool_from(item))
            except Unreadable as error:
                _log.error("pool left out", extra={"pool": item["pool"], "error": str(error)})
                others.add(item["pool"])
        return found, frozenset(others)

    def _records(self) -> list[Item]:
        listed = [entry["pool"] for entry in self._table.query(keys.POOLS)]
        found: list[Item] = []
        for start in range(0, len(listed), 100):
            found += self._table.get_many([(keys.pool(name), keys.CONFIG) for name in listed[start : start + 100]])
        return sorted(found, key=lambda item: item["pool"])

    def history(self, name: str) -> Iterator[Pool]:
        """Every kept version, newest first."""
        return map(pool_from, self._table.query(keys.history(name), newest_first=True))

    def put_pool(self, pool: Pool, expected_version: int | None, *, now: datetime) -> Pool:
        """The pool as stored: one version above `expected_version` (None: there is no such pool yet, version 1).

        Current version, list entry and history are written together or not at all, and with them the pool's epoch: a
        pass under way decides nothing any more by the old version, and the next tick (within a minute) has the pool
        looked at. Raises Conflict when another version than the expected one is there: somebody applied in between,
        nothing was changed."""
        stored = replace(pool, version=(expected_version or 0) + 1, applied_at=now)
        self._transact(
            [
                self._table.put_op(_config_item(stored), **_still(expected_version)),
                self._table.put_op({"pk": keys.POOLS, "sk": pool.name, "pool": pool.name, "version": stored.version}),
                self._table.put_op(_history_item(stored)),
                look_anew_op(self._table, stored.name, now),
            ]
        )
        return stored

    def put_types(self, pool: Pool) -> bool:
        """Store the facts of the pool's types in its current version; False: another version is there by now, applied
        with facts of its own. The history keeps the facts that a version was applied with."""
        try:
            self._table.insist(lambda: self._table.put(_config_item(pool), **_still(pool.version)))
        except Conflict:
            return False
        return True

    def remove(self, pool: Pool, epoch: int) -> None:
        """Drop a deleted pool that has nothing left, its history too. Raises Conflict when it was applied anew, when a
        later pass has begun, or when news came since this one began. Marks and decisions go by their TTL."""
        versions = [self._table.delete_op(v["pk"], v["sk"]) for v in self._table.query(keys.history(pool.name))]
        while len(versions) > _VERSIONS_AT_LAST:
            self._transact(versions[:_VERSIONS_AT_LAST])
            del versions[:_VERSIONS_AT_LAST]
        self._transact(
            [
                self._table.delete_op(keys.pool(pool.name), keys.CONFIG, **_still(pool.version)),
                self._table.delete_op(keys.pool(pool.name), keys.IMAGES),
                self._table.delete_op(keys.POOLS, pool.name),
                self._table.delete_op(
                    keys.pool(pool.name),
                    keys.STATE,
                    condition="epoch = :epoch AND attribute_not_exists(dirty)",
                    values={":epoch": epoch},
                ),
                *versions,
            ]
        )

    def _transact(self, operations: list[Item]) -> None:
        self._table.insist(lambda: self._table.transact(operations))

    def forget_unknown(self, name: str, epoch: int) -> None:
        """Drop the state that a message about a pool which does not exist left behind."""
        try:
            self._transact([self._table.delete_op(keys.pool(name), keys.STATE, **_begun(epoch))])
        except Conflict:
            return  # a later pass has begun: it will see whether the pool exists now


class PoolsByName(Mapping[str, Pool]):
    """The stack's pools, each read once and when it is asked for; all of them where somebody goes through them.

    Asking for one whose record cannot be read raises Unreadable; going through all leaves it out."""

    def __init__(self, config: PoolConfig) -> None:
        self._config = config
        self._found: dict[str, Pool | None] = {}

    def __getitem__(self, name: str) -> Pool:
        if name not in self._found:
            self._found[name] = self._config.pool(name)
        if (pool := self._found[name]) is None:
            raise KeyError(name)
        return pool

    def __iter__(self) -> Iterator[str]:
        readable, _ = self._config.readable()
        self._found.update({pool.name: pool for pool in readable})
        return iter([pool.name for pool in readable])

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _begun(epoch: int) -> Item:
    return {"condition": "epoch = :epoch", "values": {":epoch": epoch}}


def _still(version: int | None) -> Item:
    if version is None:
        return {"condition": "attribute_not_exists(pk)"}
    return {"condition": "#version = :version", "names": {"#version": "version"}, "values": {":version": version}}


def _config_item(pool: Pool) -> Item:
    return {"pk": keys.pool(pool.name), "sk": keys.CONFIG, **_declared(pool)}


def _history_item(pool: Pool) -> Item:
    applied = pool.applied_at and to_text(pool.applied_at)
    return {
        **{"pk": keys.history(pool.name), "sk": keys.version(pool.version), "applied_at": applied},
        **_declared(pool),
    }


def _declared(pool: Pool) -> Item:
    return {
        **{"pool": pool.name, "version": pool.version, "paused": pool.paused, "deleted": pool.deleted},
        "document": pool.to_document(),
    }
