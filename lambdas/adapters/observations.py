"""What is known of EC2's side, in the table: the fleet as last observed, warnings, intentions' clean observations.

Writes are conditional, so that what is late or comes twice never undoes what is newer; a write that was not needed
returns None or False and is no error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lambdas.adapters import items, keys
from lambdas.adapters.table import TRANSACTION_LIMIT, Conflict, Item, Table
from lambdas.domain.fleet import observed
from lambdas.domain.fleet.fleet import Instance, InstanceState, Intention
from lambdas.domain.instants import from_text, to_text

TOGETHER_MOST = TRANSACTION_LIMIT
"""Instances whose state one transaction records."""
_DRAINS = (
    "#state = :draining, draining_since = if_not_exists(draining_since, :now), "
    "drain_reason = if_not_exists(drain_reason, :why)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An instance as the list FLEET carries it: a second or so behind its record."""

    instance_id: str
    pool: str
    state: InstanceState
    observed_state: str | None
    launched_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """An instance's record after a write."""

    instance: Instance
    was_draining: bool
    """False: it is this write that made it draining, or it is not draining now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DuePool:
    """A pool that is not at rest."""

    pool: str
    at: datetime
    """When somebody has to look at it."""
    summary: Mapping[str, Any]
    """As its last pass concluded; empty before its first."""


class Observations:
    def __init__(self, table: Table) -> None:
        self._table = table

    # --- lists ---

    def fleet(self) -> dict[str, Known]:
        """Every recorded instance by its id; one call per 1 MB, some 5,000 instances."""
        return {known.instance_id: known for known in map(_known, self._table.query(keys.FLEET, index=True))}

    def known(self, instance_id: str) -> Known | None:
        """One instance, in one read; None: not ours, or recorded within the last second or so."""
        found = self._table.query(keys.FLEET, index=True, prefix=instance_id, limit=1)
        return next((known for known in map(_known, found) if known.instance_id == instance_id), None)

    def due(self) -> list[DuePool]:
        """Every pool that is not at rest, the longest due first."""
        return [
            DuePool(pool=_pool_name(item), at=from_text(item["gsk"]), summary=item.get("summary", {}))
            for item in self._table.query(keys.DUE, index=True)
        ]

    def summaries(self, pools: list[str]) -> dict[str, Mapping[str, Any]]:
        """The last conclusions of these pools, strongly read, 100 pools a call; a pool without one is left out."""
        found: dict[str, Mapping[str, Any]] = {}
        for start in range(0, len(pools), 100):
            wanted = [(keys.pool(pool), keys.STATE) for pool in pools[start : start + 100]]
            states = self._table.get_many(wanted)
            found.update((_pool_name(state), state["summary"]) for state in states if state.get("summary"))
        return found

    def parked(self, *, most: int) -> int:
        """How many messages are parked, counted up to `most`."""
        return self._table.count(keys.PARKED, most=most)

    # --- one instance ---

    def record_state(
        self, known: Known, state: str, *, at: datetime, now: datetime, reason: str | None = None
    ) -> Changed | None:
        """Record EC2's state as seen at `at` (an observation's start, an event's time); a lost instance drains too.
        `reason`: EC2's code for an end, kept once it is known; None: it is not.

        None: the record knows better (newer, or an end where this is none), or is forgotten."""
        lost = state in observed.LOST
        expression, condition, values = _observed(state, at)
        told = "" if reason is None else ", state_reason = :reason"
        return self._update(
            known,
            f"{expression}{', ' + _DRAINS if lost else ''}{told}",
            condition,
            values={**values, **({} if reason is None else {":reason": reason})},
            draining=_draining(observed.reported(state), now) if lost else None,
        )

    def record_living(self, fleet: Sequence[Known], state: str, *, at: datetime) -> bool:
        """Record at once what `record_state` would of each, where instances live in that state (it is none of LOST); at
        most TOGETHER_MOST. False: one of the records knows better, or is forgotten, and none was written."""
        expression, condition, values = _observed(state, at)
        operations = [
            self._table.update_op(
                keys.pool(known.pool), keys.instance(known.instance_id), expression, condition=condition, values=values
            )
            for known in fleet
        ]
        try:
            self._table.insist(lambda: self._table.transact(operations))
        except Conflict:
            return False
        return True

    def record_reason(self, known: Known, reason: str) -> Changed | None:
        """Record EC2's code for an end that an event, which has none, told of first. None: it was known, the end was
        asked for here, or the record is forgotten."""
        return self._update(
            known,
            "SET state_reason = :reason",
            "attribute_exists(pk) AND attribute_not_exists(state_reason) AND "
            "attribute_not_exists(termination_requested_at)",
            values={":reason": reason},
            draining=None,
        )

    def announce_end(self, known: Known, ends_at: datetime, *, why: str, now: datetime) -> Changed | None:
        """Record that EC2 is going to end the instance at `ends_at`: it drains, and `why` replaces any other reason.

        The earliest announcement counts. None: EC2 had said so before, or the record is forgotten. What its worker
        alone had told of is news all the same: whoever counts announcements counts EC2's."""
        draining = _draining(why, now)
        drains = "#state = :draining, draining_since = if_not_exists(draining_since, :now), drain_reason = :why"
        return self._update(
            known,
            f"SET ends_at = :ends, {drains}",
            "attribute_exists(pk) AND (attribute_not_exists(ends_at) OR ends_at > :ends)",
            values={":ends": to_text(ends_at)},
            draining=draining,
        ) or self._update(
            known,
            f"SET {drains}",
            "attribute_exists(ends_at) AND drain_reason <> :why",
            values={},
            draining=draining,
        )

    def advise_rebalance(self, known: Known, at: datetime) -> Changed | None:
        """Record EC2's advice to move; the first advice counts. None: it was known, or the record is forgotten."""
        return self._update(
            known,
            "SET rebalance_at = :at",
            "attribute_exists(pk) AND attribute_not_exists(rebalance_at)",
            values={":at": to_text(at)},
            draining=None,
        )

    def _update(
        self, known: Known, expression: str, condition: str, *, values: Item, draining: Item | None
    ) -> Changed | None:
        try:
            item = self._table.insist(
                lambda: self._table.update(
                    keys.pool(known.pool),
                    keys.instance(known.instance_id),
                    expression,
                    condition=condition,
                    names={"#state": "state"} if draining else None,
                    values={**values, **(draining or {})},
                )
            )
        except Conflict:
            return None
        drained_before = "draining_since" in item and not _drained_by(item, draining)
        return Changed(instance=items.instance_from(item), was_draining=drained_before)

    # --- adoption ---

    def intention(self, pool: str, decision: str) -> Intention | None:
        """The open intention that a decision's tag names; None: it is closed, or never was."""
        item = self._table.get(keys.pool(pool), keys.intent(decision))
        return None if item is None else items.intention_from(item)

    def adopt(self, instance: Instance, intention: Intention | None) -> bool:
        """Record an instance found by its tag, and count it on its intention in the same transaction: it is never
        counted twice nor not at all. False: it was recorded meanwhile."""
        try:
            self._table.insist(lambda: self._table.transact(self._adoption(instance, intention)))
        except Conflict as conflict:
            if conflict.failed(0):
                return False
            return self.adopt(instance, None)  # the intention was closed meanwhile
        return True

    def _adoption(self, instance: Instance, intention: Intention | None) -> list[Item]:
        recorded = self._table.put_op(items.instance_item(instance), condition="attribute_not_exists(pk)")
        if intention is None:
            return [recorded]
        counted = self._table.update_op(
            keys.pool(intention.pool),
            keys.intent(intention.intention_id),
            "ADD adopted :one",
            condition="attribute_exists(pk)",
            values={":one": 1},
        )
        return [recorded, counted]

    def launches_under_way(self, *, since: datetime) -> int:
        """Open intentions whose `not_after` is at or after `since`."""
        return sum(1 for _ in self._table.query(keys.INTENT, index=True, since=to_text(since)))

    # --- warnings for unknown instances ---

    def remember_warning(self, instance_id: str, ends_at: datetime, *, until: datetime) -> None:
        """Keep a warning for an instance that is not known (yet)."""
        self._table.put(
            {
                **{"pk": keys.news(instance_id), "sk": keys.WARNING, "instance_id": instance_id},
                **{"gpk": keys.NEWS, "gsk": f"{to_text(ends_at)}#{instance_id}"},
                "expires_at": int(until.timestamp()),
            }
        )

    def warnings(self, *, since: datetime) -> dict[str, datetime]:
        """Instance id -> announced end, of the kept warnings whose end is at or after `since`."""
        found = self._table.query(keys.NEWS, index=True, since=to_text(since))
        return {item["instance_id"]: from_text(item["gsk"].partition("#")[0]) for item in found}

    def drop_warning(self, instance_id: str) -> None:
        """Forget a kept warning that its instance's record now carries."""
        self._table.delete(keys.news(instance_id), keys.WARNING)

    # --- intentions ---

    def count_clean(self, *, started_at: datetime, before: datetime) -> list[str]:
        """Note a complete observation on every open intention whose `not_after` is before `before`; their pools.

        Counting the same observation again changes nothing."""
        settled = self._table.query(keys.INTENT, index=True, upto=to_text(before))
        return [item["pool"] for item in settled if self._count_one(item, started_at)]

    def _count_one(self, listed: Item, started_at: datetime) -> bool:
        try:
            self._table.insist(
                lambda: self._table.update(
                    listed["pk"],
                    listed["sk"],
                    "SET clean_observations = clean_observations + :one, counted_at = :started",
                    condition="attribute_exists(pk) AND (attribute_not_exists(counted_at) OR counted_at < :started)",
                    values={":one": 1, ":started": to_text(started_at)},
                )
            )
        except Conflict:
            return False
        return True


