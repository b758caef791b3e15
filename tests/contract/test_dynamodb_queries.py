"""What the adapters rely on of DynamoDB's queries, its index and its batch reads."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambdas.adapters.table import decode, encode
from tests.contract.dynamodb_calls import code_of, put, update


def fill(client: Any, table: str, count: int = 6, **more: Any) -> None:
    for n in range(count):
        client.put_item(TableName=table, Item=encode({"pk": "Q", "sk": f"{n // 3}#{n}", "n": n, **more}))


def query(client: Any, table: str, condition: str, values: dict[str, Any], **more: Any) -> list[int]:
    answer = client.query(
        TableName=table, KeyConditionExpression=condition, ExpressionAttributeValues=encode(values), **more
    )
    return [decode(item)["n"] for item in answer["Items"]]


RANGES: list[tuple[str, dict[str, Any], list[int]]] = [
    ("pk = :q", {}, [0, 1, 2, 3, 4, 5]),
    ("pk = :q AND begins_with(sk, :r)", {":r": "1#"}, [3, 4, 5]),
    ("pk = :q AND sk <= :r", {":r": "0#2"}, [0, 1, 2]),
    ("pk = :q AND sk < :r", {":r": "0#2"}, [0, 1]),
    ("pk = :q AND sk > :r", {":r": "1#4"}, [5]),
    ("pk = :q AND sk >= :r", {":r": "1#4"}, [4, 5]),
    ("pk = :q AND sk = :r", {":r": "1#4"}, [4]),
    ("pk = :q AND sk BETWEEN :r AND :s", {":r": "0#1", ":s": "1#3"}, [1, 2, 3]),
]


@pytest.mark.parametrize(("condition", "values", "expected"), RANGES)
def test_a_query_gives_its_range_in_order(
    dynamodb: Any, table: str, condition: str, values: dict[str, Any], expected: list[int]
) -> None:
    fill(dynamodb, table)
    assert query(dynamodb, table, condition, {":q": "Q", **values}) == expected


def test_a_query_can_run_backwards_and_stop(dynamodb: Any, table: str) -> None:
    fill(dynamodb, table)
    found = query(dynamodb, table, "pk = :q", {":q": "Q"}, ScanIndexForward=False, Limit=2)
    assert found == [5, 4]


def test_a_query_goes_on_where_a_page_ended(dynamodb: Any, table: str) -> None:
    fill(dynamodb, table)
    found: list[int] = []
    request: Any = {
        **{"TableName": table, "KeyConditionExpression": "pk = :q", "Limit": 4},
        "ExpressionAttributeValues": encode({":q": "Q"}),
    }
    while True:
        answer = dynamodb.query(**request)
        found += [decode(item)["n"] for item in answer["Items"]]
        if "LastEvaluatedKey" not in answer:
            break
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
    assert found == [0, 1, 2, 3, 4, 5]


def test_a_page_holds_at_most_a_megabyte(dynamodb: Any, table: str) -> None:
    fill(dynamodb, table, 4, body="x" * 300_000)
    answer = dynamodb.query(
        TableName=table, KeyConditionExpression="pk = :q", ExpressionAttributeValues=encode({":q": "Q"})
    )
    assert len(answer["Items"]) < 4
    assert "LastEvaluatedKey" in answer


def test_the_index_lists_only_items_that_carry_its_keys(dynamodb: Any, table: str) -> None:
    for n, key in enumerate([{"gpk": "DUE", "gsk": "2"}, {}, {"gpk": "DUE", "gsk": "1"}, {"gpk": "FLEET", "gsk": "1"}]):
        dynamodb.put_item(TableName=table, Item=encode({"pk": f"P{n}", "sk": "S", "pool": f"p{n}", **key}))
    answer = dynamodb.query(
        TableName=table,
        IndexName="by_kind",
        KeyConditionExpression="gpk = :k",
        ExpressionAttributeValues=encode({":k": "DUE"}),
    )
    assert [decode(item)["pool"] for item in answer["Items"]] == ["p2", "p0"]


def test_the_index_carries_what_it_projects_and_no_more(dynamodb: Any, table: str) -> None:
    put(dynamodb, table, gpk="JOBS#p", gsk="1", pool="p", state="queued", spec="long")
    answer = dynamodb.query(
        TableName=table,
        IndexName="by_kind",
        KeyConditionExpression="gpk = :k",
        ExpressionAttributeValues=encode({":k": "JOBS#p"}),
    )
    expected = {"pk": "A", "sk": "1", "gpk": "JOBS#p", "gsk": "1", "pool": "p", "state": "queued"}
    assert [decode(item) for item in answer["Items"]] == [expected]


def test_an_item_leaves_the_index_with_its_keys(dynamodb: Any, table: str) -> None:
    put(dynamodb, table, gpk="DUE", gsk="1")
    update(dynamodb, table, "REMOVE gpk, gsk")
    answer = dynamodb.query(
        TableName=table,
        IndexName="by_kind",
        KeyConditionExpression="gpk = :k",
        ExpressionAttributeValues=encode({":k": "DUE"}),
    )
    assert answer["Items"] == []


def test_the_index_is_never_read_strongly(dynamodb: Any, table: str) -> None:
    with pytest.raises(ClientError) as error:
        query(dynamodb, table, "gpk = :k", {":k": "DUE"}, IndexName="by_kind", ConsistentRead=True)
    assert code_of(error) == "ValidationException"


def test_a_batch_read_gives_what_exists(dynamodb: Any, table: str) -> None:
    fill(dynamodb, table, 2)
    keys = [encode({"pk": "Q", "sk": sk}) for sk in ("0#0", "0#1", "0#9")]
    answer = dynamodb.batch_get_item(RequestItems={table: {"Keys": keys, "ConsistentRead": True}})
    assert sorted(decode(item)["n"] for item in answer["Responses"][table]) == [0, 1]
