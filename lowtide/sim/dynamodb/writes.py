"""Writes before they are made: what each would leave under its key, and whether its condition holds."""

from dataclasses import dataclass
from typing import Any

from lowtide.sim.calls import Request
from lowtide.sim.dynamodb import expressions
from lowtide.sim.dynamodb.expressions import Scope
from lowtide.sim.dynamodb.tables import Key, Table
from lowtide.sim.dynamodb.updates import updated
from lowtide.sim.dynamodb.wire import Invalid, WireItem, copied, item_bytes

ITEM_BYTES = 400 * 1024
FAILED = "ConditionalCheckFailedException"
FAILED_TEXT = "The conditional request failed"


@dataclass(frozen=True)
class Write:
    """One checked operation, of a request by itself or of a transaction."""

    table: Table
    key: Key
    item: WireItem | None
    """What the key's item becomes; None: gone."""
    size: int
    """Bytes of it."""
    old: WireItem | None
    """The key's item as it is."""
    held: bool
    """Its condition: nothing may be written otherwise."""


def prepared(table: Table, asked: Request) -> Write:
    """What an operation would write. Raises Invalid where DynamoDB would look no further."""
    named, values = dict(asked.get("ExpressionAttributeNames", {})), dict(asked.get("ExpressionAttributeValues", {}))
    condition = asked.get("ConditionExpression")
    test = None if condition is None else expressions.condition(condition)
    change = None if (text := asked.get("UpdateExpression")) is None else expressions.update(text)
    used = (test.placeholders if test else frozenset()) | (change.placeholders if change else frozenset())
    expressions.check_placeholders(used, named, values)

    key = table.key_of(asked["Item"]) if "Item" in asked else table.key(asked["Key"])
    old = table.items.get(key)
    scope = Scope(old or {}, named, values)
    held = test is None or test.test(scope)
    if "Item" in asked:
        item = copied(asked["Item"])
        return Write(table, key, item, _sound(table, item), old, held)
    if change is None or not held:
        return Write(table, key, None, 0, old, held)
    scope.item = dict(old) if old is not None else copied(asked["Key"])
    item = updated(change, scope)
    return Write(table, key, item, _sound(table, item, key), old, held)


def _sound(table: Table, item: WireItem, key: Key | None = None) -> int:
    """The bytes of an item that may be stored. Raises Invalid for any other."""
    if key is not None and table.key_of(item) != key:
        raise Invalid("One or more parameter values were invalid: Cannot update attribute. It is part of the key")
    size = item_bytes(item)
    if size > ITEM_BYTES:
        raise Invalid("Item size has exceeded the maximum allowed size")
    for index in table.indexes.values():
        for name in (index.order.hash_name, index.order.range_name):
            if name in item and not item[name].get("S"):
                raise Invalid(f"One or more parameter values are not valid: index key {name} is empty or no string")
    return size


def check_transaction(writes: list[Write]) -> None:
    """Raises Invalid for one that no conditions could save."""
    if not 1 <= len(writes) <= 100:
        raise Invalid("Member must have length less than or equal to 100 and greater than or equal to 1")
    if len({(id(write.table), write.key) for write in writes}) < len(writes):
        raise Invalid("Transaction request cannot include multiple operations on one item")


def cancellation(asked: Request, write: Write) -> dict[str, Any]:
    """One operation's entry of CancellationReasons."""
    if write.held:
        return {"Code": "None"}
    return {"Code": "ConditionalCheckFailed", "Message": FAILED_TEXT, **old_item(asked, write)}


def old_item(asked: Request, write: Write) -> dict[str, Any]:
    """What a refusal shows of the item as it is."""
    wanted = asked.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
    return {"Item": dict(write.old)} if wanted and write.old is not None else {}
