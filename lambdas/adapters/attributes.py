"""DynamoDB's form of values, and back. Numbers come back as int where they are whole, else Decimal."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

Item = dict[str, Any]

_serialize: Callable[[Any], Any] = TypeSerializer().serialize
_deserialize: Callable[[Any], Any] = TypeDeserializer().deserialize


def encode(item: Mapping[str, Any]) -> dict[str, Any]:
    """DynamoDB's form of an item. None is left out; floats become exact decimals of their shortest text."""
    return {name: _wire(value) for name, value in item.items() if value is not None}


def decode(item: Mapping[str, Any]) -> Item:
    """The Python form of a stored item."""
    return {name: _python(value) for name, value in item.items()}


def _wire(value: Any) -> dict[str, Any]:
    """As boto3's serializer has it, several times faster for what items are made of: a pass spends most of its CPU time
    here and in `_python`."""
    match value:
        case str():
            return {"S": value}
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case float():
            return _serialize(Decimal(repr(value)))
        case Mapping():
            return {"M": {key: _wire(inner) for key, inner in value.items()}}
        case list() | tuple():
            return {"L": [_wire(inner) for inner in value]}
        case _:
            return _serialize(value)


def _python(value: Mapping[str, Any]) -> Any:
    [(kind, held)] = value.items()
    match kind:
        case "S" | "BOOL":
            return held
        case "N":
            return int(held) if held.isdigit() else _number(_deserialize(value))
        case "M":
            return {key: _python(inner) for key, inner in held.items()}
        case "L":
            return [_python(inner) for inner in held]
        case _:
            return _deserialize(value)


def _number(value: Decimal) -> int | Decimal:
    return int(value) if value == value.to_integral_value() else value
