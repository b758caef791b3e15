"""DynamoDB's form of values, and back. Numbers come back as int where they are whole, else Decimal.

boto3's `TypeSerializer` does the same; it is not used since importing it takes as much time at every cold start as a
whole client does (docs/performance.md). tests/ledger/test_attributes.py holds the two against each other.
"""

from collections.abc import Mapping, Set
from decimal import Clamped, Context, Decimal, Inexact, Overflow, Rounded, Underflow
from typing import Any

Item = dict[str, Any]

_NUMBERS = Context(prec=38, Emin=-128, Emax=126, traps=[Clamped, Overflow, Inexact, Rounded, Underflow])
"""DynamoDB's own bounds of a number: 38 digits. What does not fit raises decimal.DecimalException."""


def encode(item: Mapping[str, Any]) -> dict[str, Any]:
    """DynamoDB's form of an item. None is left out; floats become exact decimals of their shortest text.
    Raises TypeError for what DynamoDB has no form of."""
    return {name: _encoded(value) for name, value in item.items() if value is not None}


def decode(item: Mapping[str, Any]) -> Item:
    """The Python form of a stored item."""
    return {name: _decoded(value) for name, value in item.items()}


def _encoded(value: Any) -> dict[str, Any]:
    match value:
        case str():
            return {"S": value}
        case bool():
            return {"BOOL": value}
        case int() | float() | Decimal():
            return {"N": _number(value)}
        case None:
            return {"NULL": True}
        case Mapping():
            return {"M": {key: _encoded(each) for key, each in value.items()}}
        case list() | tuple():
            return {"L": [_encoded(each) for each in value]}
        case bytes() | bytearray():
            return {"B": value}
        case Set():
            return _encoded_set(value)
        case _:
            raise TypeError(f"DynamoDB has no form of {type(value).__name__}")


def _encoded_set(values: Set[Any]) -> dict[str, Any]:
    if all(isinstance(each, str) for each in values):
        return {"SS": list(values)}
    if all(isinstance(each, int | Decimal) for each in values):
        return {"NS": [_number(each) for each in values]}
    raise TypeError("DynamoDB has sets of strings and of numbers only")


def _number(value: float | Decimal) -> str:
    exact = _NUMBERS.create_decimal(repr(value) if isinstance(value, float) else value)
    if not exact.is_finite():
        raise TypeError(f"DynamoDB has no number {exact}")
    return str(exact)


def _decoded(value: Mapping[str, Any]) -> Any:
    ((form, content),) = value.items()
    match form:
        case "S" | "BOOL":
            return content
        case "N":
            return _python_number(content)
        case "M":
            return {key: _decoded(each) for key, each in content.items()}
        case "L":
            return [_decoded(each) for each in content]
        case "NULL":
            return None
        case "B":
            return bytes(content)
        case "SS":
            return set(content)
        case "NS":
            return {_python_number(each) for each in content}
        case _:
            raise TypeError(f"DynamoDB's form {form} is not known here")


def _python_number(text: str) -> int | Decimal:
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() else number
