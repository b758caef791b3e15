"""A deployment's pools as the verbs read and change them: every failure is a sentence."""

from datetime import datetime

from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.table import Conflict
from lambdas.domain.pools.pools import Pool
from lowtide.cli.errors import Failure


def pool_named(store: PoolConfig, name: str) -> Pool:
    """The current version. Raises Failure, which names the pools that there are."""
    if (pool := store.pool(name)) is None:
        there = ", ".join(found.name for found in store.pools())
        raise Failure(f"there is no pool {name}: " + (f"pools are {there}" if there else "lowtide pools apply FILE"))
    return pool


def put(store: PoolConfig, old: Pool | None, new: Pool, now: datetime) -> Pool:
    """`new` in the place of `old`. Raises Failure where somebody else has changed the pool since `old` was read."""
    try:
        return store.put_pool(new, old.version if old else None, now=now)
    except Conflict as error:
        raise Failure(
            f"somebody else changed pool {new.name} just now, so it was not touched: "
            f"look with `lowtide pools show {new.name}`, then try again"
        ) from error
