"""What an instance says once in a while: that it lives, which leases it still runs, what EC2 has announced to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from lambdas.adapters import items, keys
from lambdas.adapters.attributes import Item
from lambdas.adapters.flat import written
from lambdas.adapters.table import TRANSACTION_LIMIT, Conflict, Table, Unavailable
from lambdas.adapters.workers import UnknownInstance
from lambdas.domain.fleet.fleet import InstanceState, Lease
from lambdas.domain.instants import from_text, to_text
from lambdas.domain.jobs.work import UNTOLD, Standing

_ATTEMPTS = 5
UNNAMED_MOST = 2
"""Heartbeats in a row that may leave a lease out before it goes back (design section 4)."""


class NoticeKind(StrEnum):
    INTERRUPTION = "interruption"
    REBALANCE = "rebalance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What the instance's metadata announces."""

    kind: NoticeKind
    at: datetime
    """When EC2 will end the instance, or when it recommended to leave it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What a heartbeat found."""

    lost: tuple[tuple[str, int], ...]
    """(job, fence) that the instance named and does not hold."""
    unnamed: tuple[Lease, ...]
    """Leases that two heartbeats in a row have not named."""
    moving: tuple[tuple[str, int], ...] = ()
    """(job, fence) that the instance holds and is to stop: the job goes on elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What the control plane knows of an instance that its worker may not know yet."""

    draining: bool
    ends_at: datetime | None
    """When EC2 ends it, by whoever told of it first; None: nothing is announced."""


class Heartbeats:
    def __init__(self, table: Table, *, period: timedelta) -> None:
        self._table = table
        self._period = period

    def beat(self, pool: str, instance_id: str, notice: Notice | None, now: datetime) -> Heard:
        """Notes that the instance lives and what is announced to it: from the notice of an interruption on it drains.

        Raises UnknownInstance."""
        changes, values = _noted(notice)
        try:
            item = self._table.insist(
                lambda: self._table.update(
                    keys.pool(pool),
                    keys.instance(instance_id),
                    "SET heartbeat_at = :now" + changes,
                    condition="attribute_exists(pk)",
                    names={"#state": "state"} if "#state" in changes else None,
                    values={":now": to_text(now), **values},
                )
            )
        except Conflict as conflict:
            raise UnknownInstance(instance_id) from conflict
        ends_at = item.get("ends_at")
        return Heard(
            draining=item["state"] == InstanceState.DRAINING, ends_at=None if ends_at is None else from_text(ends_at)
        )

    def renew(
        self,
        pool: str,
        instance_id: str,
        named: Mapping[str, int],
        now: datetime,
        standings: Mapping[str, Standing] | None = None,
    ) -> Renewal:
        """Renews the leases that are named ({job id: fence}), with what is told of their jobs, and counts those that
        are not."""
        told = standings or {}
        for _ in range(_ATTEMPTS):
            stored = self._table.query(keys.pool(pool), prefix=keys.leases_of(instance_id))
            held = list(map(items.lease_from, stored))
            unnamed = [lease for lease in held if self._overdue(lease, named, now)]
            try:
                mine = [lease for lease in held if named.get(lease.job_id) == lease.fence]
                self._write([self._renewed(lease, told.get(lease.job_id, UNTOLD), now) for lease in mine])
                self._write([self._missed(lease) for lease in unnamed])
            except Conflict:
                continue  # a lease ended meanwhile
            return Renewal(
                lost=_lost(held, named),
                unnamed=tuple(le for le in unnamed if le.missed + 1 >= UNNAMED_MOST),
                moving=tuple((lease.job_id, lease.fence) for lease in mine if lease.moving_since is not None),
            )
        raise Unavailable(f"the leases of {instance_id} keep changing")

    def _overdue(self, lease: Lease, named: Mapping[str, int], now: datetime) -> bool:
        """A lease given while the heartbeat was on its way cannot be in it."""
        return named.get(lease.job_id) != lease.fence and now - lease.claimed_at >= self._period

    def _write(self, operations: Sequence[Item]) -> None:
        for start in range(0, len(operations), TRANSACTION_LIMIT):
            chunk = operations[start : start + TRANSACTION_LIMIT]
            self._table.insist(lambda chunk=chunk: self._table.transact(chunk))

    def _renewed(self, lease: Lease, standing: Standing, now: datetime) -> Item:
        told = written(standing)
        return self._table.update_op(
            keys.pool(lease.pool),
            keys.lease(lease.instance_id, lease.job_id),
            "SET renewed_at = :now, missed = :none" + "".join(f", {name} = :{name}" for name in told),
            condition="fence = :fence",
            values={
                **{":now": to_text(now), ":none": 0, ":fence": lease.fence},
                **{f":{name}": value for name, value in told.items()},
            },
        )

    def _missed(self, lease: Lease) -> Item:
        return self._table.update_op(
            keys.pool(lease.pool),
            keys.lease(lease.instance_id, lease.job_id),
            "SET missed = :missed",
            condition="fence = :fence AND missed = :before",
            values={":missed": lease.missed + 1, ":before": lease.missed, ":fence": lease.fence},
        )


def _lost(held: Sequence[Lease], named: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    current = {lease.job_id: lease.fence for lease in held}
    return tuple((job_id, fence) for job_id, fence in named.items() if current.get(job_id) != fence)


def _noted(notice: Notice | None) -> tuple[str, Item]:
    """The update's further clauses and their values."""
    if notice is None:
        return "", {}
    if notice.kind == NoticeKind.REBALANCE:
        return ", rebalance_at = if_not_exists(rebalance_at, :at)", {":at": to_text(notice.at)}
    return (
        ", #state = :draining, draining_since = if_not_exists(draining_since, :now), "
        "drain_reason = if_not_exists(drain_reason, :why), ends_at = :at",
        {":draining": InstanceState.DRAINING.value, ":why": "interruption", ":at": to_text(notice.at)},
    )
