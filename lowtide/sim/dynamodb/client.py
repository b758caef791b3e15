"""The client: the methods of boto3's that the adapters use, each in one step under one lock.

Strong reads, transactions that are all or nothing, client request tokens, sparse indexes (late by `index_delay` on the
clock, as they are eventually consistent), pages of 1 MB. Thread safe. TTL is played by `expire()`.
Items given back share their inner values with the store: read them, do not change them.
"""

import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from lambdas import names
from lowtide.sim.calls import Hook, Request, Response, SimClient, aws_error
from lowtide.sim.clock import VirtualClock
from lowtide.sim.dynamodb import queries, tables, writes
from lowtide.sim.dynamodb.queries import PAGE_BYTES
from lowtide.sim.dynamodb.tables import Key, Table
from lowtide.sim.dynamodb.wire import Invalid, WireItem
from lowtide.sim.dynamodb.writes import Write

TRANSACTION_MEMORY = timedelta(minutes=10)
"""How long a ClientRequestToken is remembered."""


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
        self.tables: dict[str, Table] = {}
        self.watchers: list[Callable[[Key, WireItem | None], object]] = []
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
            self.tables[table].catch_up(self.clock())
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
                self._store(held, key, None)
        return len(over)

    # --- effects ---

    def _create_table(self, request: Request) -> Response:
        with self._lock:
            if request["TableName"] in self.tables:
                raise aws_error("CreateTable", "ResourceInUseException", "Table already exists")
            made = tables.made(request["KeySchema"], request.get("GlobalSecondaryIndexes", []))
            self.tables[request["TableName"]] = made
        return {"TableDescription": {"TableName": request["TableName"], "TableStatus": "ACTIVE"}}

    def _get_item(self, request: Request) -> Response:
        with self._lock:
            table = self._table("GetItem", request["TableName"])
            found = table.items.get(_checked("GetItem", table.key, request["Key"]))
        return {} if found is None else {"Item": dict(found)}

    def _batch_get_item(self, request: Request) -> Response:
        found: dict[str, list[WireItem]] = {}
        with self._lock:
            for name, asked in request["RequestItems"].items():
                table = self._table("BatchGetItem", name)
                keys = [_checked("BatchGetItem", table.key, key) for key in asked["Keys"]]
                if not keys or len(keys) > 100 or len(set(keys)) < len(keys):
                    message = "Too many items requested, none at all, or duplicates in the BatchGetItem call"
                    raise aws_error("BatchGetItem", "ValidationException", message)
                found[name] = [dict(table.items[key]) for key in keys if key in table.items]
        return {"Responses": found, "UnprocessedKeys": {}}

    def _write(self, operation: str, request: Request) -> Response:
        with self._lock:
            write = self._prepared(operation, request)
            if not write.held:
                raise aws_error(operation, writes.FAILED, writes.FAILED_TEXT, **writes.old_item(request, write))
            self._store(write.table, write.key, write.item, write.size)
        return {"Attributes": dict(write.item)} if request.get("ReturnValues") == "ALL_NEW" and write.item else {}

    def _transact(self, request: Request) -> Response:
        operation = "TransactWriteItems"
        with self._lock:
            if self._repeated(request):
                return {}
            kinds = [kind for entry in request["TransactItems"] for kind in entry]
            asked = [one for entry in request["TransactItems"] for one in entry.values()]
            prepared = [self._prepared(operation, one) for one in asked]
            _checked(operation, writes.check_transaction, prepared)
            if not all(write.held for write in prepared):
                reasons = [writes.cancellation(one, write) for one, write in zip(asked, prepared, strict=True)]
                codes = ", ".join(reason["Code"] for reason in reasons)
                message = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
                raise aws_error(operation, "TransactionCanceledException", message, CancellationReasons=reasons)
            for kind, write in zip(kinds, prepared, strict=True):
                if kind != "ConditionCheck":
                    self._store(write.table, write.key, write.item, write.size)
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
            table, index = self._table("Query", request["TableName"]), None
            if name := request.get("IndexName"):
                if request.get("ConsistentRead"):
                    message = "Consistent reads are not supported on global secondary indexes"
                    raise aws_error("Query", "ValidationException", message)
                table.catch_up(self.clock())
                index = table.indexes[name]
            return _checked("Query", queries.answered, table, index, request, self.page_bytes)

    # --- the store ---

    def _table(self, operation: str, name: str) -> Table:
        if name not in self.tables:
            raise aws_error(operation, "ResourceNotFoundException", f"Requested resource not found: Table: {name}")
        return self.tables[name]

    def _prepared(self, operation: str, asked: Request) -> Write:
        return _checked(operation, writes.prepared, self._table(operation, asked["TableName"]), asked)

    def _store(self, table: Table, key: Key, item: WireItem | None, size: int = 0) -> None:
        table.store(key, item, size, self.clock() + self.index_delay)
        for watcher in self.watchers:
            watcher(key, item)


_EXPRESSION = frozenset(
    {
        *("TableName", "ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues"),
        "ReturnValuesOnConditionCheckFailure",
    }
)


def _checked(operation: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result; what is wrong with the request becomes AWS's ValidationException."""
    try:
        return function(*arguments)
    except Invalid as wrong:
        raise aws_error(operation, "ValidationException", str(wrong)) from wrong


def _fingerprint(request: Request) -> str:
    return json.dumps(request["TransactItems"], sort_keys=True, default=str)
