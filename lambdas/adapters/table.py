"""DynamoDB as plain values: items in and out as Python dictionaries, faults in and out as faults.py names them.

`None` values are not written: an absent attribute is None.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from lambdas import names
from lambdas.adapters.attributes import Item, decode, encode
from lambdas.adapters.faults import Conflict, Fault, Unavailable, faults

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

__all__ = ["Conflict", "Fault", "Item", "Table", "Unavailable", "decode", "encode"]

T = TypeVar("T")

TRANSACTION_LIMIT = 100
"""Operations in one TransactWriteItems call (DynamoDB's limit)."""

_PAUSES = (0.02, 0.05, 0.1, 0.2)
"""Seconds between attempts at items that other transactions are busy with; those take some 10 to 20 ms each."""


class Table:
    """One DynamoDB table. Every method makes exactly one call (a query: one per page) and raises Conflict or
    Unavailable; any other refusal (no permission, no such table) is raised as it came: it is nobody's to retry."""

    def __init__(self, client: "DynamoDBClient", name: str, pause: Callable[[float], None] = time.sleep) -> None:
        self.client = client
        self.name = name
        self._pause = pause

    def get(self, pk: str, sk: str) -> Item | None:
        """The item, read strongly; None where there is none."""
        found = self._call("get_item", Key=_key(pk, sk), ConsistentRead=True).get("Item")
        return None if found is None else decode(found)

    def get_many(self, keys: Sequence[tuple[str, str]]) -> list[Item]:
        """Those of at most 100 items that exist, read strongly, in no order; unprocessed keys are asked for again."""
        found: list[Item] = []
        pending: list[dict[str, Any]] = [_key(pk, sk) for pk, sk in dict.fromkeys(keys)]
        while pending:
            answer = self._ask("batch_get_item", RequestItems={self.name: {"Keys": pending, "ConsistentRead": True}})
            found.extend(decode(item) for item in answer.get("Responses", {}).get(self.name, []))
            pending = answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
        return found

    def put(
        self,
        item: Item,
        *,
        condition: str | None = None,
        names: Mapping[str, str] | None = None,
        values: Item | None = None,
        returning: bool = False,
    ) -> None:
        """With `returning`, a Conflict carries the item as it stood."""
        expressions = _expressions(condition=condition, names=names, values=values, returning=returning)
        self._call("put_item", Item=encode(item), **expressions)

    def update(
        self,
        pk: str,
        sk: str,
        expression: str,
        *,
        condition: str | None = None,
        names: Mapping[str, str] | None = None,
        values: Item | None = None,
        returning: bool = False,
    ) -> Item:
        """The whole item after the update. With `returning`, a Conflict carries the item as it stood."""
        answer = self._call(
            "update_item",
            Key=_key(pk, sk),
            UpdateExpression=expression,
            ReturnValues="ALL_NEW",
            **_expressions(condition=condition, names=names, values=values, returning=returning),
        )
        return decode(answer["Attributes"])

    def delete(
        self,
        pk: str,
        sk: str,
        *,
        condition: str | None = None,
        names: Mapping[str, str] | None = None,
        values: Item | None = None,
    ) -> None:
        self._call("delete_item", Key=_key(pk, sk), **_expressions(condition=condition, names=names, values=values))

    def transact(self, operations: Sequence[dict[str, Any]]) -> None:
        """All of at most 100 operations (made by `put_op`, `update_op`, `delete_op`, `check_op`) or none.

        Raises Conflict when a condition did not hold or another transaction was under way on one of the items
        (`contended`: `insist` tries again)."""
        self._ask("transact_write_items", TransactItems=list(operations))

    def insist(self, write: Callable[[], T]) -> T:
        """The write's result, tried again while other transactions are busy with its items: five times in 0.4 s, then
        Unavailable. A condition that does not hold is a Conflict at once."""
        for pause in (*_PAUSES, None):
            try:
                return write()
            except Conflict as conflict:
                if not conflict.contended:
                    raise
                if pause is None:
                    raise Unavailable(str(conflict)) from conflict
                self._pause(pause)
        raise AssertionError("the last attempt returns or raises")

    def query(
        self,
        pk: str,
        *,
        prefix: str | None = None,
        limit: int | None = None,
        index: bool = False,
        upto: str | None = None,
        since: str | None = None,
        newest_first: bool = False,
        first: int | None = None,
        page: int | None = None,
    ) -> Iterator[Item]:
        """Items of one key in order of their sort key, page by page; strongly read except from the index.

        `prefix`: sort keys that begin so; `upto`, `since`: sort keys up to or from this one, itself included (one of
        these three at most); `limit`: stop after so many; `page`: at most so many items a call, `first`: in the first
        one, where that is another number."""
        request = _query(pk, prefix=prefix, index=index, upto=upto, since=since, newest_first=newest_first)
        left, most = limit, first or page
        while True:
            size = min((n for n in (left, most) if n is not None), default=None)
            answer = self._call("query", **request, **({} if size is None else {"Limit": size}))
            for item in answer.get("Items", []):
                yield decode(item)
            if left is not None:
                left -= len(answer.get("Items", []))
            start = answer.get("LastEvaluatedKey")
            if not start or left == 0:
                return
            request["ExclusiveStartKey"], most = start, page

    def count(self, pk: str, *, most: int, upto: str | None = None) -> int:
        """How many items a key has (with sort keys up to and including `upto`), counted up to `most`."""
        request: dict[str, Any] = {**_query(pk, upto=upto), "Select": "COUNT"}
        counted = 0
        while counted < most:
            answer = self._call("query", **request, Limit=most - counted)
            counted += answer["Count"]
            if not (start := answer.get("LastEvaluatedKey")):
                break
            request["ExclusiveStartKey"] = start
        return counted

    # --- operations of a transaction ---

    def put_op(self, item: Item, **expressions: Any) -> dict[str, Any]:
        return {"Put": {"TableName": self.name, "Item": encode(item), **_expressions(**expressions)}}

    def update_op(self, pk: str, sk: str, expression: str, **expressions: Any) -> dict[str, Any]:
        return {
            "Update": {
                "TableName": self.name,
                "Key": _key(pk, sk),
                "UpdateExpression": expression,
                **_expressions(**expressions),
            }
        }

    def delete_op(self, pk: str, sk: str, **expressions: Any) -> dict[str, Any]:
        return {"Delete": {"TableName": self.name, "Key": _key(pk, sk), **_expressions(**expressions)}}

    def check_op(self, pk: str, sk: str, condition: str, **expressions: Any) -> dict[str, Any]:
        return {
            "ConditionCheck": {
                "TableName": self.name,
                "Key": _key(pk, sk),
                **_expressions(condition=condition, **expressions),
            }
        }

    def _call(self, operation: str, **request: Any) -> dict[str, Any]:
        return self._ask(operation, TableName=self.name, **request)

    def _ask(self, operation: str, **request: Any) -> dict[str, Any]:
        with faults():
            return getattr(self.client, operation)(**request)


def _key(pk: str, sk: str) -> dict[str, Any]:
    return encode({names.TABLE_PK: pk, names.TABLE_SK: sk})


def _query(
    pk: str,
    *,
    prefix: str | None = None,
    index: bool = False,
    upto: str | None = None,
    since: str | None = None,
    newest_first: bool = False,
) -> dict[str, Any]:
    hash_name, range_name = (names.INDEX_PK, names.INDEX_SK) if index else (names.TABLE_PK, names.TABLE_SK)
    expression, values = "#h = :h", {":h": pk}
    if prefix is not None:
        expression, values = expression + " AND begins_with(#r, :r)", {**values, ":r": prefix}
    elif upto is not None:
        expression, values = expression + " AND #r <= :r", {**values, ":r": upto}
    elif since is not None:
        expression, values = expression + " AND #r >= :r", {**values, ":r": since}
    return {
        "KeyConditionExpression": expression,
        "ExpressionAttributeNames": {"#h": hash_name, **({"#r": range_name} if len(values) > 1 else {})},
        "ExpressionAttributeValues": encode(values),
        "ScanIndexForward": not newest_first,
        **({"IndexName": names.INDEX} if index else {"ConsistentRead": True}),
    }


def _expressions(
    *,
    condition: str | None = None,
    names: Mapping[str, str] | None = None,
    values: Item | None = None,
    returning: bool = False,
) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if condition is not None:
        given["ConditionExpression"] = condition
    if names:
        given["ExpressionAttributeNames"] = dict(names)
    if values:
        given["ExpressionAttributeValues"] = encode(values)
    if returning:
        given["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return given
