"""Calls are counted as they are made, and DynamoDB's units by its own rules."""

from datetime import timedelta

import pytest

from lowtide.bench.counting import Count, counted, pool, world
from lowtide.sim.functions import Function

WHOLE = "x" * 1500


@pytest.fixture
def count() -> Count:
    return Count(world()[0])


@pytest.mark.parametrize(
    ("operation", "request_", "units"),
    [
        ("put_item", {"Item": {"pk": {"S": "POOL#a"}, "sk": {"S": "x"}}}, 1),
        ("put_item", {"Item": {"pk": {"S": "POOL#a"}, "sk": {"S": WHOLE}}}, 2),
        ("put_item", {"Item": {"pk": {"S": "POOL#a"}, "sk": {"S": "x"}, "gpk": {"S": "DUE"}}}, 2),
        ("update_item", {"Key": {"pk": {"S": "POOL#a"}}, "UpdateExpression": "SET a = :a"}, 1),
        (
            "transact_write_items",
            {
                "TransactItems": [
                    {"ConditionCheck": {"Key": {"pk": {"S": "POOL#a"}}}},
                    {"Update": {"Key": {"pk": {"S": "POOL#a"}}, "UpdateExpression": "SET a = :a"}},
                ]
            },
            4,
        ),
    ],
)
def test_a_write_costs_a_unit_for_each_kilobyte_one_more_for_the_index_and_twice_in_a_transaction(
    count: Count, operation: str, request_: dict[str, object], units: int
) -> None:
    count.called(Function.TICK, f"dynamodb.{operation}", request_)
    assert count.now.write_units == units
    assert count.now.partition_writes["POOL#a"] == units


@pytest.mark.parametrize(("consistent", "units"), [(True, 2), (False, 1)])
def test_a_read_costs_a_unit_for_each_four_kilobytes_and_half_where_it_may_be_late(
    count: Count, consistent: bool, units: float
) -> None:
    request = {"ExpressionAttributeValues": {":pk": {"S": "POOL#a"}}, "ConsistentRead": consistent}
    count.after("dynamodb.query", request, {"Items": [{"a": {"S": "x" * 5000}}]})
    assert count.now.read_units == units


def test_an_idle_minute_calls_the_same_for_one_pool_and_for_twenty() -> None:
    found: list[object] = []
    for pools in (1, 20):
        made, counter = world()
        for number in range(pools):
            made.apply(pool(f"pool-{number}", most=1))
        assert made.settle()
        with counted(counter) as calls:
            made.run_for(timedelta(minutes=3))
        found.append(calls.calls)
    assert found[0] == found[1]
