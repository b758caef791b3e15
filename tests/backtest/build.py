"""Builders of backtests: small markets, jobs and pools; a test spells out only what it is about."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from lambdas.domain.pools.pools import Pool, TypeFacts
from lowtide.backtest.jobs import Job
from lowtide.backtest.play import Assumptions, Play, Played
from lowtide.backtest.recorded import RecordedMarket, Steps
from lowtide.backtest.rules import RULES
from lowtide.market.model import Offering

BEGIN = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
ZONES = ("us-east-1a", "us-east-1b")
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
BOOT = 2 * MINUTE


def at(minutes: float) -> datetime:
    return BEGIN + timedelta(minutes=minutes)


def kind(name: str = "c7i.large", slots: int = 1, price: str = "0.10") -> TypeFacts:
    return TypeFacts(
        name=name,
        vcpus=2 * slots,
        memory_mib=4096 * slots,
        gpus=0,
        architecture="x86_64",
        on_demand_price=Decimal(price),
        slots=slots,
    )


def pool(**changes: Any) -> Pool:
    values: dict[str, Any] = {"name": "cpu", "spot": True, "types": (kind(),), "max_instances": 4}
    return Pool(**{**values, **changes})


def job(number: int = 1, minute: float = 0, *, minutes: float = 30, **changes: Any) -> Job:
    return Job(job_id=f"job-{number}", submitted_at=at(minute), work=timedelta(minutes=minutes), **changes)


def steps(*points: tuple[float, Any]) -> Steps[Any]:
    """(minute from BEGIN, value) …"""
    return Steps.of([(at(minute), value) for minute, value in points])


def market(
    prices: Mapping[str, Sequence[tuple[float, str]]] | None = None,
    held: Mapping[str, Sequence[tuple[float, int]]] | None = None,
    name: str = "c7i.large",
) -> RecordedMarket:
    """By zone; without prices $0.04 everywhere, without capacity plenty."""
    given = prices if prices is not None else {zone: [(0, "0.04")] for zone in ZONES}
    return RecordedMarket(
        prices={Offering(name, zone): steps(*((m, Decimal(p)) for m, p in each)) for zone, each in given.items()},
        held={Offering(name, zone): steps(*each) for zone, each in (held or {}).items()},
    )


def play(
    jobs: Sequence[Job],
    *,
    conditions: RecordedMarket | None = None,
    rule: str | None = None,
    of: Pool | None = None,
    until: datetime | None = None,
    **assumed: Any,
) -> Played:
    """One pool's, to its end."""
    chosen = of or pool()
    (played,) = Play(
        [chosen],
        {chosen.name: jobs},
        conditions or market(),
        zones=ZONES,
        on_demand={facts.name: facts.on_demand_price or Decimal(1) for facts in chosen.types},
        begin=BEGIN,
        until=until or max(each.submitted_at for each in jobs),
        assumptions=replace(Assumptions(boot=BOOT), **assumed),
        rule=RULES[rule] if rule else None,
    ).run()
    return played
