"""DynamoDB's form of values, and back. Numbers come back as int where they are whole, else Decimal."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

Item = dict[str, Any]

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


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
