"""Time to live set by a template, and expressions read once.

Stock ministack drops TimeToLiveSpecification, so nothing would ever expire. And a Query reads its condition anew for
every item that it looks at: a third of what a busy local AWS does.
"""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from lowtide.local.contract import upstream
from lowtide.local.replacements import Replacements

_TABLES = ("AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable")
_EXPRESSIONS = 1_024
"""Expressions that are kept; Lowtide's functions have some dozens."""


def install(replacements: Replacements) -> None:
    handlers = upstream("services.cloudformation.provisioners")._RESOURCE_HANDLERS
    for kind in _TABLES:
        for verb, properties in (("create", 1), ("update", 2)):
            replacements.replace(handlers[kind], verb, _with_ttl(handlers[kind][verb], properties))
    service = upstream("services.dynamodb")
    syntax_error = lru_cache(_EXPRESSIONS)(service._condition_syntax_error)
    replacements.replace(service, "_condition_syntax_error", syntax_error)
    replacements.replace(service, "_tokenize", _read_once(service._tokenize))


def _read_once(stock: Callable[[str], list[Any]]) -> Callable[[str], list[Any]]:
    """`stock` with a memory; each caller has a list of its own."""

    @lru_cache(_EXPRESSIONS)
    def kept(expr: str) -> tuple[Any, ...]:
        return tuple(stock(expr))

    return lambda expr: list(kept(expr))


def _with_ttl(stock: Callable[..., tuple[str, Any]], properties: int) -> Callable[..., tuple[str, Any]]:
    """`stock`, then the table's TTL as the template has it. `properties` is the place of the (new) properties."""

    def provision(*args: Any, **kwargs: Any) -> tuple[str, Any]:
        name, attributes = stock(*args, **kwargs)
        wanted: Mapping[str, Any] | None = args[properties].get("TimeToLiveSpecification")
        if wanted is not None:
            _set(name, wanted)
        return name, attributes

    return provision


def _set(table: str, wanted: Mapping[str, Any]) -> None:
    enabled = str(wanted.get("Enabled")).lower() == "true"
    specification = {"Enabled": enabled, "AttributeName": wanted["AttributeName"]}
    status, _, body = upstream("services.dynamodb")._update_ttl(
        {"TableName": table, "TimeToLiveSpecification": specification}
    )
    if status >= 400:
        raise ValueError(f"time to live of {table}: {json.loads(body).get('message', body)}")
