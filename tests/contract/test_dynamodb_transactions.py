"""What the adapters rely on of DynamoDB's transactions."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambdas.adapters.table import decode, encode
from tests.contract.dynamodb_calls import code_of, expressions, put, stored


def operation(kind: str, table: str, sk: str, **more: Any) -> dict[str, Any]:
    return {kind: {"TableName": table, "Key": encode({"pk": "A", "sk": sk}), **expressions(more)}}


def put_operation(table: str, sk: str, **more: Any) -> dict[str, Any]:
    return {"Put": {"TableName": table, "Item": encode({"pk": "A", "sk": sk}), **expressions(more)}}


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
