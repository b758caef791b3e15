"""From a deployment's table to the report's document: JSON values only, so that it can be kept, sent and drawn anew.

Money is USD, instants are ISO 8601 in UTC, durations are seconds.

    {"stack": "Lowtide", "region": "us-west-2", "since": …, "until": …,
     "pools": [{"name", "kind", "limit", "types", "min_instances", "max_instances", "state", "now": {counts},
                "sentence", "decisions", "decisions_without_snapshot",
                "timeline": [{"at", "desired", "running_spot", "running_on_demand", "launching", "draining",
                              "unfulfilled", "queued_jobs", "running_jobs", "spot_price_usd", "price_limit_usd",
                              "offering"}],
                "interruptions": [{"at", "instance_id", "offering", "noticed", "jobs"}],
                "shortages": [{"class", "code", "message", "remedy", "capacity_type", "since", "until", "seconds",
                               "most_missing", "count"}]}],
     "cost": {"points": [{"at", "spent_usd", "on_demand_usd"}], "spent_usd", "on_demand_usd", "how"} or None,
     "jobs": [as `jobs show --json` has them, with "waited_seconds" and "ran_seconds"], "pools_with_more_jobs": [name],
     "instances": [{"instance_id", "pool", "lifecycle", "instance_type", "availability_zone", "price_limit_usd",
                    "launched_at", "ready_seconds", "ended_at", "seconds", "end", "cost_usd"}]}
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any

from lambdas.adapters import items, keys
from lambdas.adapters.decisions import Decisions
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.table import Table
from lambdas.domain.fleet import observed
from lambdas.domain.jobs.job_record import JobRecord, Outcome
from lambdas.domain.pools.pools import Pool
from lowtide.cli import why_words
from lowtide.cli.jobs import ENDED, described
from lowtide.cli.output import plain
from lowtide.cli.pool_numbers import Seen, seen
from lowtide.report.history import History, SeenInstance, Shortage, thinned
from lowtide.report.money import Bill, reckoned

JOBS_MOST = 1_000
"""Jobs of one pool in a report: each is a row, and two or three reads."""
_AT_ONCE = 8
"""Jobs read at the same time; boto3 keeps ten connections."""

Document = dict[str, Any]


def collect(
    table: Table,
    ledger: Ledger,
    *,
    stack: str,
    region: str,
    since: datetime,
    until: datetime,
    bill: Bill | None = None,
) -> Document:
    """Everything about [since, until]; `until` is now. `bill` takes the place of what the decisions give, where
    somebody knows it better."""
    told = [_Told(table, each, since, until) for each in seen(table, PoolConfig(table).pools())]
    jobs, cut = _jobs(table, ledger, [each.seen.pool.name for each in told], since, until)
    cost = bill or reckoned([each.history.meter for each in told], since, until)
    document = {
        **{"stack": stack, "region": region, "since": since, "until": until},
        "pools": [each.document(_hit(jobs)) for each in told],
        "cost": cost and cost.document(),
        **{"jobs": jobs, "pools_with_more_jobs": cut},
        "instances": [row for each in told for row in each.instances(cost.by_instance if cost else {})],
    }
    return json.loads(json.dumps(document, default=plain))


class _Told:
    """One pool's part."""

    def __init__(self, table: Table, each: Seen, since: datetime, until: datetime) -> None:
        self.seen, self._since, self._until = each, since, until
        self.history = History(since, each.pool.spot)
        for decision in Decisions(table).over(each.pool.name, since, until):
            self.history.add(decision)
        there = [items.instance_from(i) for i in table.query(keys.pool(each.pool.name), prefix=keys.INSTANCE_PREFIX)]
        self.history.look(there, until, each.pool, _prices(each))

    def document(self, hit: Mapping[str, int]) -> Document:
        pool, history = self.seen.pool, self.history
        return {
            **{"name": pool.name, "kind": pool.capacity_type().value, "limit": _limit(pool)},
            **{"types": [facts.name for facts in pool.types]},
            **{"min_instances": pool.min_instances, "max_instances": pool.max_instances, "state": _state(pool)},
            **{"now": dict(self.seen.counts), "sentence": why_words.sentence(self.seen, self._until)},
            **{"decisions": history.decisions, "decisions_without_snapshot": history.without_snapshot},
            "timeline": thinned(history.points),
            "interruptions": [_interruption(each, hit) for each in self._in_period() if each.taken_at],
            "shortages": [_shortage(each, self._until) for each in history.in_order()],
        }

    def instances(self, spent: Mapping[str, Decimal]) -> list[Document]:
        return [_instance(each, spent, self._until) for each in self._in_period()]

    def _in_period(self) -> list[SeenInstance]:
        """What was there after the period's begin, by launch."""
        found = [i for i in self.history.instances.values() if i.ended_at is None or i.ended_at > self._since]
        return sorted(found, key=lambda each: (each.instance.launched_at, each.instance.instance_id))


def _prices(each: Seen) -> dict[tuple[str, str], Decimal]:
    rows = [row for row in each.market if row["spot_price"] is not None]
    return {(row["instance_type"], row["availability_zone"]): row["spot_price"] for row in rows}