def _observed(state: str, at: datetime) -> tuple[str, str, Item]:
    """The update, its condition and their values that say what EC2 says."""
    stated = {f":kept{n}": word for n, word in enumerate(sorted(observed.kept_against(state)))}
    newer = "" if state in observed.ENDING else " AND (attribute_not_exists(observed_at) OR observed_at < :at)"
    return (
        "SET observed_state = :observed, observed_at = :at",
        "attribute_exists(pk) AND (attribute_not_exists(observed_state) OR NOT observed_state IN "
        f"({', '.join(stated)})){newer}",
        {":observed": state, ":at": to_text(at), **stated},
    )


def _known(item: Item) -> Known:
    return Known(
        instance_id=item["gsk"],
        pool=item["pool"],
        state=InstanceState(item["state"]),
        observed_state=item.get("observed_state"),
        launched_at=from_text(item["launched_at"]),
    )


def _pool_name(state: Item) -> str:
    return state["pk"].partition("#")[2]


def _drained_by(item: Item, draining: Item | None) -> bool:
    return draining is not None and (item["draining_since"], item["drain_reason"]) == (
        draining[":now"],
        draining[":why"],
    )


def _draining(why: str, now: datetime) -> Item:
    return {":draining": InstanceState.DRAINING, ":now": to_text(now), ":why": why}
