"""DynamoDB in memory: the methods of boto3's client that the adapters use, held to the contract tests of the real ones.

Strong reads, transactions that are all or nothing, client request tokens, sparse indexes (late by `index_delay` on the
clock, as they are eventually consistent), pages of 1 MB. Thread safe. TTL is played by `expire()`.
Items given back share their inner values with the store: read them, do not change them.
"""

import json
import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from lambdas import names
from lowtide.sim import expressions
from lowtide.sim.calls import Hook, Request, Response, SimClient, aws_error
from lowtide.sim.clock import VirtualClock
from lowtide.sim.expressions import Scope
from lowtide.sim.updates import updated
from lowtide.sim.wire import Invalid, WireItem, number_text

SCHEMA: dict[str, Any] = {
    "KeySchema": [
        {"AttributeName": names.TABLE_PK, "KeyType": "HASH"},
        {"AttributeName": names.TABLE_SK, "KeyType": "RANGE"},
    ],
    "AttributeDefinitions": [
        {"AttributeName": name, "AttributeType": "S"}
        for name in (names.TABLE_PK, names.TABLE_SK, names.INDEX_PK, names.INDEX_SK)
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": names.INDEX,
            "KeySchema": [
                {"AttributeName": names.INDEX_PK, "KeyType": "HASH"},
                {"AttributeName": names.INDEX_SK, "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(names.INDEX_ATTRIBUTES)},
        }
    ],
    "BillingMode": "PAY_PER_REQUEST",
}
"""CreateTable's parameters for the deployment's table, without its name."""

PAGE_BYTES = 1_048_576
"""What one Query reads at most before it pages."""
ITEM_BYTES = 400 * 1024
TRANSACTION_MEMORY = timedelta(minutes=10)
"""How long a ClientRequestToken is remembered."""


@dataclass
class _Keyed:
    """Items under one hash and one range attribute, in range order."""

    hash_name: str
    range_name: str
    rows: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict[str, list[tuple[str, str, str]]])
    """hash value -> sorted (range value, table hash, table range)."""

    def place(self, item: WireItem) -> tuple[str, str] | None:
        """Where an item stands; None: it lacks a key of this (sparse) index."""
        if self.hash_name not in item or self.range_name not in item:
            return None
        return item[self.hash_name]["S"], item[self.range_name]["S"]


@dataclass
class _Table:
    keys: _Keyed
    indexes: dict[str, tuple[_Keyed, frozenset[str] | None, dict[tuple[str, str], WireItem]]]
    """index -> its order, the attributes it carries (None: all), and its items by table key."""
    items: dict[tuple[str, str], WireItem] = field(default_factory=dict[tuple[str, str], WireItem])
    late: list[tuple[datetime, tuple[str, str], WireItem | None]] = field(
        default_factory=list[tuple[datetime, tuple[str, str], WireItem | None]]
    )
    """Changes that the indexes do not show yet."""
    sizes: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """Bytes of each item, counted when it was written."""


@dataclass(frozen=True)
class _Write:
    """One checked operation: what a key's item becomes."""

    table: _Table
    key: tuple[str, str]
    item: WireItem | None
    size: int = 0