def _limit(pool: Pool) -> str | None:
    """As its owner wrote it; None: nothing limits what a spot instance may cost but EC2's own cap."""
    dollars = None if pool.spot_max_price is None else f"${pool.spot_max_price} an hour"
    share = None if pool.spot_max_percent is None else f"{pool.spot_max_percent}% of on-demand"
    return " and ".join(filter(None, (dollars, share))) or None


def _state(pool: Pool) -> str:
    return "being deleted" if pool.deleted else "paused" if pool.paused else "active"


def _interruption(each: SeenInstance, hit: Mapping[str, int]) -> Document:
    instance = each.instance
    return {
        **{"at": each.taken_at, "instance_id": instance.instance_id, "noticed": each.noticed},
        "offering": f"{instance.instance_type} in {instance.zone}",
        "jobs": hit.get(instance.instance_id, 0),
    }


def _shortage(each: Shortage, until: datetime) -> Document:
    reason = each.reason
    return {
        **{"class": reason.reason_class.value, "code": str(reason.code), "message": reason.message},
        **{"remedy": reason.remedy, "capacity_type": reason.capacity_type, "count": reason.count},
        **{"since": each.since, "until": each.until, "most_missing": each.most_missing},
        "seconds": ((each.until or until) - each.since).total_seconds(),
    }


# --- instances --------------------------------------------------------------------------------------------------------


def _instance(each: SeenInstance, spent: Mapping[str, Decimal], until: datetime) -> Document:
    instance = each.instance
    ready = instance.reported_at and (instance.reported_at - instance.launched_at).total_seconds()
    return {
        **{"instance_id": instance.instance_id, "pool": instance.pool, "lifecycle": instance.capacity_type.value},
        **{"instance_type": instance.instance_type, "availability_zone": instance.zone},
        **{"price_limit_usd": instance.price_limit, "launched_at": instance.launched_at, "ready_seconds": ready},
        **{"ended_at": each.ended_at, "end": _end(each), "cost_usd": spent.get(instance.instance_id)},
        "seconds": ((each.ended_at or until) - instance.launched_at).total_seconds(),
    }


_ELSEWHERE = {
    observed.FROM_WITHIN: "powered off from within",
    observed.BY_REQUEST: "ended by a request to EC2 that was not Lowtide's",
}
"""EC2's state reason of an end that nobody here asked for -> what a report says."""


def _end(each: SeenInstance) -> str:
    """How it ended, or what it does."""
    if each.taken_at:
        return "taken back by EC2, with notice" if each.noticed else "taken back by EC2, without notice"
    if each.ended_at is None:
        return each.instance.state.value
    if each.instance.termination_requested_at is None and (told := _ELSEWHERE.get(each.instance.state_reason or "")):
        return told
    why = each.instance.drain_reason
    return f"ended by Lowtide: {why}" if why else "ended by Lowtide"


# --- jobs -------------------------------------------------------------------------------------------------------------


def _jobs(
    table: Table, ledger: Ledger, pools: Sequence[str], since: datetime, until: datetime
) -> tuple[list[Document], list[str]]:
    """Jobs that waited, ran or ended in the period, by submission; and the pools of which some are left out."""
    found: list[JobRecord] = []
    cut: list[str] = []
    for pool in pools:
        jobs = list(islice(_of_period(table, ledger, pool, since), JOBS_MOST + 1))
        found += jobs[:JOBS_MOST]
        if len(jobs) > JOBS_MOST:
            cut.append(pool)
    ordered = sorted(found, key=lambda job: (job.submitted_at, job.job_id))
    with ThreadPoolExecutor(_AT_ONCE) as readers:
        return list(readers.map(partial(_job, ledger, until), ordered)), cut


def _of_period(table: Table, ledger: Ledger, pool: str, since: datetime) -> Iterator[JobRecord]:
    """What runs and waits, wherever it stands in the list; then what changed in the period, the last changed first."""
    told: set[str] = set()
    leases = [items.lease_from(item) for item in table.query(keys.pool(pool), prefix=keys.LEASE_PREFIX)]
    waiting, _ = ledger.queue_head(pool, JOBS_MOST)
    for job_id in (*(lease.job_id for lease in leases), *(entry.job_id for entry in waiting)):
        if (job := ledger.job(job_id)) and job_id not in told:
            told.add(job_id)
            yield job
    for job in ledger.jobs(pool):
        if job.finished_at is not None and job.finished_at < since:
            return
        if job.job_id not in told:
            yield job


def _job(ledger: Ledger, until: datetime, job: JobRecord) -> Document:
    """`waited_seconds`: until its first attempt, or until now where that has not begun; None: it ended before it began.
    `ran_seconds`: its attempts' time added up."""
    document = described(ledger, job, until)
    begun = job.started_at or (None if job.state in ENDED else until)
    attempts = document["attempts"]
    ran = [((attempt["ended_at"] or until) - attempt["started_at"]).total_seconds() for attempt in attempts]
    return {
        **document,
        "waited_seconds": begun and max(0.0, (begun - job.submitted_at).total_seconds()),
        "ran_seconds": sum(ran) if ran else None,
    }


def _hit(jobs: Sequence[Document]) -> dict[str, int]:
    """Instance id -> how many attempts were interrupted there."""
    hit: dict[str, int] = {}
    for job in jobs:
        for attempt in job["attempts"]:
            if attempt["outcome"] == Outcome.INTERRUPTED:
                hit[attempt["instance_id"]] = hit.get(attempt["instance_id"], 0) + 1
    return hit
