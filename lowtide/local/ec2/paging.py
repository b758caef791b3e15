"""Filters and pages as EC2's Describe calls have them."""

import base64
import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from lowtide.market.fleet import Refused

T = TypeVar("T")
Values = Callable[[T], Sequence[str]]
LEAST_RESULTS = 5
MOST_RESULTS = 1000


def filtered(
    items: Sequence[T],
    filters: Sequence[Mapping[str, Any]],
    known: Mapping[str, Values[T]],
    tags: Callable[[T], Mapping[str, str]] | None = None,
) -> list[T]:
    """Those that match every filter by one of its values (`*` and `?` are wildcards). `tags` adds `tag:KEY` and
    `tag-key`. Raises Refused (InvalidParameterValue) for a filter that is not known, as EC2 does."""
    kept = list(items)
    for entry in filters:
        name, wanted = entry.get("Name", ""), entry.get("Values", [])
        values = _tag_values(name, tags) or known.get(name)
        if values is None:
            raise Refused("InvalidParameterValue", f"The filter '{name}' is invalid")
        kept = [item for item in kept if any(_matches(have, want) for have in values(item) for want in wanted)]
    return kept


def _tag_values(name: str, tags: Callable[[T], Mapping[str, str]] | None) -> Values[T] | None:
    if tags is None:
        return None
    if name == "tag-key":
        return lambda item: list(tags(item))
    if name.startswith("tag:"):
        return lambda item: [v for k, v in tags(item).items() if k == name[4:]]
    return None


def _matches(have: str, want: str) -> bool:
    """EC2 has `*` and `?` but no character classes."""
    return re.fullmatch(fnmatch.translate(want.replace("[", "[[]")), have) is not None


def page(
    items: Sequence[T], request: Mapping[str, Any], key: Callable[[T], str], *, least: int = LEAST_RESULTS
) -> tuple[list[T], str | None]:
    """One page and the token of the next, None for the last. `items` ascend by `key`, which never changes for an item,
    so that nothing is skipped or doubled when others come and go between two pages."""
    most = request.get("MaxResults")
    if most is not None and most < least:
        raise Refused(
            "InvalidParameterValue",
            f"Value ( {most} ) for parameter maxResults is invalid. Expecting a value greater than {least}.",
        )
    after = _decoded(request["NextToken"]) if request.get("NextToken") else ""
    rest = [item for item in items if key(item) > after]
    size = min(most or MOST_RESULTS, MOST_RESULTS)
    return rest[:size], _encoded(key(rest[size - 1])) if len(rest) > size else None


def _encoded(key: str) -> str:
    return base64.urlsafe_b64encode(f"after {key}".encode()).decode()


def _decoded(token: str) -> str:
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode()
    except ValueError:
        text = ""
    if not text.startswith("after "):
        raise Refused("InvalidParameterValue", "Unable to parse pagination token")
    return text[6:]
