"""Replaces names of other modules for as long as a world runs, and puts them back when it closes."""

from collections.abc import MutableMapping
from typing import Any

_ABSENT = object()


class Replacements:
    """What was replaced, in order. Not safe for use from several threads."""

    def __init__(self) -> None:
        self._former: list[tuple[Any, str, Any]] = []

    def replace(self, owner: Any, name: str, new: Any) -> Any:
        """Sets attribute `name` of a module, or the item of a mapping, and returns what it was before.

        Raises AttributeError or KeyError if there was nothing to replace.
        """
        former = owner[name] if isinstance(owner, MutableMapping) else getattr(owner, name)
        self._former.append((owner, name, former))
        _set(owner, name, new)
        return former

    def add(self, mapping: MutableMapping[str, Any], key: str, value: Any) -> None:
        """Adds an item to a mapping that has none by this key. Raises KeyError if it has."""
        if key in mapping:
            raise KeyError(f"{key} is there already")
        self._former.append((mapping, key, _ABSENT))
        mapping[key] = value

    def undo(self) -> None:
        """Puts everything back, last replaced first."""
        while self._former:
            _set(*self._former.pop())


def _set(owner: Any, name: str, value: Any) -> None:
    if value is _ABSENT:
        del owner[name]
    elif isinstance(owner, MutableMapping):
        owner[name] = value
    else:
        setattr(owner, name, value)
