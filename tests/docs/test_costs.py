"""The sums of docs/costs.md are right, and what is called so often is what the control plane really calls."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from lowtide.sim.calls import Request
from lowtide.sim.functions import Function
from tests.crash.scenarios import world as deployed

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "costs.md").read_text(encoding="utf-8")
MINUTES_A_MONTH = 43_800


def rows(heading: str) -> Iterator[tuple[str, Decimal, Decimal, Decimal]]:
    """(what, number, price of one, product) of the table that follows this heading."""
    (_, _, after) = TEXT.partition(f"| {heading} |")
    for line in after.split("\n\n")[0].splitlines()[2:]:
        what, *numbers = (cell.strip() for cell in line.strip("|").split("|"))
        yield what, *map(Decimal, numbers)  # type: ignore[misc]


AT_REST = list(rows("what | units a month | USD a unit | USD a month"))
A_JOB = list(rows("a job, of a hundred on ten instances | number | USD a million | USD a job"))


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


@pytest.mark.parametrize("row", AT_REST, ids=[row[0] for row in AT_REST])
def test_a_month_at_rest_is_multiplied_right(row: tuple[str, Decimal, Decimal, Decimal]) -> None:
    _, units, price, cost = row
    assert round(units * price, 2) == cost


def test_a_month_at_rest_is_added_up_right() -> None:
    total = sum(row[3] for row in AT_REST)
    for document in ("costs.md", "quickstart.md"):
        text = (Path(__file__).resolve().parents[2] / "docs" / document).read_text(encoding="utf-8")
        assert f"${total}" in text, document


@pytest.mark.parametrize("row", A_JOB, ids=[row[0] for row in A_JOB])
def test_a_job_is_multiplied_right(row: tuple[str, Decimal, Decimal, Decimal]) -> None:
    _, units, price, cost = row
    assert abs(units * price / 1_000_000 - cost) < Decimal("0.0000001")


def test_a_thousand_jobs_cost_less_than_is_said() -> None:
    assert sum(row[3] for row in A_JOB) * 1000 < Decimal("0.04")
    assert "Under four cents for a thousand jobs" in TEXT


def test_an_idle_minute_calls_what_is_said(idle_hour: Count) -> None:
    millions = {row[0]: row[1] for row in AT_REST}
    writes = idle_hour.calls["dynamodb.update_item"] + idle_hour.calls["dynamodb.put_item"]
    for what, an_hour in (
        ("Lambda requests: a tick and a beat a minute (million)", sum(idle_hour.invocations.values())),
        ("DynamoDB writes: four a minute (million)", writes),
        ("DynamoDB reads: five a minute (million)", idle_hour.calls["dynamodb.query"]),
    ):
        assert round(Decimal(an_hour) / 60) * Decimal(MINUTES_A_MONTH) / 1_000_000 == millions[what], what
    assert {name for name in idle_hour.calls if not re.match(r"dynamodb\.(query|put_item|update_item)", name)} == {
        "ec2.describe_instances"
    }, "which is free"
