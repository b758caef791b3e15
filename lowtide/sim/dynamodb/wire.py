"""Attribute values in wire form: how DynamoDB compares, adds, copies and measures them, and
what its functions say of them."""

from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any

Wire = dict[str, Any]
"""One attribute value as the API writes it: `{"S": "text"}`, `{"N": "1"}`."""
WireItem = dict[str, Wire]

_NUMBERS = Context(prec=38)
"""DynamoDB's numbers have 38 digits."""


class Invalid(Exception):
    """An expression or a value is wrong: DynamoDB answers ValidationException."""


def compare(left: Wire | None, operator: str, right: Wire | None) -> bool:
    """False where either is missing or the types differ, save that `<>` is then true (as DynamoDB has it)."""
    if left is None or right is None or kind_of(left) != kind_of(right):
        return operator == "<>"
    kind = kind_of(left)
    a, b = _comparable(kind, left[kind]), _comparable(kind, right[kind])
    match operator:
        case "=":
            return a == b
        case "<>":
            return a != b
        case _ if kind not in ("S", "N", "B"):
            raise Invalid(
                f"Incorrect operand type for operator or function; operator: {operator}, operand type: {kind}"
            )
        case "<":
            return a < b
        case "<=":
            return a <= b
        case ">":
            return a > b
        case _:
            return a >= b


def _comparable(kind: str, value: Any) -> Any:
    if kind == "N":
        return Decimal(value)
    if kind == "NS":
        return {Decimal(n) for n in value}
    if kind == "M":
        return {name: _comparable_wire(inner) for name, inner in value.items()}
    if kind == "L":
        return [_comparable_wire(inner) for inner in value]
    return set(value) if kind in ("SS", "BS") else value


def _comparable_wire(value: Wire) -> tuple[str, Any]:
    kind = kind_of(value)
    return kind, _comparable(kind, value[kind])


def kind_of(value: Wire) -> str:
    return next(iter(value))


def size(value: Wire | None) -> Wire | None:
    if value is None:
        return None
    kind = kind_of(value)
    held = value[kind]
    if kind in ("N", "BOOL", "NULL"):
        raise Invalid(
            f"Invalid operand type for operator or function; operator or function: size, operand type: {kind}"
        )
    return {"N": str(len(held.encode()) if kind == "S" else len(held))}


def total(left: Wire | None, sign: int, right: Wire | None) -> Wire:
    a, b = (Decimal(typed(present(value), "N")) for value in (left, right))
    return {"N": number_text(_NUMBERS.add(a, b if sign > 0 else -b))}


def number_text(value: Decimal) -> str:
    """As DynamoDB gives numbers back: no exponent, no trailing zeros."""
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def typed(value: Wire | None, kind: str) -> Any:
    if value is None or kind not in value:
        given = "missing" if value is None else kind_of(value)
        raise Invalid(f"An operand in the update expression has an incorrect data type: {given}")
    return value[kind]


def present(value: Wire | None) -> Wire:
    if value is None:
        raise Invalid("The provided expression refers to an attribute that does not exist in the item")
    return value


def copied(value: Any) -> Any:
    """A deep copy; numbers in the form DynamoDB gives them back."""
    if not isinstance(value, dict):
        return [copied(one) for one in value] if isinstance(value, list) else value
    if set(value) == {"N"} and isinstance(value["N"], str):
        return {"N": number_text(Decimal(value["N"]))}
    return {name: copied(inner) for name, inner in value.items()}


def item_bytes(item: WireItem) -> int:
    """About what DynamoDB counts: names and values in UTF-8, a byte for each level."""
    return sum([len(name) + _value_bytes(value) for name, value in item.items()])


def _value_bytes(value: Any) -> int:
    """Of a value in wire form: its kind's name is its level's byte."""
    for kind, held in value.items():
        if isinstance(held, str):
            return len(kind) + (len(held) if held.isascii() else len(held.encode()))
        if isinstance(held, dict):
            return len(kind) + item_bytes(held)
        if isinstance(held, list):
            inner = [len(one) if isinstance(one, str) else _value_bytes(one) for one in held]
            return len(kind) + len(inner) + sum(inner)
        return len(kind) + 1
    return 0


def _exists(value: Wire | None) -> bool:
    return value is not None


def _missing(value: Wire | None) -> bool:
    return value is None


def _begins_with(value: Wire | None, prefix: Wire | None) -> bool:
    return bool(value and prefix and "S" in value and "S" in prefix and value["S"].startswith(prefix["S"]))


def _contains(value: Wire | None, part: Wire | None) -> bool:
    if value is None or part is None:
        return False
    kind = kind_of(value)
    if kind == "S":
        return "S" in part and part["S"] in value["S"]
    if kind in ("SS", "NS"):
        return part.get(kind[0]) in value[kind]
    return kind == "L" and any(compare(held, "=", part) for held in value["L"])


def _has_type(value: Wire | None, kind: Wire | None) -> bool:
    return bool(value and kind and kind_of(value) == kind.get("S"))


FUNCTIONS: dict[str, tuple[Callable[..., bool], int]] = {
    "attribute_exists": (_exists, 1),
    "attribute_not_exists": (_missing, 1),
    "attribute_type": (_has_type, 2),
    "begins_with": (_begins_with, 2),
    "contains": (_contains, 2),
}
"""Functions that a condition may call: each with how many operands it takes."""
