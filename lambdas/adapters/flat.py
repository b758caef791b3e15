"""Flat dataclasses in stored form and back, told by their annotations.

Attributes are named as the fields are. Instants are text (instants.py), decimals are text, enums their value, tuples of
texts lists; None is left out.
"""

import types
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from lambdas.adapters.attributes import Item
from lambdas.domain.instants import from_text, to_text
from lambdas.domain.jobs.jobs import Resources

_READERS: dict[Any, Callable[[Any], Any]] = {
    **{datetime: from_text, Decimal: Decimal, Resources: Resources.from_document, tuple[str, ...]: tuple},
}


def stored(value: Any) -> Any:
    """One value as it is written."""
    if isinstance(value, datetime):
        return to_text(value)
    if isinstance(value, Resources):
        return value.to_document()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return list(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - of texts
    return str(value) if isinstance(value, Decimal) else value


def written(record: Any) -> Item:
    """A record's fields, None left out."""
    given = {f.name: getattr(record, f.name) for f in fields(record)}
    return {name: stored(value) for name, value in given.items() if value is not None}


def read(kind: Any, item: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a record of this kind; what is not a field is passed over."""
    return {name: reader(item[name]) for name, reader in _readers(kind).items() if item.get(name) is not None}


@cache
def _readers(kind: Any) -> dict[str, Callable[[Any], Any]]:
    hints = get_type_hints(kind)
    return {f.name: _reader(hints[f.name]) for f in fields(kind)}


def _reader(hint: Any) -> Callable[[Any], Any]:
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (each for each in get_args(hint) if each is not type(None))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    return _READERS.get(hint, _as_it_is)


def _as_it_is(value: Any) -> Any:
    return value
