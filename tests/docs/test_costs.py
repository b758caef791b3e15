"""The sums of docs/costs.md are right, and what is called so often is what the control plane really calls."""

import re
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from lowtide.bench import money, prices
from lowtide.sim.calls import Request
from lowtide.sim.functions import Function
from tests.crash.deployed import world as deployed

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "costs.md").read_text(encoding="utf-8")
CENT = Decimal("0.01")


class Count:
    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.invocations: Counter[Function] = Counter()

    def called(self, function: Function, operation: str, request: Request) -> None:
        self.calls[operation] += 1

    def ended(self, function: Function, *, crashed: bool) -> None:
        self.invocations[function] += 1


@pytest.fixture(scope="module")
def idle_hour() -> Count:
    world, count = deployed(), Count()
    assert world.settle()
    world.observers.append(count)
    world.run_for(timedelta(hours=1))
    return count


@pytest.mark.parametrize("table", [prices.table(), money.at_rest_table(), money.a_job_table()])
def test_the_document_has_the_tables_that_the_benchmark_reckons_with(table: str) -> None:
    assert table in TEXT
    assert f"as read on {prices.READ_ON}" in TEXT


def test_a_month_at_rest_is_added_up_right() -> None:
    total = sum(line.cost().quantize(CENT) for line in money.AT_REST)
    free = sum(money.with_free_tier(money.AT_REST))
    for document in ("costs.md", "quickstart.md"):
        text = (DOCS / document).read_text(encoding="utf-8")
        assert f"${total}" in text, document
        assert f"about ${free.quantize(Decimal('0.1'))}0" in text.replace("**", ""), document


def test_a_month_at_rest_costs_no_more_than_it_may() -> None:
    assert sum(money.with_free_tier(money.AT_REST)) <= 1
    assert sum(line.cost() for line in money.AT_REST) <= 10


def test_what_is_free_is_free_once_for_all_queues() -> None:
    polls = [money.Line(what="polls", units=Decimal("0.7"), price=price) for price in ("sqs", "fifo")]
    assert money.with_free_tier(polls) == [0, Decimal("0.4") * Decimal("0.50")]


def test_a_million_jobs_cost_what_is_said() -> None:
    total = sum(line.cost() for line in money.A_JOB)
    assert f"${total.quantize(Decimal('0.1'))}0 for a million jobs" in TEXT
    assert total / 1000 < Decimal("0.06")
    assert "under six cents for a thousand" in TEXT


def test_an_idle_minute_calls_what_is_said(idle_hour: Count) -> None:
    millions = {line.what: line.units for line in money.AT_REST}
    writes = idle_hour.calls["dynamodb.update_item"] + idle_hour.calls["dynamodb.put_item"]
    for what, an_hour in (
        ("Lambda requests: a tick and a beat a minute (million)", sum(idle_hour.invocations.values())),
        ("DynamoDB writes: four a minute (million)", writes),
        ("DynamoDB reads: five a minute (million)", idle_hour.calls["dynamodb.query"]),
    ):
        assert round(Decimal(an_hour) / 60) * Decimal(prices.MINUTES_A_MONTH) / 1_000_000 == millions[what], what
    assert {name for name in idle_hour.calls if not re.match(r"dynamodb\.(query|put_item|update_item)", name)} == {
        "ec2.describe_instances"
    }, "which is free"
