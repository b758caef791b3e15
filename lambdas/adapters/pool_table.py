"""A pool's items as one pass reads and writes them: the epoch, the records, the head of the queue, the state.

STATE holds the epoch, `dirty` (a cause, while somebody has asked for a pass), what the last pass concluded (`summary`,
`reasons`, `unfulfilled_since`), the shortage that people are told of and the last ones that ended (`alarmed`,
`past_shortages`), the mark of the last decision that was kept (`decided`) and, while the pool is not at rest, its place
in the list DUE (`gpk`, `gsk`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from functools import cache
from typing import Any

from lambdas import names
from lambdas.adapters import items, keys
from lambdas.adapters.bill_items import tariff_attributes, tariff_from
from lambdas.adapters.decisions import mark_document, mark_from
from lambdas.adapters.job_queue import ranked_entries
from lambdas.adapters.pool_config import pool_from
from lambdas.adapters.table import Conflict, Item, Table
from lambdas.domain.buying.bills import Tariff
from lambdas.domain.fleet.fleet import BootFailure, Instance, Intention, Lease, OfferingMark
from lambdas.domain.fleet.snapshot import Stretch
from lambdas.domain.instants import from_text, to_text
from lambdas.domain.jobs.fit import least_share
from lambdas.domain.jobs.jobs import QueuedJob, Resources
from lambdas.domain.plan.decision import Mark
from lambdas.domain.pools.pools import Pool
from lambdas.domain.reasons import Reason
from lambdas.domain.refusals.shortages import Alarmed, Past

QUEUE_LOOK = 200
"""Queued jobs that are read even when the pool cannot grow, so that `queued_jobs` is exact up to here. Some 60 KB."""
DEADLINES_MOST = 100
"""Jobs with a deadline that are found beyond what is read of a long queue, in one call. Some 40 KB."""
SHARE_LEAST = Fraction(1, 100)
"""Of an instance: smaller jobs count as this, as auxiliary jobs do by default. It keeps what is read in bounds where
jobs are tiny; what is cut off then, claims still find, and the next pass reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What a pass knows of its pool's past when it begins."""

    epoch: int
    reasons: tuple[Reason, ...]
    unfulfilled_since: datetime | None
    resting: bool
    """True: the last pass left the pool at rest."""
    decided: Mark | None
    """Of the last decision that was kept."""
    launch_times: tuple[tuple[str, int], ...] = ()
    """As the last pass left them (domain/fleet/lead.py)."""
    availability: tuple[Stretch, ...] = ()
    """The same (domain/buying/availability.py)."""
    alarmed: Alarmed | None = None
    past_shortages: tuple[Past, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Everything under a pool's key, from one query."""

    pool: Pool
    instances: tuple[Instance, ...]
    leases: tuple[Lease, ...]
    intentions: tuple[Intention, ...]
    marks: tuple[OfferingMark, ...]
    images: tuple[tuple[str, str], ...]
    """(instance type, image id) as last resolved; an empty id: no public parameter names an image for that type."""
    images_at: datetime | None
    """When they were; None: never."""
    boot_failures: tuple[BootFailure, ...]
    """Oldest first."""
    templates: tuple[str, ...]
    """Names of the launch templates that were made for the pool and not deleted since."""
    tariffs: Mapping[str, Tariff]
    """What instances cost, by id; one without has none stored yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """What a pass leaves in STATE."""

    summary: Mapping[str, Any]
    reasons: tuple[Reason, ...]
    unfulfilled_since: datetime | None
    due: datetime | None
    """When to look again if nothing happens; None: at rest."""
    decided: Mark | None = None
    """Of the last decision that was kept."""
    launch_times: tuple[tuple[str, int], ...] = ()
    availability: tuple[Stretch, ...] = ()
    alarmed: Alarmed | None = None
    past_shortages: tuple[Past, ...] = ()


class PoolTable:
    def __init__(self, table: Table) -> None:
        self._table = table

    def begin(self, pool: str, now: datetime) -> Begun:
        """Begin a pass: what it writes to decide is refused as soon as a later one begins.

        The pool stays in the list DUE until the pass has concluded, so that one that dies is repeated. The first epoch
        of a pool is the time in milliseconds: a pool made anew under an old name never repeats an epoch."""
        state = self._update_state(
            pool,
            "SET epoch = if_not_exists(epoch, :first) + :one, #pool = :pool, gpk = :due, "
            "gsk = if_not_exists(gsk, :now) REMOVE dirty",
            names={"#pool": "pool"},
            values={
                **{":first": int(now.timestamp() * 1000), ":one": 1, ":pool": pool},
                **{":due": keys.DUE, ":now": to_text(now)},
            },
        )
        since = state.get("unfulfilled_since")
        return Begun(
            epoch=state["epoch"],
            reasons=tuple(map(items.reason_from, state.get("reasons", ()))),
            unfulfilled_since=None if since is None else from_text(since),
            resting=state.get("resting", False),
            decided=mark_from(state.get("decided")),
            launch_times=tuple((name, int(seconds)) for name, seconds in state.get("launch_times", ())),
            availability=tuple(map(items.stretch_from, state.get("availability", ()))),
            alarmed=items.alarmed_from(state.get(names.ATTRIBUTE_ALARMED)),
            past_shortages=tuple(map(items.past_from, state.get("past_shortages", ()))),
        )

    def records(self, pool: str) -> Records | None:
        """One strongly consistent query. None: there is no such pool."""
        found: dict[str, list[Item]] = {}
        for item in self._table.query(keys.pool(pool)):
            found.setdefault(item["sk"].split("#", 1)[0], []).append(item)
        if keys.CONFIG not in found:
            return None
        images = next(iter(found.get(keys.IMAGES, ())), {})
        return Records(
            pool=pool_from(found[keys.CONFIG][0]),
            instances=tuple(map(items.instance_from, _of(found, keys.INSTANCE_PREFIX))),
            leases=tuple(map(items.lease_from, _of(found, keys.LEASE_PREFIX))),
            intentions=tuple(map(items.intention_from, _of(found, keys.INTENT_PREFIX))),
            marks=tuple(map(items.mark_from, _of(found, keys.MARK_PREFIX))),
            images=tuple(sorted(images.get("images", {}).items())),
            images_at=from_text(images["resolved_at"]) if images else None,
            boot_failures=tuple(
                sorted(map(items.boot_from, _of(found, keys.BOOT_PREFIX)), key=lambda failure: failure.ended_at)
            ),
            templates=tuple(item["template"] for item in _of(found, keys.TEMPLATE_PREFIX)),
            tariffs={
                item["instance_id"]: tariff
                for item in _of(found, keys.INSTANCE_PREFIX)
                if (tariff := tariff_from(item)) is not None
            },
        )

    def queue_head(self, pool: Pool, room: int) -> tuple[tuple[QueuedJob, ...], bool]:
        """The first jobs in rank order, until they need more than `room` slots, and at least QUEUE_LOOK of them if
        there are so many; and whether that is the whole queue. A job that names resources or is auxiliary counts as its
        least share of an instance, but no less than SHARE_LEAST of it: the cut errs towards reading too much."""
        slots = _slots_counted(pool)
        taken: list[QueuedJob] = []
        needed = Fraction(0)
        for job in map(items.queued_from, ranked_entries(self._table, pool.name)):
            if needed > room and len(taken) >= QUEUE_LOOK:
                return tuple(taken), False
            taken.append(job)
            needed += slots(job.slots, job.resources)
        return tuple(taken), True

    def deadlines(self, pool: str, now: datetime) -> tuple[QueuedJob, ...]:
        """Waiting jobs whose deadline is still to come, the earliest DEADLINES_MOST of them, wherever in the queue they
        stand; in rank order. One that came within the last second or so may be missing."""
        listed = self._table.query(keys.deadlines_of(pool), since=to_text(now), index=True, limit=DEADLINES_MOST)
        places = [(item["pk"], item["sk"]) for item in listed]
        found = self._table.get_many(places) if places else ()
        return tuple(map(items.queued_from, sorted(found, key=lambda item: item["sk"])))

    def put_images(self, pool: str, images: Mapping[str, str], now: datetime) -> None:
        self._table.put({"pk": keys.pool(pool), "sk": keys.IMAGES, "images": dict(images), "resolved_at": to_text(now)})

    def put_tariff(self, pool: str, instance_id: str, tariff: Tariff) -> bool:
        """Store what an instance costs from now on; False: it is forgotten. Two passes at once write the same."""
        kept = {name: value for name, value in tariff_attributes(tariff).items() if value is not None}
        try:
            self._table.insist(
                lambda: self._table.update(
                    keys.pool(pool),
                    keys.instance(instance_id),
                    "SET " + ", ".join(f"{name} = :{name}" for name in kept),
                    condition="attribute_exists(pk)",
                    values={f":{name}": value for name, value in kept.items()},
                )
            )
        except Conflict:
            return False
        return True

    def conclude(self, pool: str, epoch: int, conclusion: Conclusion) -> bool:
        """Write what a pass concluded; False: a later pass has begun, and nothing was written.

        News that came since the pass began keeps the pool due at once, whatever the conclusion says."""
        try:
            self._write(
                pool, epoch, conclusion, _place(conclusion.due), "epoch = :epoch AND attribute_not_exists(dirty)"
            )
        except Conflict:
            return self._conclude_beside_news(pool, epoch, conclusion)
        return True

    def _conclude_beside_news(self, pool: str, epoch: int, conclusion: Conclusion) -> bool:
        try:
            self._write(pool, epoch, conclusion, {"resting": False}, "epoch = :epoch")
        except Conflict:
            return False
        return True

    def _write(self, pool: str, epoch: int, conclusion: Conclusion, place: Item, condition: str) -> None:
        since = conclusion.unfulfilled_since
        written: Item = {
            "summary": dict(conclusion.summary),
            "reasons": [items.reason_document(reason) for reason in conclusion.reasons],
            "unfulfilled_since": None if since is None else to_text(since),
            "decided": conclusion.decided and mark_document(conclusion.decided),
            "launch_times": [list(pair) for pair in conclusion.launch_times],
            "availability": [items.stretch_document(each) for each in conclusion.availability] or None,
            names.ATTRIBUTE_ALARMED: items.alarmed_document(conclusion.alarmed),
            "past_shortages": [items.past_document(past) for past in conclusion.past_shortages] or None,
            **place,
        }
        kept = {name: value for name, value in written.items() if value is not None}
        dropped = [name for name in written if name not in kept]
        self._update_state(
            pool,
            "SET "
            + ", ".join(f"{name} = :{name}" for name in kept)
            + (f" REMOVE {', '.join(dropped)}" if dropped else ""),
            condition=condition,
            values={**{f":{name}": value for name, value in kept.items()}, ":epoch": epoch},
        )

    def due_at(self, pool: str, at: datetime) -> None:
        """Have the tick look at the pool at `at`: for a pass that could not conclude. News that came since it began
        keeps the pool due at once."""
        try:
            self._update_state(
                pool,
                "SET gpk = :due, gsk = :at, #pool = :pool",
                condition="attribute_not_exists(dirty)",
                names={"#pool": "pool"},
                values={":due": keys.DUE, ":at": to_text(at), ":pool": pool},
            )
        except Conflict:
            return

    def _update_state(self, pool: str, expression: str, **expressions: Any) -> Item:
        return self._table.insist(lambda: self._table.update(keys.pool(pool), keys.STATE, expression, **expressions))


def _of(found: Mapping[str, Sequence[Item]], prefix: str) -> Sequence[Item]:
    return found.get(prefix.removesuffix("#"), ())


def _slots_counted(pool: Pool) -> Callable[[int, Resources | None], Fraction]:
    """What a job counts as, in slots of the pool's largest type; one that fits nowhere as one slot."""
    most_slots = max(1, max((facts.slots for facts in pool.types), default=1))

    @cache
    def counted(slots: int, resources: Resources | None) -> Fraction:
        if resources is None:
            return Fraction(slots or Fraction(most_slots, max(1, pool.max_aux_containers_per_agent)))
        share = least_share(resources, pool)
        return Fraction(1) if share is None else most_slots * max(Fraction(share), SHARE_LEAST)

    return counted


def _place(due: datetime | None) -> Item:
    """The pool's place in the list DUE, and whether it rests."""
    if due is None:
        return {"resting": True, "gpk": None, "gsk": None}
    return {"resting": False, "gpk": keys.DUE, "gsk": to_text(due)}
