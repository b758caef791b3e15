"""What the adapters rely on of DynamoDB, claimed once and checked on every implementation."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambdas.adapters.table import decode, encode
from lowtide.sim.dynamodb import SCHEMA, FakeDynamoDB

KEY = encode({"pk": "A", "sk": "1"})


def put(client: Any, table: str, **attributes: Any) -> None:
    client.put_item(TableName=table, Item=encode({"pk": "A", "sk": "1", **attributes}))


def stored(client: Any, table: str, pk: str = "A", sk: str = "1") -> dict[str, Any] | None:
    found = client.get_item(TableName=table, Key=encode({"pk": pk, "sk": sk}), ConsistentRead=True).get("Item")
    return None if found is None else decode(found)


def update(client: Any, table: str, expression: str, **more: Any) -> dict[str, Any]:
    answer = client.update_item(
        TableName=table, Key=KEY, UpdateExpression=expression, ReturnValues="ALL_NEW", **_expressions(more)
    )
    return decode(answer["Attributes"])


def _expressions(more: dict[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in more.items() if key not in ("names", "values", "condition")}
    if "names" in more:
        given["ExpressionAttributeNames"] = more["names"]
    if "values" in more:
        given["ExpressionAttributeValues"] = encode(more["values"])
    if "condition" in more:
        given["ConditionExpression"] = more["condition"]
    return given


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


def holds(client: Any, table: str, condition: str, **more: Any) -> bool:
    """Whether a condition holds for the stored item, asked by a transaction that changes nothing."""
    check = {"TableName": table, "Key": KEY, **_expressions({**more, "condition": condition})}
    try:
        client.transact_write_items(TransactItems=[{"ConditionCheck": check}])
    except ClientError as error:
        if error.response["Error"]["Code"] != "TransactionCanceledException":
            raise
        return False
    return True


def test_an_item_comes_back_as_it_was_put(dynamodb: Any, table: str) -> None:
    item = {"text": "ü", "whole": 7, "part": Decimal("0.25"), "yes": True, "list": [1, "a"], "map": {"in": {"x": 1}}}
    put(dynamodb, table, **item)
    assert stored(dynamodb, table) == {"pk": "A", "sk": "1", **item}


def test_what_is_not_there_is_not_given(dynamodb: Any, table: str) -> None:
    assert stored(dynamodb, table) is None


CONDITIONS = [
    ("attribute_exists(a)", True),
    ("attribute_not_exists(a)", False),
    ("attribute_not_exists(absent)", True),
    ("a = :five", True),
    ("a <> :five", False),
    ("a < :five OR a > :five", False),
    ("a <= :five AND a >= :five", True),
    ("absent = :five", False),
    ("absent < :five", False),
    ("absent <> :five", True),
    ("NOT a = :five", False),
    ("NOT (a = :five AND absent = :five)", True),
    ("absent = :five OR attribute_exists(a) AND a = :five", True),
    ("a BETWEEN :four AND :six", True),
    ("a IN (:four, :six)", False),
    ("a IN (:four, :five)", True),
    ("begins_with(t, :he)", True),
    ("begins_with(t, :lo)", False),
    ("contains(t, :lo)", True),
    ("contains(l, :lo)", True),
    ("contains(l, :he)", False),
    ("size(t) = :five", True),
    ("size(l) < :five", True),
    ("m.#in = :lo", True),
    ("l[0] = :lo", True),
    ("l[7] = :lo", False),
    ("a = t", False),
    ("attribute_type(t, :S)", True),
]
VALUES = {":five": 5, ":four": 4, ":six": 6, ":he": "he", ":lo": "lo", ":S": "S"}


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS)
def test_a_condition_holds_or_not(dynamodb: Any, table: str, condition: str, expected: bool) -> None:
    put(dynamodb, table, a=5, t="helo!", l=["lo"], m={"in": "lo"})
    more: dict[str, Any] = {}
    if used := {k: v for k, v in VALUES.items() if k in condition}:
        more["values"] = used
    if "#in" in condition:
        more["names"] = {"#in": "in"}
    assert holds(dynamodb, table, condition, **more) is expected


UPDATES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("SET a = :one", {":one": 1}, {"a": 1, "n": 5, "l": [1], "m": {"x": 1}}),
    ("SET n = n + :one", {":one": 1}, {"n": 6, "l": [1], "m": {"x": 1}}),
    ("SET n = n - :one, b = n", {":one": 1}, {"n": 4, "b": 5, "l": [1], "m": {"x": 1}}),
    ("SET q = if_not_exists(q, :one) + :one", {":one": 1}, {"q": 2, "n": 5, "l": [1], "m": {"x": 1}}),
    ("SET n = if_not_exists(n, :one)", {":one": 1}, {"n": 5, "l": [1], "m": {"x": 1}}),
    ("SET l = list_append(l, :more)", {":more": [2]}, {"n": 5, "l": [1, 2], "m": {"x": 1}}),
    ("SET l = list_append(if_not_exists(z, :more), l)", {":more": [2]}, {"n": 5, "l": [2, 1], "m": {"x": 1}}),
    ("SET m.y = :one REMOVE n", {":one": 1}, {"l": [1], "m": {"x": 1, "y": 1}}),
    ("ADD n :one, fresh :one", {":one": 1}, {"n": 6, "fresh": 1, "l": [1], "m": {"x": 1}}),
    ("REMOVE n, l[0], m.x", {}, {"l": [], "m": {}}),
    ("ADD s :set REMOVE n", {":set": {"a", "b"}}, {"s": {"a", "b"}, "l": [1], "m": {"x": 1}}),
    ("REMOVE nowhere", {}, {"n": 5, "l": [1], "m": {"x": 1}}),
]


@pytest.mark.parametrize(("expression", "values", "expected"), UPDATES)
def test_an_update_does_what_it_says(
    dynamodb: Any, table: str, expression: str, values: dict[str, Any], expected: dict[str, Any]
) -> None:
    put(dynamodb, table, n=5, l=[1], m={"x": 1})
    more = {"values": values} if values else {}
    assert update(dynamodb, table, expression, **more) == {"pk": "A", "sk": "1", **expected}


def test_an_update_makes_an_item_that_is_not_there(dynamodb: Any, table: str) -> None:
    assert update(dynamodb, table, "ADD n :one", values={":one": 1}) == {"pk": "A", "sk": "1", "n": 1}


def test_a_failed_condition_changes_nothing_and_shows_the_item_as_it_stands(dynamodb: Any, table: str) -> None:
    put(dynamodb, table, n=5)
    with pytest.raises(ClientError) as error:
        update(
            dynamodb,
            table,
            "SET n = :six",
            values={":six": 6},
            condition="n = :six",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert code_of(error) == "ConditionalCheckFailedException"
    assert decode(error.value.response["Item"]) == {"pk": "A", "sk": "1", "n": 5}  # type: ignore[typeddict-item]
    assert stored(dynamodb, table) == {"pk": "A", "sk": "1", "n": 5}


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("SET state = :one", {"values": {":one": 1}}),
    ("SET pool = :one", {"values": {":one": 1}}),
    ("SET a = :one", {"values": {":one": 1, ":two": 2}}),
    ("SET a = :one", {"values": {":one": 1}, "names": {"#unused": "u"}}),
    ("SET a = :missing", {}),
    ("SET #missing = :one", {"values": {":one": 1}}),
    ("SET a = b + :one", {"values": {":one": 1}}),
    ("SET a = b", {}),
    ("SET m.a.b = :one", {"values": {":one": 1}}),
    ("SET pk = :x", {"values": {":x": "B"}}),
    ("SET gpk = :empty", {"values": {":empty": ""}}),
]


@pytest.mark.parametrize(("expression", "more"), WRONG)
def test_a_wrong_update_is_refused(dynamodb: Any, table: str, expression: str, more: dict[str, Any]) -> None:
    put(dynamodb, table, t="text", m={})
    with pytest.raises(ClientError) as error:
        update(dynamodb, table, expression, **more)
    assert code_of(error) == "ValidationException"


@pytest.mark.parametrize("expression", ["SET t = t + :one", "SET a = :one, a = :one", "SET a :one"])
def test_a_wrong_update_that_ministack_lets_pass_is_refused_in_memory_as_on_aws(expression: str) -> None:
    memory = FakeDynamoDB()
    memory.create_table(TableName="t", **SCHEMA)
    put(memory, "t", t="text")
    with pytest.raises(ClientError) as error:
        update(memory, "t", expression, values={":one": 1})
    assert code_of(error) == "ValidationException"


def test_an_item_over_400_kib_is_refused(dynamodb: Any, table: str) -> None:
    with pytest.raises(ClientError) as error:
        put(dynamodb, table, body="x" * 410_000)
    assert code_of(error) == "ValidationException"


def test_an_empty_key_is_refused(dynamodb: Any, table: str) -> None:
    with pytest.raises(ClientError) as error:
        dynamodb.put_item(TableName=table, Item=encode({"pk": "", "sk": "1"}))
    assert code_of(error) == "ValidationException"


# --- transactions ---


def operation(kind: str, table: str, sk: str, **more: Any) -> dict[str, Any]:
    return {kind: {"TableName": table, "Key": encode({"pk": "A", "sk": sk}), **_expressions(more)}}


def put_operation(table: str, sk: str, **more: Any) -> dict[str, Any]:
    return {"Put": {"TableName": table, "Item": encode({"pk": "A", "sk": sk}), **_expressions(more)}}


def test_a_transaction_does_all_of_it(dynamodb: Any, table: str) -> None:
    put(dynamodb, table, n=1)
    dynamodb.put_item(TableName=table, Item=encode({"pk": "A", "sk": "2"}))
    dynamodb.transact_write_items(
        TransactItems=[
            operation("Update", table, "1", UpdateExpression="ADD n :one", values={":one": 1}),
            operation("Delete", table, "2"),
            put_operation(table, "3", condition="attribute_not_exists(pk)"),
            operation("ConditionCheck", table, "4", condition="attribute_not_exists(pk)"),
        ]
    )
    found = (stored(dynamodb, table), stored(dynamodb, table, sk="2"), stored(dynamodb, table, sk="3"))
    assert found == ({"pk": "A", "sk": "1", "n": 2}, None, {"pk": "A", "sk": "3"})


def test_a_transaction_whose_condition_fails_does_nothing_and_names_the_operation(dynamodb: Any, table: str) -> None:
    put(dynamodb, table, n=1)
    with pytest.raises(ClientError) as error:
        dynamodb.transact_write_items(
            TransactItems=[
                put_operation(table, "2"),
                operation(
                    "Update",
                    table,
                    "1",
                    UpdateExpression="ADD n :one",
                    values={":one": 1, ":nine": 9},
                    condition="n = :nine",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                ),
                operation("ConditionCheck", table, "3", condition="attribute_exists(pk)"),
            ]
        )
    reasons: Any = error.value.response["CancellationReasons"]  # type: ignore[typeddict-item]
    assert code_of(error) == "TransactionCanceledException"
    assert [r["Code"] for r in reasons] == ["None", "ConditionalCheckFailed", "ConditionalCheckFailed"]
    assert decode(reasons[1]["Item"]) == {"pk": "A", "sk": "1", "n": 1}
    assert "Item" not in reasons[2]
    assert stored(dynamodb, table, sk="2") is None


def test_a_transaction_repeated_with_its_token_acts_once(dynamodb: Any, table: str) -> None:
    put(dynamodb, table, n=1)
    request: Any = {
        "TransactItems": [operation("Update", table, "1", UpdateExpression="ADD n :one", values={":one": 1})],
        "ClientRequestToken": "token-1",
    }
    dynamodb.transact_write_items(**request)
    dynamodb.transact_write_items(**request)
    assert stored(dynamodb, table) == {"pk": "A", "sk": "1", "n": 2}


def test_a_token_of_another_transaction_is_refused(dynamodb: Any, table: str) -> None:
    dynamodb.transact_write_items(TransactItems=[put_operation(table, "1")], ClientRequestToken="token-2")
    with pytest.raises(ClientError) as error:
        dynamodb.transact_write_items(TransactItems=[put_operation(table, "2")], ClientRequestToken="token-2")
    assert code_of(error) == "IdempotentParameterMismatchException"


def test_a_transaction_with_one_item_twice_is_refused(dynamodb: Any, table: str) -> None:
    with pytest.raises(ClientError) as error:
        dynamodb.transact_write_items(TransactItems=[put_operation(table, "1"), operation("Delete", table, "1")])
    assert code_of(error) == "ValidationException"


def test_a_transaction_of_101_operations_is_refused(dynamodb: Any, table: str) -> None:
    with pytest.raises(ClientError) as error:
        dynamodb.transact_write_items(TransactItems=[put_operation(table, str(n)) for n in range(101)])
    assert code_of(error) == "ValidationException"


def test_racing_transactions_act_as_if_one_after_another(dynamodb: Any, table: str) -> None:
    put(dynamodb, table, n=0)

    def take(number: int) -> bool:
        while True:
            try:
                dynamodb.transact_write_items(
                    TransactItems=[
                        put_operation(table, f"slot-{number % 10}", condition="attribute_not_exists(pk)"),
                        operation("Update", table, "1", UpdateExpression="ADD n :one", values={":one": 1}),
                    ]
                )
            except ClientError as error:
                reasons: Any = error.response["CancellationReasons"]  # type: ignore[typeddict-item]
                if any(reason["Code"] == "TransactionConflict" for reason in reasons):
                    continue
                return False
            return True

    with ThreadPoolExecutor(8) as threads:
        won = sum(threads.map(take, range(40)))
    assert (won, stored(dynamodb, table)) == (10, {"pk": "A", "sk": "1", "n": 10})


# --- queries ---


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


def test_a_deleted_item_is_gone(dynamodb: Any, table: str) -> None:
    put(dynamodb, table)
    dynamodb.delete_item(TableName=table, Key=KEY, ConditionExpression="attribute_exists(pk)")
    assert stored(dynamodb, table) is None
