"""DynamoDB as plain values: items in and out as Python dictionaries, and the errors a caller can act on.

    Fault (raised by every adapter)
    ├── Conflict        a condition did not hold: somebody was there first; decide again from what is there now
    └── Unavailable     throttled, timed out or failed on AWS's side: nothing is known, try again later

Numbers come back as int where they are whole, else Decimal. `None` values are not written: an absent attribute is None.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import BotoCoreError, ClientError

from lambdas import names

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Item = dict[str, Any]

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize

_CONFLICTS = {"ConditionalCheckFailedException"}
_CANCELLED = "TransactionCanceledException"
TRANSACTION_LIMIT = 100
"""Operations in one TransactWriteItems call (DynamoDB's limit)."""


class Fault(Exception):
    """An AWS call that did not do what was asked."""


class Conflict(Fault):
    """A condition did not hold. `reasons` has one code per operation of a transaction (`None` where it held), `items`
    the item as it stood, where the operation asked for it."""

    def __init__(self, message: str, reasons: Sequence[str | None] = (), items: Sequence[Item | None] = ()) -> None:
        super().__init__(message)
        self.reasons = tuple(reasons)
        self.items = tuple(items)


class Unavailable(Fault):
    """Throttled, timed out or failed on AWS's side; whether the write happened is not known."""


def encode(item: Mapping[str, Any]) -> dict[str, Any]:
    """DynamoDB's form of an item. None is left out; floats become exact decimals of their shortest text."""
    return {name: _serialize(_plain(value)) for name, value in item.items() if value is not None}


def decode(item: Mapping[str, Any]) -> Item:
    """The Python form of a stored item."""
    return {name: _python(_deserialize(value)) for name, value in item.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def _python(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else value
    if isinstance(value, dict):
        return {k: _python(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_python(v) for v in value]
    return value


class Table:
    """One DynamoDB table. Every method makes exactly one call (a query: one per page) and raises Conflict or Unavailable;
    any other refusal (no permission, no such table) is raised as it came: it is nobody's to retry."""

    def __init__(self, client: "DynamoDBClient", name: str) -> None:
        self.client = client
        self.name = name

    def get(self, pk: str, sk: str) -> Item | None:
        """The item, read strongly; None where there is none."""
        found = self._call("get_item", Key=_key(pk, sk), ConsistentRead=True).get("Item")
        return None if found is None else decode(found)

    def get_many(self, keys: Sequence[tuple[str, str]]) -> list[Item]:
        """Those of at most 100 items that exist, read strongly, in no order; unprocessed keys are asked for again."""
        found: list[Item] = []
        pending: list[dict[str, Any]] = [_key(pk, sk) for pk, sk in dict.fromkeys(keys)]
        while pending:
            answer = self._call(
                "batch_get_item", table=False, RequestItems={self.name: {"Keys": pending, "ConsistentRead": True}}
            )
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
    ) -> None:
        self._call("put_item", Item=encode(item), **_expressions(condition=condition, names=names, values=values))

    def update(
        self,
        pk: str,
        sk: str,
        expression: str,
        *,
        condition: str | None = None,
        names: Mapping[str, str] | None = None,
        values: Item | None = None,
    ) -> Item:
        """The whole item after the update."""
        answer = self._call(
            "update_item",
            Key=_key(pk, sk),
            UpdateExpression=expression,
            ReturnValues="ALL_NEW",
            **_expressions(condition=condition, names=names, values=values),
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
        (`reasons` then says `TransactionConflict`: try again)."""
        self._call("transact_write_items", table=False, TransactItems=list(operations))

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
        page: int | None = None,
    ) -> Iterator[Item]:
        """Items of one key in order of their sort key, page by page; strongly read except from the index.

        `prefix`: sort keys that begin so; `upto`, `since`: sort keys up to or from this one, itself
        included (one of these three at most); `limit`: stop after so many; `page`: at most so many items a call."""
        hash_name, range_name = (names.INDEX_PK, names.INDEX_SK) if index else (names.TABLE_PK, names.TABLE_SK)
        expression, values = "#h = :h", {":h": pk}
        if prefix is not None:
            expression, values = expression + " AND begins_with(#r, :r)", {**values, ":r": prefix}
        elif upto is not None:
            expression, values = expression + " AND #r <= :r", {**values, ":r": upto}
        elif since is not None:
            expression, values = expression + " AND #r >= :r", {**values, ":r": since}
        request: dict[str, Any] = {
            "KeyConditionExpression": expression,
            "ExpressionAttributeNames": {"#h": hash_name, **({"#r": range_name} if len(values) > 1 else {})},
            "ExpressionAttributeValues": encode(values),
            "ScanIndexForward": not newest_first,
            **({"IndexName": names.INDEX} if index else {"ConsistentRead": True}),
        }
        left = limit
        while True:
            size = min((n for n in (left, page) if n is not None), default=None)
            answer = self._call("query", **request, **({} if size is None else {"Limit": size}))
            for item in answer.get("Items", []):
                yield decode(item)
            if left is not None:
                left -= len(answer.get("Items", []))
            start = answer.get("LastEvaluatedKey")
            if not start or left == 0:
                return
            request["ExclusiveStartKey"] = start

    def count(self, pk: str, *, most: int) -> int:
        """How many items a key has, counted up to `most`."""
        return sum(1 for _ in self.query(pk, limit=most))

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

    def _call(self, operation: str, *, table: bool = True, **request: Any) -> dict[str, Any]:
        try:
            return getattr(self.client, operation)(**({"TableName": self.name} if table else {}), **request)
        except ClientError as error:
            raise _fault(error) from error
        except BotoCoreError as error:
            raise Unavailable(str(error)) from error


_RETRYABLE = {
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "Throttling",
    "InternalServerError",
    "InternalFailure",
    "ServiceUnavailable",
    "TransactionInProgressException",
    "RequestTimeout",
    "RequestTimeoutException",
}


def _fault(error: ClientError) -> Exception:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _CONFLICTS:
        stored = error.response.get("Item")
        return Conflict(str(error), (code,), (decode(stored) if stored else None,))  # type: ignore[arg-type]
    if code == _CANCELLED:
        return _cancelled(error)
    if code == "TransactionConflictException":
        return Conflict(str(error), ("TransactionConflict",))
    if code in _RETRYABLE or status >= 500 or status == 429:
        return Unavailable(str(error))
    return error


def _cancelled(error: ClientError) -> Fault:
    details: list[dict[str, Any]] = list(error.response.get("CancellationReasons", []))  # type: ignore[arg-type]
    codes = [None if d.get("Code") in (None, "None") else str(d["Code"]) for d in details]
    stored = [decode(d["Item"]) if d.get("Item") else None for d in details]
    throttled = {"ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded"}
    if any(code in throttled for code in codes):
        return Unavailable(str(error))
    return Conflict(str(error), codes, stored)


def _key(pk: str, sk: str) -> dict[str, Any]:
    return encode({names.TABLE_PK: pk, names.TABLE_SK: sk})


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
