"""Pools as `status` and `why` show them (contract section 5), from what the last passes left in the table."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from lambdas.adapters import keys
from lambdas.adapters.attributes import Item
from lambdas.adapters.items import mark_from, past_from, reason_from, stretch_from, verdicts_from
from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.table import Table
from lambdas.domain.fleet.fleet import OfferingMark
from lambdas.domain.fleet.lead import LaunchTimes
from lambdas.domain.fleet.snapshot import Stretch
from lambdas.domain.instants import from_text
from lambdas.domain.plan.urgency import Verdict
from lambdas.domain.pools.pools import Pool
from lambdas.domain.reasons import Reason
from lambdas.domain.refusals.shortages import Past

_COUNTED_MOST = 100_000
"""Queued jobs that are counted of each key shard."""
_AT_ONCE = 100
"""Items that one call reads."""

COUNTS = ("desired", "running", "launching", "draining", "idle", "unfulfilled", "queued_jobs", "running_jobs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A pool and what its last pass concluded."""

    pool: Pool
    counts: Mapping[str, int]
    reasons: tuple[Reason, ...]
    unfulfilled_since: datetime | None
    oldest_queued_at: datetime | None
    hourly_cost_usd: Decimal
    on_demand_hourly_cost_usd: Decimal
    next_look: datetime | None
    """When the pool is looked at again if nothing happens; None: at rest, or never looked at."""
    looked_at: bool
    """False: no pass has concluded yet."""
    market: tuple[Mapping[str, Any], ...]
    past_shortages: tuple[Past, ...]
    """The latest last."""
    verdicts: Mapping[str, Verdict]
    """What the last pass thought of jobs with a deadline, by id; the most urgent ones."""
    availability: tuple[Stretch, ...]
    """What it has seen of its spot market, oldest first."""
    launch_times: LaunchTimes


def tried(table: Table, pool: str) -> list[OfferingMark]:
    """What EC2 refused last of each offering, the latest first; forgotten a day after its rest is over."""
    marks = map(mark_from, table.query(keys.pool(pool), prefix=keys.MARK_PREFIX))
    return sorted(marks, key=lambda mark: mark.marked_at, reverse=True)


def seen_pools(table: Table) -> list[Seen]:
    """Every pool by its name."""
    return seen(table, PoolConfig(table).pools())


def seen(table: Table, pools: list[Pool]) -> list[Seen]:
    states = _states(table, [pool.name for pool in pools])
    market = {name: _market(table, name) for name in sorted({facts.name for pool in pools for facts in pool.types})}
    return [_seen(table, pool, states.get(keys.pool(pool.name), {}), market) for pool in pools]


def document(each: Seen, now: datetime) -> dict[str, Any]:
    """The pool's object in `status --json`."""
    pool, oldest = each.pool, each.oldest_queued_at
    return {
        "name": pool.name,
        **each.counts,
        "unfulfilled_since": each.unfulfilled_since,
        "oldest_queued_seconds": None if oldest is None else max(0, int((now - oldest).total_seconds())),
        "hourly_cost_usd": each.hourly_cost_usd,
        "on_demand_hourly_cost_usd": each.on_demand_hourly_cost_usd,
        "reasons": [reason_object(reason) for reason in each.reasons],
        "paused": pool.paused,
        "spot_max_price": _limit(pool),
        "market": [dict(row) for row in each.market],
    }


def _limit(pool: Pool) -> Decimal | str | None:
    """As its owner wrote it: US dollars, or `60%` of the on-demand price."""
    return f"{pool.spot_max_percent}%" if pool.spot_max_percent is not None else pool.spot_max_price


def reason_object(reason: Reason) -> dict[str, Any]:
    """The reason as every `--json` prints it."""
    return {
        **{"class": reason.reason_class.value, "code": str(reason.code), "message": reason.message},
        **{"remedy": reason.remedy, "since": reason.since, "last_seen": reason.last_seen, "count": reason.count},
        **{"capacity_type": reason.capacity_type, "instance_type": reason.instance_type},
        **{"availability_zone": reason.availability_zone, "next_attempt": reason.next_attempt},
    }


def _states(table: Table, names: list[str]) -> dict[str, Item]:
    found: dict[str, Item] = {}
    for start in range(0, len(names), _AT_ONCE):
        wanted = [(keys.pool(name), keys.STATE) for name in names[start : start + _AT_ONCE]]
        found.update({item["pk"]: item for item in table.get_many(wanted)})
    return found


def _seen(table: Table, pool: Pool, state: Item, market: Mapping[str, list[Item]]) -> Seen:
    summary: Mapping[str, Any] = state.get("summary", {})
    counts = {name: int(summary.get(name, 0)) for name in COUNTS}
    if not summary.get("queue_complete", True):
        counts["queued_jobs"] = _queued(table, pool.name)
    return Seen(
        pool=pool,
        counts=counts,
        reasons=tuple(map(reason_from, state.get("reasons", ()))),
        unfulfilled_since=_instant(state.get("unfulfilled_since")),
        oldest_queued_at=_instant(summary.get("oldest_queued_at")),
        hourly_cost_usd=Decimal(summary.get("hourly_cost_usd", 0)),
        on_demand_hourly_cost_usd=Decimal(summary.get("on_demand_hourly_cost_usd", 0)),
        next_look=_instant(state.get("gsk")),
        looked_at=bool(summary),
        past_shortages=tuple(map(past_from, state.get("past_shortages", ()))),
        verdicts=verdicts_from(summary),
        availability=tuple(map(stretch_from, state.get("availability", ()))),
        launch_times=tuple((name, int(seconds)) for name, seconds in state.get("launch_times", ())),
        market=tuple(row for facts in pool.types for row in _rows(pool, facts.name, market[facts.name])),
    )


def _queued(table: Table, pool: str) -> int:
    """Exactly, where the last pass did not read the whole queue."""
    shards = (keys.queue(pool, number) for number in range(keys.QUEUE_SHARDS))
    return sum(table.count(shard, most=_COUNTED_MOST) for shard in shards)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else from_text(text)


def _market(table: Table, instance_type: str) -> list[Item]:
    return list(table.query(keys.MARKET, prefix=keys.market(instance_type, "")))


def _rows(pool: Pool, instance_type: str, found: list[Item]) -> list[dict[str, Any]]:
    """Prices of one type, a row for each zone that the pool may use; one row without a zone where none is known."""
    facts, zones = pool.facts(instance_type), {zone for zone, _ in pool.subnets}
    told = [(item["sk"].split("#")[1], item.get("price")) for item in found] if pool.spot else []
    told = [(zone, price) for zone, price in told if not zones or zone in zones] or [(None, None)]
    return [
        {
            **{"instance_type": instance_type, "availability_zone": zone},
            "spot_price": None if price is None else Decimal(price),
            "on_demand_price": facts and facts.on_demand_price,
        }
        for zone, price in told
    ]


def missing_for(each: Seen, now: datetime) -> timedelta:
    return now - each.unfulfilled_since if each.unfulfilled_since else timedelta()
