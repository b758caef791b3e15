"""The verbs that change a stored pool without its file: history, rollback, pause, resume, delete."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from lambdas.adapters import keys
from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.pool_table import PoolTable
from lambdas.adapters.table import Table
from lambdas.domain.pools.pools import Pool
from lambdas.domain.words import several
from lowtide.cli.asking import confirm
from lowtide.cli.connection import Deployment
from lowtide.cli.errors import Failure, Misuse
from lowtide.cli.options import DEFAULT_STACK, All, AsJson, Stack, Yes
from lowtide.cli.output import console, print_json, print_rows
from lowtide.cli.pool_apply import show_change
from lowtide.cli.pool_store import pool_named, put
from lowtide.poolfile.difference import changes, without_secrets
from lowtide.poolfile.refresh import refreshed

Name = Annotated[str, typer.Argument(help="Pool name.", metavar="NAME")]

POLL_SECONDS = 2.0
_COUNTED_MOST = 10_000
"""Queued jobs that are counted of each key shard, before a pool is deleted."""
_TRIES = 5
"""How often pausing reads a pool again that others change at the same time."""


def history(name: Name, stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """Every version of a pool, newest first, and what changed in it."""
    versions = _versions(PoolConfig(Deployment(stack).table), name)
    told = [_told(before, pool) for pool, before in zip(versions, [*versions[1:], None], strict=True)]
    places = [{"version": pool.version, "applied_at": pool.applied_at} for pool in versions]
    if as_json:
        print_json(
            [
                {**place, "changes": changed, "pool": without_secrets(pool.to_document())}
                for place, changed, pool in zip(places, told, versions, strict=True)
            ]
        )
        return
    rows = [{**place, "changes": "; ".join(changed) or "nothing"} for place, changed in zip(places, told, strict=True)]
    print_rows(("version", "applied_at", "changes"), rows, empty="No version.")


def rollback(
    name: Name,
    version: Annotated[int | None, typer.Argument(help="Version to go back to; default: the one before.")] = None,
    stack: Stack = DEFAULT_STACK,
    yes: Yes = False,
) -> None:
    """Make an old version the current one again, as a new version, with the facts and prices of today.

    Whether the pool is paused does not change."""
    deployment = Deployment(stack)
    deployment.announce()
    store = PoolConfig(deployment.table)
    current = pool_named(store, name)
    old = _chosen(_versions(store, name), current, version)
    wanted, wrong = refreshed(deployment, replace(old, paused=current.paused, deleted=False))
    if wrong:
        raise Failure(f"version {old.version} of {name} cannot come back: {'; '.join(wrong)}; nothing was changed")
    if not (lines := changes(current, wanted)):
        console().print(f"{name} is already as version {old.version} was: nothing to change.", markup=False)
        return
    show_change(wanted, lines)
    confirm(f"Go back to version {old.version}?", yes=yes)
    stored = put(store, current, wanted, deployment.now())
    console().print(f"{name}: version {stored.version} applied, with the content of {old.version}", markup=False)


def pause(name: Name, stack: Stack = DEFAULT_STACK) -> None:
    """Launch nothing and hand out no jobs; running jobs finish, then their instances end."""
    _set_one(stack, name, paused=True)


def resume(name: Name, stack: Stack = DEFAULT_STACK) -> None:
    """Let a paused pool go on."""
    _set_one(stack, name, paused=False)


def pause_all(every: All = False, stack: Stack = DEFAULT_STACK, yes: Yes = False) -> None:
    """Pause every pool: no launches, no new claims; running jobs finish, then their instances end."""
    _all_pools(every, stack, paused=True, yes=yes)


def resume_all(every: All = False, stack: Stack = DEFAULT_STACK, yes: Yes = False) -> None:
    """Let every paused pool go on, also those that were paused before `pause --all`."""
    _all_pools(every, stack, paused=False, yes=yes)


def delete(
    name: Name,
    drain: Annotated[
        bool, typer.Option("--drain", help="Although it has jobs: running ones finish, queued ones are parked.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the pool is gone, and show what is left.")] = False,
    stack: Stack = DEFAULT_STACK,
    yes: Yes = False,
) -> None:
    """Delete a pool. It goes when its last job and instance have gone."""
    deployment = Deployment(stack)
    deployment.announce()
    store = PoolConfig(deployment.table)
    pool = pool_named(store, name)
    if not pool.deleted:
        left = _left(deployment.table, name)
        if left.anything and not drain:
            raise Failure(
                f"pool {name} has {left}: wait for them to end, or delete it with --drain "
                "(running jobs finish, queued ones are parked, then the instances end)"
            )
        confirm(f"Delete {name}, which has {left}?" if left.anything else f"Delete {name}?", yes=yes)
        put(store, pool, replace(pool, deleted=True), deployment.now())
    console().print(f"{name}: being deleted", markup=False)
    if wait:
        _wait_until_gone(store, deployment.table, name)


# --- versions ---------------------------------------------------------------------------------------------------------


def _versions(store: PoolConfig, name: str) -> list[Pool]:
    """Newest first; at least one."""
    pool_named(store, name)
    return list(store.history(name))


def _told(before: Pool | None, pool: Pool) -> list[str]:
    if pool.deleted:
        return ["deleted"]
    if before is None or before.deleted:
        return ["first version" if before is None else "made anew"]
    return changes(before, pool)


def _chosen(versions: Sequence[Pool], current: Pool, number: int | None) -> Pool:
    """The version of this number; without one, the newest that says something else than the current one."""
    if number is not None:
        if found := next((pool for pool in versions if pool.version == number), None):
            return found
        kept = ", ".join(str(pool.version) for pool in reversed(versions))
        raise Failure(f"{current.name} has no version {number}: versions are {kept}")
    others = (p for p in versions if not p.deleted and changes(current, replace(p, paused=current.paused)))
    if (other := next(others, None)) is None:
        raise Failure(f"{current.name} has no other version to go back to: see `lowtide pools history {current.name}`")
    return other


# --- pausing ----------------------------------------------------------------------------------------------------------


def _all_pools(every: bool, stack: str, *, paused: bool, yes: bool) -> None:
    verb = "pause" if paused else "resume"
    if not every:
        raise Misuse(f"say which: `lowtide pools {verb} NAME` for one pool, `lowtide {verb} --all` for every one")
    deployment = Deployment(stack)
    deployment.announce()
    pools = [pool for pool in PoolConfig(deployment.table).pools() if not pool.deleted and pool.paused is not paused]
    if not pools:
        console().print(f"No pool to {verb}.")
        return
    _set_paused(deployment, [pool.name for pool in pools], paused=paused, yes=yes)


def _set_one(stack: str, name: str, *, paused: bool) -> None:
    deployment = Deployment(stack)
    deployment.announce()
    _set_paused(deployment, [name], paused=paused)


def _set_paused(deployment: Deployment, pools: Sequence[str], *, paused: bool, yes: bool = True) -> None:
    verb, past = ("pause", "paused") if paused else ("resume", "resumed")
    confirm(f"{verb.capitalize()} {', '.join(pools)}?", yes=yes)
    store = PoolConfig(deployment.table)
    for name in pools:
        changed = _set_paused_one(deployment, store, name, paused=paused)
        console().print(f"{name}: {past}" if changed else f"{name}: {past} already", markup=False)


def _set_paused_one(deployment: Deployment, store: PoolConfig, name: str, *, paused: bool) -> bool:
    """False: it was so already. Whatever else somebody changes at the same time stays."""
    for left in reversed(range(_TRIES)):
        pool = pool_named(store, name)
        if pool.deleted:
            raise Failure(f"pool {name} is being deleted: apply it anew to keep it")
        if pool.paused is paused:
            return False
        try:
            put(store, pool, replace(pool, paused=paused), deployment.now())
        except Failure:
            if not left:
                raise
        else:
            return True
    raise AssertionError("the last try returns or raises")


# --- deleting ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Left:
    """What a pool still has."""

    instances: int
    launches: int
    running: int
    queued: int

    @property
    def anything(self) -> bool:
        return bool(self.instances or self.launches or self.running or self.queued)

    def __str__(self) -> str:
        told = (
            *((self.instances, "instance"), (self.launches, "open launch request")),
            *((self.running, "running job"), (self.queued, "queued job")),
        )
        return ", ".join(several(count, noun) for count, noun in told if count)


def _left(table: Table, name: str) -> _Left:
    records = PoolTable(table).records(name)
    shards = (keys.queue(name, number) for number in range(keys.QUEUE_SHARDS))
    return _Left(
        instances=len(records.instances) if records else 0,
        launches=len(records.intentions) if records else 0,
        running=len(records.leases) if records else 0,
        queued=sum(table.count(shard, most=_COUNTED_MOST) for shard in shards),
    )


def _wait_until_gone(store: PoolConfig, table: Table, name: str) -> None:
    told = ""
    while (pool := store.pool(name)) is not None:
        if not pool.deleted:
            raise Failure(f"somebody has applied pool {name} anew: it stays")
        if (left := str(_left(table, name))) and left != told:
            console().print(f"{name}: {left} left", markup=False)
            told = left
        time.sleep(POLL_SECONDS)
    console().print(f"{name}: gone", markup=False)