class FakeDynamoDB(SimClient):
    service = "dynamodb"

    def __init__(
        self,
        clock: Callable[[], datetime] | None = None,
        *,
        hook: Hook | None = None,
        index_delay: timedelta = timedelta(0),
        page_bytes: int = PAGE_BYTES,
    ) -> None:
        super().__init__(hook)
        self.clock = clock or VirtualClock()
        self.index_delay = index_delay
        self.page_bytes = page_bytes
        self.tables: dict[str, _Table] = {}
        self.watchers: list[Callable[[tuple[str, str], WireItem | None], object]] = []
        """Told of every write: the item's key, and the item as it is from now on."""
        self._tokens: dict[str, tuple[str, datetime]] = {}
        self._lock = threading.RLock()

    # --- the client's methods ---

    def create_table(self, **request: Any) -> Response:
        known = {"TableName", "KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes", "BillingMode"}
        return self._call("create_table", request, frozenset(known), self._create_table)

    def get_item(self, **request: Any) -> Response:
        return self._call("get_item", request, frozenset({"TableName", "Key", "ConsistentRead"}), self._get_item)

    def batch_get_item(self, **request: Any) -> Response:
        return self._call("batch_get_item", request, frozenset({"RequestItems"}), self._batch_get_item)

    def put_item(self, **request: Any) -> Response:
        return self._call("put_item", request, _EXPRESSION | {"Item"}, lambda r: self._write("PutItem", r))

    def update_item(self, **request: Any) -> Response:
        known = _EXPRESSION | {"Key", "UpdateExpression", "ReturnValues"}
        return self._call("update_item", request, known, lambda r: self._write("UpdateItem", r))

    def delete_item(self, **request: Any) -> Response:
        return self._call("delete_item", request, _EXPRESSION | {"Key"}, lambda r: self._write("DeleteItem", r))

    def transact_write_items(self, **request: Any) -> Response:
        known = frozenset({"TransactItems", "ClientRequestToken"})
        return self._call("transact_write_items", request, known, self._transact)

    def query(self, **request: Any) -> Response:
        known = {"TableName", "IndexName", "KeyConditionExpression", "ExpressionAttributeNames", "Limit", "Select"}
        known |= {"ExpressionAttributeValues", "ScanIndexForward", "ConsistentRead", "ExclusiveStartKey"}
        return self._call("query", request, frozenset(known), self._query)

    # --- what tests ask beside the client ---

    def settled(self, table: str) -> bool:
        """Whether the indexes show all that was written."""
        with self._lock:
            self._catch_up(self.tables[table])
            return not self.tables[table].late

    def everything(self, table: str) -> list[WireItem]:
        """Every item of a table, in key order."""
        with self._lock:
            return [item for _, item in sorted(self.tables[table].items.items())]

    def expire(self, table: str) -> int:
        """Deletes what its TTL attribute has ended, as DynamoDB does within days; how many items went."""
        now = Decimal(self.clock().timestamp())
        with self._lock:
            held = self.tables[table]
            over = [
                key for key, item in held.items.items() if Decimal(item.get(names.TABLE_TTL, {"N": "inf"})["N"]) < now
            ]
            for key in over:
                self._store(_Write(held, key, None))
        return len(over)

    # --- effects ---

    def _create_table(self, request: Request) -> Response:
        with self._lock:
            if request["TableName"] in self.tables:
                raise aws_error("CreateTable", "ResourceInUseException", "Table already exists")
            indexes = {i["IndexName"]: _index(i) for i in request.get("GlobalSecondaryIndexes", [])}
            self.tables[request["TableName"]] = _Table(_keyed(request["KeySchema"]), indexes)
        return {"TableDescription": {"TableName": request["TableName"], "TableStatus": "ACTIVE"}}

    def _get_item(self, request: Request) -> Response:
        with self._lock:
            table = self._table("GetItem", request["TableName"])
            found = table.items.get(_checked("GetItem", _key, table, request["Key"]))
        return {} if found is None else {"Item": dict(found)}

    def _batch_get_item(self, request: Request) -> Response:
        found: dict[str, list[WireItem]] = {}
        with self._lock:
            for name, asked in request["RequestItems"].items():
                table = self._table("BatchGetItem", name)
                keys = [_checked("BatchGetItem", _key, table, key) for key in asked["Keys"]]
                if not keys or len(keys) > 100 or len(set(keys)) < len(keys):
                    message = "Too many items requested, none at all, or duplicates in the BatchGetItem call"
                    raise aws_error("BatchGetItem", "ValidationException", message)
                found[name] = [dict(table.items[key]) for key in keys if key in table.items]
        return {"Responses": found, "UnprocessedKeys": {}}

    def _write(self, operation: str, request: Request) -> Response:
        with self._lock:
            table = self._table(operation, request["TableName"])
            write, old, held = _checked(operation, _prepared, table, request)
            if not held:
                raise aws_error(operation, _FAILED, _FAILED_TEXT, **_old(request, old))
            self._store(write)
            return {"Attributes": dict(write.item)} if request.get("ReturnValues") == "ALL_NEW" and write.item else {}

    def _transact(self, request: Request) -> Response:
        operation = "TransactWriteItems"
        with self._lock:
            if self._repeated(request):
                return {}
            asked = [next(iter(entry.values())) for entry in request["TransactItems"]]
            prepared = [_checked(operation, _prepared, self._table(operation, one["TableName"]), one) for one in asked]
            _check_transaction([write for write, _, _ in prepared])
            if not all(held for _, _, held in prepared):
                reasons = [_reason(one, old, held) for one, (_, old, held) in zip(asked, prepared, strict=True)]
                codes = ", ".join(reason["Code"] for reason in reasons)
                message = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
                raise aws_error(operation, "TransactionCanceledException", message, CancellationReasons=reasons)
            for kind, (write, _, _) in zip(request["TransactItems"], prepared, strict=True):
                if "ConditionCheck" not in kind:
                    self._store(write)
            if token := request.get("ClientRequestToken"):
                self._tokens[token] = (_fingerprint(request), self.clock())
        return {}

    def _repeated(self, request: Request) -> bool:
        """True: this very transaction was made before under its token."""
        known = self._tokens.get(request.get("ClientRequestToken", ""))
        if known is None or known[1] + TRANSACTION_MEMORY < self.clock():
            return False
        if known[0] != _fingerprint(request):
            code = "IdempotentParameterMismatchException"
            raise aws_error("TransactWriteItems", code, "The ClientRequestToken was used for another request")
        return True

    def _query(self, request: Request) -> Response:
        with self._lock:
            table = self._table("Query", request["TableName"])
            order, carried, items = table.keys, None, table.items
            if name := request.get("IndexName"):
                if request.get("ConsistentRead"):
                    message = "Consistent reads are not supported on global secondary indexes"
                    raise aws_error("Query", "ValidationException", message)
                self._catch_up(table)
                order, carried, items = table.indexes[name]
            rows = _checked("Query", _matching, order, request)
            return self._page(request, order, carried, [items[(pk, sk)] for _, pk, sk in rows], table)

    def _page(
        self, request: Request, order: _Keyed, carried: frozenset[str] | None, found: list[WireItem], table: _Table
    ) -> Response:
        """One page: as many items as `Limit` and the page's size allow, and where to go on."""
        most, size = request.get("Limit", len(found) + 1), 0
        page: list[WireItem] = []
        for item in found:
            weight = table.sizes.get(table.keys.place(item) or ("", ""), 0)
            if len(page) == most or (page and size + weight > self.page_bytes):
                break
            size += weight
            page.append(item if carried is None else {k: v for k, v in item.items() if k in carried})
        shown: Response = {"Count": len(page), "ScannedCount": len(page)}
        if request.get("Select") != "COUNT":
            shown["Items"] = [dict(item) for item in page]
        if (page and len(page) == most) or len(page) < len(found):
            last = found[len(page) - 1]
            wanted = {table.keys.hash_name, table.keys.range_name, order.hash_name, order.range_name}
            shown["LastEvaluatedKey"] = {k: v for k, v in last.items() if k in wanted}
        return shown

    # --- the store ---

    def _table(self, operation: str, name: str) -> _Table:
        if name not in self.tables:
            raise aws_error(operation, "ResourceNotFoundException", f"Requested resource not found: Table: {name}")
        return self.tables[name]

    def _store(self, write: _Write) -> None:
        table, old = write.table, write.table.items.get(write.key)
        if write.item is None:
            table.items.pop(write.key, None)
        else:
            table.items[write.key] = write.item
            table.sizes[write.key] = write.size
        _reorder(table.keys, write.key, old, write.item)
        table.late.append((self.clock() + self.index_delay, write.key, write.item))
        for watcher in self.watchers:
            watcher(write.key, write.item)

    def _catch_up(self, table: _Table) -> None:
        """Shows the indexes what they are due to see by now."""
        now = self.clock()
        if not table.late or table.late[0][0] > now:
            return
        due = [change for change in table.late if change[0] <= now]
        table.late = [change for change in table.late if change[0] > now]
        for _, key, item in due:
            for order, _, items in table.indexes.values():
                _reorder(order, key, items.get(key), item)
                if item is not None and order.place(item) is not None:
                    items[key] = item
                else:
                    items.pop(key, None)


