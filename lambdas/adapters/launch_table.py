"""What launching and ending write: intentions, the instances that came of them, marks of offerings, drains.

Everything that decides is a transaction that also checks the pass's epoch: a pass that stalled and wakes after its
successor began writes none of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from lambdas.adapters import items, keys
from lambdas.adapters.bill_items import bill_item, counted_from, tariff_from
from lambdas.adapters.table import TRANSACTION_LIMIT, Conflict, Item, Table
from lambdas.domain.buying.bills import Tariff, bill_of
from lambdas.domain.fleet.fleet import BootFailure, Instance, Intention, OfferingMark
from lambdas.domain.instants import to_text

_T = TypeVar("_T")

_CONDITION_FAILED = "ConditionalCheckFailed"


class Superseded(Exception):
    """A later pass of this pool has begun; this one decides nothing any more."""


class Closing(Exception):
    """The stack is being deleted: nothing is launched."""


class LaunchTable:
    def __init__(self, table: Table) -> None:
        self._table = table

    # --- intentions ---

    def intend(self, intention: Intention, epoch: int) -> None:
        """Write an intention before its call. Raises Superseded or Closing, and then nothing may be called."""
        try:
            self._transacted(
                [
                    self._still(intention.pool, epoch),
                    self._table.check_op(keys.STACK, keys.CONTROL, "attribute_not_exists(closing)"),
                    self._table.put_op(items.intention_item(intention), condition="attribute_not_exists(pk)"),
                ]
            )
        except Conflict as conflict:
            if conflict.reasons[1] == _CONDITION_FAILED:
                raise Closing(intention.pool) from conflict
            raise Superseded(intention.pool) from conflict

    def mark_repeated(self, intention: Intention, now: datetime) -> bool:
        """Note that the call is being made again: from now on no answer to it is trusted to name every instance.
        False: the intention is closed, its outcome is known."""
        try:
            self._table.insist(
                lambda: self._table.update(
                    *_intent(intention),
                    "SET repeated_at = :now",
                    condition="attribute_exists(pk)",
                    values={":now": to_text(now)},
                )
            )
        except Conflict:
            return False
        return True

    def record(
        self,
        intention: Intention,
        instances: Sequence[Instance],
        marks: Iterable[OfferingMark],
        tariffs: Mapping[str, Tariff] | None = None,
    ) -> None:
        """Store the answer to an intention's first call: marks, then every instance, with its tariff by id, then the
        intention goes.

        Where the call has been repeated meanwhile, the intention stays, to be closed by observation."""
        self.put_marks(intention.pool, marks)
        closing = self._table.delete_op(*_intent(intention), condition="attribute_not_exists(repeated_at)")
        self._record(intention, _new_items(instances, tariffs or {}), closing)

    def record_repeated(
        self,
        intention: Intention,
        instances: Sequence[Instance],
        now: datetime,
        tariffs: Mapping[str, Tariff] | None = None,
    ) -> None:
        """Store the answer to a repeated call. Unless it names all that was asked for, there may be more than it names,
        so the intention stays open until observations close it; no call is made for it any more."""
        new = _new_items(instances, tariffs or {})
        if len(instances) >= intention.request.count:
            return self._record(intention, new, self._table.delete_op(*_intent(intention)))
        answered = self._table.update_op(
            *_intent(intention),
            "SET not_after = :now, gsk = :listed",
            condition="attribute_exists(pk) AND not_after > :now",
            values={":now": to_text(now), ":listed": f"{to_text(now)}#{intention.intention_id}"},
        )
        return self._record(intention, new, answered)

    def _record(self, intention: Intention, new: Sequence[Item], last: Item) -> None:
        """Instances with the closing operation: at once where nobody was there first, else one by one."""
        for chunk in _chunks(new, TRANSACTION_LIMIT - 1):
            try:
                self._transacted([self._new_instance(item) for item in chunk] + [self._adopted(intention, len(chunk))])
            except Conflict:
                for item in chunk:
                    self._record_one(intention, item)
        try:
            self._transacted([last])
        except Conflict:
            return  # closed already, or repeated meanwhile: then observations close it

    def _record_one(self, intention: Intention, item: Item) -> None:
        try:
            self._transacted([self._new_instance(item), self._adopted(intention, 1)])
        except Conflict as conflict:
            if conflict.reasons[0] == _CONDITION_FAILED:
                return  # the tick adopted it by its tag, or another pass recorded it
            if conflict.reasons[1] != _CONDITION_FAILED:
                raise
            self._put_if_absent(item)  # the intention is closed already

    def _put_if_absent(self, item: Item) -> None:
        try:
            self._transacted([self._new_instance(item)])
        except Conflict:
            return  # the tick adopted it by its tag

    def close(self, intention: Intention) -> bool:
        """Drop an intention that two observations since its `not_after` have settled; False: not settled, or gone."""
        try:
            self._table.insist(
                lambda: self._table.delete(
                    *_intent(intention), condition="clean_observations >= :enough", values={":enough": 2}
                )
            )
        except Conflict:
            return False
        return True

    def _new_instance(self, item: Item) -> Item:
        return self._table.put_op(item, condition="attribute_not_exists(pk)")

    def _adopted(self, intention: Intention, count: int) -> Item:
        return self._table.update_op(
            *_intent(intention),
            "ADD adopted :count",
            condition="attribute_exists(pk)",
            values={":count": count},
        )

    # --- marks ---

    def put_marks(self, pool: str, marks: Iterable[OfferingMark]) -> None:
        for chunk in _chunks(list(marks), TRANSACTION_LIMIT):
            self._transacted([self._table.put_op(items.mark_item(pool, mark)) for mark in chunk])

    # --- launch templates of the pool ---

    def note_template(self, pool: str, name: str, epoch: int, now: datetime) -> None:
        """Note a template before it is made, so that it is deleted some day whatever happens. Raises Superseded, and
        then it may not be made."""
        noted = {"pk": keys.pool(pool), "sk": keys.template(name), "template": name, "noted_at": to_text(now)}
        try:
            self._transacted([self._still(pool, epoch), self._table.put_op(noted)])
        except Conflict as conflict:
            raise Superseded(pool) from conflict

    def template_noted(self, pool: str, name: str) -> bool:
        return self._table.get(keys.pool(pool), keys.template(name)) is not None

    def forget_template(self, pool: str, name: str) -> None:
        self._table.insist(lambda: self._table.delete(keys.pool(pool), keys.template(name)))

    def check_current(self, pool: str, epoch: int) -> None:
        """Raises Superseded when a later pass has begun."""
        try:
            self._transacted([self._still(pool, epoch)])
        except Conflict as conflict:
            raise Superseded(pool) from conflict

    # --- ending instances ---

    def drain(self, pool: str, instance_ids: Sequence[str], epoch: int, why: str, now: datetime) -> tuple[str, ...]:
        """Those that hold no lease at this moment, now draining: they take no job any more. Raises Superseded."""
        return self._drain_all(pool, instance_ids, epoch, why, now, "leases = :none")

    def stop_claims(
        self, pool: str, instance_ids: Sequence[str], epoch: int, why: str, now: datetime
    ) -> tuple[str, ...]:
        """Those that are still there, now draining whatever jobs they hold, which go on. Raises Superseded."""
        return self._drain_all(pool, instance_ids, epoch, why, now, "leases >= :none")

    def move(
        self, pool: str, instance_id: str, job_ids: Sequence[str], epoch: int, why: str, now: datetime
    ) -> tuple[str, ...]:
        """Of these jobs of the instance, those that still run there: it drains now, and its worker hears with its next
        heartbeat that they are to stop. Raises Superseded."""
        if not self.stop_claims(pool, [instance_id], epoch, why, now):
            return ()
        return tuple(job_id for job_id in job_ids if self._marked_moving(pool, instance_id, job_id, now))

    def _marked_moving(self, pool: str, instance_id: str, job_id: str, now: datetime) -> bool:
        mark = self._table.update_op(
            *(keys.pool(pool), keys.lease(instance_id, job_id), "SET moving_since = :now"),
            condition="attribute_exists(pk)",
            values={":now": to_text(now)},
        )
        try:
            self._transacted([mark])
        except Conflict:
            return False  # it has ended
        return True

    def _drain_all(
        self, pool: str, instance_ids: Sequence[str], epoch: int, why: str, now: datetime, condition: str
    ) -> tuple[str, ...]:
        drained: list[str] = []
        for chunk in _chunks(instance_ids, TRANSACTION_LIMIT - 1):
            drained.extend(self._drain(pool, chunk, epoch, why, now, condition))
        return tuple(drained)

    def _drain(
        self, pool: str, wanted: Sequence[str], epoch: int, why: str, now: datetime, condition: str
    ) -> Sequence[str]:
        left = list(wanted)
        while left:
            try:
                self._transacted(
                    [self._still(pool, epoch)] + [self._draining(pool, i, why, now, condition) for i in left]
                )
            except Conflict as conflict:
                if conflict.reasons[0] == _CONDITION_FAILED:
                    raise Superseded(pool) from conflict
                refused = {i for i, reason in zip(left, conflict.reasons[1:], strict=True) if reason is not None}
                if not refused:
                    raise
                left = [i for i in left if i not in refused]
            else:
                return left
        return left

    def _draining(self, pool: str, instance_id: str, why: str, now: datetime, condition: str) -> Item:
        return self._table.update_op(
            keys.pool(pool),
            keys.instance(instance_id),
            "SET #state = :draining, draining_since = if_not_exists(draining_since, :now), "
            "drain_reason = if_not_exists(drain_reason, :why)",
            condition=condition,
            names={"#state": "state"},
            values={":draining": "draining", ":now": to_text(now), ":why": why, ":none": 0},
        )

    def keep(self, pool: str, instance_id: str, job_id: str | None, epoch: int) -> bool:
        """Keep the instance for that job, or for nobody; False: it is gone. Raises Superseded."""
        change = "SET kept_for = :job" if job_id else "REMOVE kept_for"
        kept = self._table.update_op(
            *(keys.pool(pool), keys.instance(instance_id), change),
            condition="attribute_exists(pk)",
            values={":job": job_id} if job_id else {},
        )
        try:
            self._transacted([self._still(pool, epoch), kept])
        except Conflict as conflict:
            if conflict.reasons[0] == _CONDITION_FAILED:
                raise Superseded(pool) from conflict
            if conflict.reasons[1] != _CONDITION_FAILED:
                raise
            return False
        return True

    def put_boot_failures(self, pool: str, failures: Iterable[BootFailure]) -> None:
        for chunk in _chunks(list(failures), TRANSACTION_LIMIT):
            self._transacted([self._table.put_op(items.boot_item(pool, failure)) for failure in chunk])

    def termination_requested(self, pool: str, instance_ids: Sequence[str], now: datetime) -> None:
        """Note that EC2 accepted to end these; of one that it was asked for again, the last time."""
        for instance_id in instance_ids:
            try:
                self._transacted([self._termination(pool, instance_id, now)])
            except Conflict:
                continue  # forgotten meanwhile: EC2 reported it gone

    def _termination(self, pool: str, instance_id: str, now: datetime) -> Item:
        return self._table.update_op(
            keys.pool(pool),
            keys.instance(instance_id),
            "SET termination_requested_at = :now",
            condition="attribute_exists(pk)",
            values={":now": to_text(now)},
        )

    def forget(self, pool: str, instance_id: str, now: datetime, *, bill_kept: timedelta) -> bool:
        """Replace the record of an instance that is gone and holds no lease by its bill; False: it holds one, or its
        last one is just ending."""
        item = self._table.get(keys.pool(pool), keys.instance(instance_id))
        if item is None:
            return True
        bill = bill_of(items.instance_from(item), tariff_from(item), counted_from(item), now)
        turned = {":turned": item["turned_at"]} if "turned_at" in item else {}
        as_read = "turned_at = :turned" if turned else "attribute_not_exists(turned_at)"
        dropped = self._table.delete_op(
            *(item["pk"], item["sk"]), condition=f"leases = :none AND {as_read}", values={":none": 0, **turned}
        )
        try:
            self._transacted([dropped, self._table.put_op(bill_item(bill, bill_kept))])
        except Conflict:
            return False
        return True

    # ---

    def _still(self, pool: str, epoch: int) -> Item:
        return self._table.check_op(keys.pool(pool), keys.STATE, "epoch = :epoch", values={":epoch": epoch})

    def _transacted(self, operations: Sequence[Item]) -> None:
        self._table.insist(lambda: self._table.transact(operations))


def _new_items(instances: Iterable[Instance], tariffs: Mapping[str, Tariff]) -> list[Item]:
    return [items.instance_item(each, tariffs.get(each.instance_id)) for each in instances]


def _intent(intention: Intention) -> tuple[str, str]:
    return keys.pool(intention.pool), keys.intent(intention.intention_id)


def _chunks(values: Sequence[_T], size: int) -> Iterable[Sequence[_T]]:
    return (values[start : start + size] for start in range(0, len(values), size))
