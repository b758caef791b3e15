"""Dataclasses as JSON documents and back, told by their annotations: every field, whoever adds it.

Instants are text (instants.py), periods seconds, decimals text, enums their value, tuples lists, dataclasses objects
from which fields at their default are left out. A class with `to_document` and `from_document` of its own uses these.
"""

import types
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from lambdas.domain.instants import from_text, to_text

T = TypeVar("T")
Reader = Callable[[Any], Any]

_PLAIN = (str, int, bool, float)


def document_of(value: Any) -> Any:
    """The value in JSON's values. Raises TypeError for a type that it does not know."""
    if value is None or type(value) in _PLAIN:
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return to_text(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, tuple):
        return [document_of(each) for each in value]  # pyright: ignore[reportUnknownVariableType] - whatever it holds
    if hasattr(value, "to_document"):
        return value.to_document()
    if is_dataclass(value):
        return fields_of(value)
    raise TypeError(f"{type(value).__name__} has no document form")


def fields_of(record: Any) -> dict[str, Any]:
    """A dataclass's fields; those at their default left out."""
    given = {each.name: (getattr(record, each.name), each) for each in fields(record)}
    return {name: document_of(value) for name, (value, each) in given.items() if not _is_default(value, each)}


def value_of(kind: type[T], document: Any) -> T:
    """The inverse of `document_of`, for a class. What the document lacks has its default, what no field is is passed
    over: documents of an older or a newer version are read as far as they go."""
    return reader(kind)(document)


def record_of(kind: type[T], document: dict[str, Any]) -> T:
    """The inverse of `fields_of`."""
    return kind(**{name: read(document[name]) for name, read in _fields(kind).items() if name in document})


def _is_default(value: Any, declared: "Field[Any]") -> bool:
    return declared.default is not MISSING and value == declared.default


@cache
def reader(hint: Any) -> Reader:
    """How a value of this annotation is read. Raises TypeError for an annotation that it does not know."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _optional(hint)
    if origin is tuple:
        return _tuple(get_args(hint))
    named: dict[Any, Reader] = {datetime: from_text, timedelta: lambda s: timedelta(seconds=s), Decimal: Decimal}
    if hint in named:
        return named[hint]
    if hint in _PLAIN:
        return lambda value: value
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    if isinstance(hint, type) and hasattr(hint, "from_document"):
        return hint.from_document
    if isinstance(hint, type) and is_dataclass(hint):
        return lambda document: record_of(hint, document)
    raise TypeError(f"{hint} has no document form")


def _optional(hint: Any) -> Reader:
    known = [each for each in get_args(hint) if each is not types.NoneType]
    if len(known) != 1 or len(known) == len(get_args(hint)):
        raise TypeError(f"{hint} has no document form: of a union only `X | None` can be told apart")
    inner = reader(known[0])
    return lambda value: None if value is None else inner(value)


def _tuple(members: tuple[Any, ...]) -> Reader:
    if len(members) == 2 and members[1] is Ellipsis:
        each = reader(members[0])
        return lambda values: tuple(map(each, values))
    readers = [reader(member) for member in members]
    return lambda values: tuple(read(value) for read, value in zip(readers, values, strict=True))


@cache
def _fields(kind: Any) -> dict[str, Reader]:
    hints = get_type_hints(kind)
    return {each.name: reader(hints[each.name]) for each in fields(kind)}