_EXPRESSION = frozenset(
    {
        *("TableName", "ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues"),
        "ReturnValuesOnConditionCheckFailure",
    }
)
_FAILED = "ConditionalCheckFailedException"
_FAILED_TEXT = "The conditional request failed"


def _keyed(schema: Iterable[dict[str, str]]) -> _Keyed:
    by_type = {entry["KeyType"]: entry["AttributeName"] for entry in schema}
    return _Keyed(by_type["HASH"], by_type["RANGE"])


def _index(asked: dict[str, Any]) -> tuple[_Keyed, frozenset[str] | None, dict[tuple[str, str], WireItem]]:
    order, projection = _keyed(asked["KeySchema"]), asked["Projection"]
    carried = None
    if projection["ProjectionType"] != "ALL":
        always = {order.hash_name, order.range_name, names.TABLE_PK, names.TABLE_SK}
        carried = frozenset(always | set(projection.get("NonKeyAttributes", [])))
    return order, carried, {}


def _checked(operation: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result; what is wrong with the request becomes AWS's ValidationException."""
    try:
        return function(*arguments)
    except Invalid as wrong:
        raise aws_error(operation, "ValidationException", str(wrong)) from wrong


def _key(table: _Table, given: WireItem) -> tuple[str, str]:
    wanted = (table.keys.hash_name, table.keys.range_name)
    if set(given) != set(wanted):
        raise Invalid("The provided key element does not match the schema")
    return _key_of(table, given)


def _key_of(table: _Table, item: WireItem) -> tuple[str, str]:
    for name in (table.keys.hash_name, table.keys.range_name):
        if name not in item or "S" not in item[name]:
            raise Invalid(f"One or more parameter values were invalid: Missing or mistyped key {name} in the item")
        if not item[name]["S"]:
            raise Invalid(f"The AttributeValue for a key attribute cannot contain an empty string value. Key: {name}")
    return item[table.keys.hash_name]["S"], item[table.keys.range_name]["S"]


def _prepared(table: _Table, asked: Request) -> tuple[_Write, WireItem | None, bool]:
    """What an operation would write, the item as it is, and whether its condition holds."""
    named, values = dict(asked.get("ExpressionAttributeNames", {})), dict(asked.get("ExpressionAttributeValues", {}))
    condition = asked.get("ConditionExpression")
    test = None if condition is None else expressions.condition(condition)
    change = None if (text := asked.get("UpdateExpression")) is None else expressions.update(text)
    used = (test.placeholders if test else frozenset()) | (change.placeholders if change else frozenset())
    expressions.check_placeholders(used, named, values)

    key = _key_of(table, asked["Item"]) if "Item" in asked else _key(table, asked["Key"])
    old = table.items.get(key)
    scope = Scope(old or {}, named, values)
    held = test is None or test.test(scope)
    if "Item" in asked:
        item = _copied(asked["Item"])
        return _Write(table, key, item, _sound(table, item)), old, held
    if change is None or not held:
        return _Write(table, key, None), old, held
    scope.item = dict(old) if old is not None else _copied(asked["Key"])
    item = updated(change, scope)
    return _Write(table, key, item, _sound(table, item, key)), old, held


def _sound(table: _Table, item: WireItem, key: tuple[str, str] | None = None) -> int:
    """The bytes of an item that may be stored. Raises Invalid for any other."""
    if key is not None and _key_of(table, item) != key:
        raise Invalid("One or more parameter values were invalid: Cannot update attribute. It is part of the key")
    size = _bytes(item)
    if size > ITEM_BYTES:
        raise Invalid("Item size has exceeded the maximum allowed size")
    for order, _, _ in table.indexes.values():
        for name in (order.hash_name, order.range_name):
            if name in item and not item[name].get("S"):
                raise Invalid(f"One or more parameter values are not valid: index key {name} is empty or no string")
    return size


def _copied(value: Any) -> Any:
    """A deep copy; numbers in the form DynamoDB gives them back."""
    if not isinstance(value, dict):
        return [_copied(one) for one in value] if isinstance(value, list) else value
    if set(value) == {"N"} and isinstance(value["N"], str):
        return {"N": number_text(Decimal(value["N"]))}
    return {name: _copied(inner) for name, inner in value.items()}


def _check_transaction(writes: list[_Write]) -> None:
    operation = "TransactWriteItems"
    if not 1 <= len(writes) <= 100:
        message = "Member must have length less than or equal to 100 and greater than or equal to 1"
        raise aws_error(operation, "ValidationException", message)
    if len({(id(write.table), write.key) for write in writes}) < len(writes):
        message = "Transaction request cannot include multiple operations on one item"
        raise aws_error(operation, "ValidationException", message)


def _reason(asked: Request, old: WireItem | None, held: bool) -> dict[str, Any]:
    if held:
        return {"Code": "None"}
    return {"Code": "ConditionalCheckFailed", "Message": _FAILED_TEXT, **_old(asked, old)}


def _old(asked: Request, old: WireItem | None) -> dict[str, Any]:
    wanted = asked.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
    return {"Item": dict(old)} if wanted and old is not None else {}


def _fingerprint(request: Request) -> str:
    return json.dumps(request["TransactItems"], sort_keys=True, default=str)


def _reorder(order: _Keyed, key: tuple[str, str], old: WireItem | None, new: WireItem | None) -> None:
    before = None if old is None else order.place(old)
    after = None if new is None else order.place(new)
    if before == after:
        return
    if before is not None:
        rows = order.rows[before[0]]
        del rows[bisect_left(rows, (before[1], *key))]
        if not rows:
            del order.rows[before[0]]
    if after is not None:
        insort(order.rows.setdefault(after[0], []), (after[1], *key))


def _matching(order: _Keyed, request: Request) -> list[tuple[str, str, str]]:
    """The rows of a query in its direction, after its start key."""
    named, values = dict(request.get("ExpressionAttributeNames", {})), dict(request["ExpressionAttributeValues"])
    parsed = expressions.key_condition(request["KeyConditionExpression"])
    expressions.check_placeholders(parsed.placeholders, named, values)
    scope = Scope({}, named, values)
    terms = {str(scope.resolve(term.path)[0]): term for term in parsed.key}
    if order.hash_name not in terms or terms[order.hash_name].operator != "=" or len(terms) > 2:
        raise Invalid("Query condition missed key schema element, or its hash key is not compared with '='")
    if unknown := set(terms) - {order.hash_name, order.range_name}:
        raise Invalid(f"Query key condition not supported: {min(unknown)}")
    rows = order.rows.get(_operands(terms[order.hash_name], scope)[0], [])
    if (term := terms.get(order.range_name)) is not None:
        rows = _within(rows, term.operator, _operands(term, scope))
    rows = list(rows) if request.get("ScanIndexForward", True) else rows[::-1]
    return _after(rows, order, request)


def _operands(term: expressions.KeyTerm, scope: Scope) -> list[str]:
    given = [operand(scope) for operand in term.operands]
    if any(value is None or "S" not in value for value in given):
        raise Invalid("One or more parameter values were invalid: Condition parameter type does not match schema type")
    return [value["S"] for value in given if value is not None]


def _within(rows: list[tuple[str, str, str]], operator: str, values: list[str]) -> list[tuple[str, str, str]]:
    low, high = values[0], values[-1]
    first, past = bisect_left(rows, (low,)), bisect_left(rows, (high + "\0",))
    match operator:
        case "begins_with":
            return [row for row in rows[first:] if row[0].startswith(low)]
        case "between" | "=":
            return rows[first:past]
        case "<=":
            return rows[:past]
        case "<":
            return rows[:first]
        case ">=":
            return rows[first:]
        case ">":
            return rows[past:]
        case _:
            raise Invalid(f"Query key condition not supported: {operator}")


def _after(rows: list[tuple[str, str, str]], order: _Keyed, request: Request) -> list[tuple[str, str, str]]:
    start = request.get("ExclusiveStartKey")
    if start is None:
        return rows
    place = (start[order.range_name]["S"], start[names.TABLE_PK]["S"], start[names.TABLE_SK]["S"])
    forward = request.get("ScanIndexForward", True)
    return [row for row in rows if (row > place if forward else row < place)]


def _bytes(item: WireItem) -> int:
    """About what DynamoDB counts: names and values in UTF-8, a byte for each level."""
    return sum([len(name) + _value_bytes(value) for name, value in item.items()])


def _value_bytes(value: Any) -> int:
    """Of a value in wire form: its kind's name is its level's byte."""
    for kind, held in value.items():
        if isinstance(held, str):
            return len(kind) + (len(held) if held.isascii() else len(held.encode()))
        if isinstance(held, dict):
            return len(kind) + _bytes(held)
        if isinstance(held, list):
            inner = [len(one) if isinstance(one, str) else _value_bytes(one) for one in held]
            return len(kind) + len(inner) + sum(inner)
        return len(kind) + 1
    return 0
