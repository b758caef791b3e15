"""Calls of DynamoDB for tests, with plain values."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambdas.adapters.table import decode, encode

KEY = encode({"pk": "A", "sk": "1"})


def put(client: Any, table: str, **attributes: Any) -> None:
    client.put_item(TableName=table, Item=encode({"pk": "A", "sk": "1", **attributes}))


def stored(client: Any, table: str, pk: str = "A", sk: str = "1") -> dict[str, Any] | None:
    found = client.get_item(TableName=table, Key=encode({"pk": pk, "sk": sk}), ConsistentRead=True).get("Item")
    return None if found is None else decode(found)


def update(client: Any, table: str, expression: str, **more: Any) -> dict[str, Any]:
    answer = client.update_item(
        TableName=table, Key=KEY, UpdateExpression=expression, ReturnValues="ALL_NEW", **expressions(more)
    )
    return decode(answer["Attributes"])


def expressions(more: dict[str, Any]) -> dict[str, Any]:
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
    check = {"TableName": table, "Key": KEY, **expressions({**more, "condition": condition})}
    try:
        client.transact_write_items(TransactItems=[{"ConditionCheck": check}])
    except ClientError as error:
        if error.response["Error"]["Code"] != "TransactionCanceledException":
            raise
        return False
    return True
