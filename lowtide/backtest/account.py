"""What a backtest asks of an account: spot prices as its own EC2 tells them, and a stack's own jobs of the last days.

Only reads. `ec2:DescribeSpotPriceHistory`, `ec2:DescribeInstanceTypes` and `pricing:GetProducts` of the caller's own
rights; for jobs, queries of the stack's table.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import median
from typing import Any

from lambdas.adapters import keys
from lambdas.adapters.catalogue import Catalogue
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.table import Table
from lambdas.domain.jobs.job_record import JobRecord
from lambdas.domain.jobs.jobs import JobState
from lambdas.names import PRICING_REGION
from lowtide.backtest.jobs import Job
from lowtide.backtest.market_files import history
from lowtide.backtest.recorded import Track
from lowtide.backtest.types import TypeFile
from lowtide.cli.connection import Deployment

LONGEST = timedelta(days=90)
"""EC2 keeps spot prices for so long."""
LEDGER = timedelta(days=30)
_PAGE = 1000
"""Rows of one answer, at most."""
_PRODUCT = "Linux/UNIX"
_RAN = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


def recorded_prices(ec2: Any, names: Sequence[str], since: datetime, until: datetime) -> list[Track]:
    """Of these types in every zone of the client's Region: the price in force at `since` and every change after it.
    Read page by page. Raises ClientError and BotoCoreError."""
    return history(_points(ec2, names, max(since, until - LONGEST), until), source="EC2's DescribeSpotPriceHistory")


def _points(
    ec2: Any, names: Sequence[str], since: datetime, until: datetime
) -> Iterator[tuple[str, str, datetime, Decimal]]:
    asked: dict[str, Any] = {
        **{"InstanceTypes": sorted(names), "ProductDescriptions": [_PRODUCT]},
        **{"StartTime": since, "EndTime": until, "MaxResults": _PAGE},
    }
    token: str | None = None
    while True:
        answer = ec2.describe_spot_price_history(**asked, **({"NextToken": token} if token else {}))
        for row in answer.get("SpotPriceHistory", ()):
            at = row["Timestamp"].astimezone(UTC)
            yield row["InstanceType"], row["AvailabilityZone"], at, Decimal(row["SpotPrice"])
        if not (token := answer.get("NextToken") or None):
            return


def types_of(deployment: Deployment, names: Sequence[str]) -> TypeFile:
    """Facts and prices as EC2 and the price list say them."""
    pricing = deployment.client("pricing", region_name=PRICING_REGION)
    catalogue = Catalogue(deployment.client("ec2"), pricing, deployment.region)
    listings = catalogue.listings(names)
    return TypeFile(listings=listings, prices={name: catalogue.on_demand_price(name) for name in listings})


# --- the ledger -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FromLedger:
    jobs: list[Job]
    left_out: int
    """Jobs that have not ended, or never ran."""
    interrupted: int
    """Jobs whose work is reckoned from several attempts: what their saves kept is not known, so it may be too much."""


def ledger_jobs(table: Table, pools: Iterable[str], since: datetime) -> FromLedger:
    """Of these pools, the jobs that were sent since then and have ended, each with the time that its attempts ran."""
    ledger = Ledger(table, jobs_kept=LEDGER)
    jobs: list[Job] = []
    left_out = interrupted = 0
    for pool in sorted(pools):
        for record in ledger.jobs(pool):
            if record.submitted_at < since:
                continue
            work = _work(ledger, record)
            if work is None:
                left_out += 1
                continue
            interrupted += record.interruptions > 0
            jobs.append(_job(record, work))
    jobs.sort(key=lambda job: (job.submitted_at, job.job_id))
    return FromLedger(jobs=jobs, left_out=left_out, interrupted=interrupted)


def _work(ledger: Ledger, record: JobRecord) -> timedelta | None:
    """How long its attempts ran together; None: it has not ended, or ran for no time."""
    if record.state not in _RAN or record.started_at is None or record.finished_at is None:
        return None
    if record.attempts <= 1:
        work = record.finished_at - record.started_at
    else:
        ended = [each for each in ledger.attempts(record) if each.ended_at is not None]
        work = sum(((each.ended_at or each.started_at) - each.started_at for each in ended), timedelta(0))
    return work if work > timedelta(0) else None


def _job(record: JobRecord, work: timedelta) -> Job:
    return Job(
        job_id=record.job_id,
        submitted_at=record.submitted_at,
        work=work,
        pool=record.pool,
        slots=record.slots,
        resources=record.resources,
        priority=record.priority,
        on_demand=record.on_demand,
        spot_max_price=record.spot_max_price,
        deadline=getattr(record, "deadline", None),
        estimated_duration=getattr(record, "estimated_duration", None),
    )


def measured_boot(table: Table, pools: Iterable[str]) -> timedelta | None:
    """The median time from launch to the worker's first call, of the last launches that these pools remember; None:
    none does."""
    states = (table.get(keys.pool(pool), keys.STATE) or {} for pool in pools)
    seconds = [float(each[1]) for state in states for each in state.get("launch_times", ())]
    return timedelta(seconds=median(seconds)) if seconds else None
