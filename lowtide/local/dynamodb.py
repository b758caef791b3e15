"""Time to live set by a template: stock ministack drops TimeToLiveSpecification, so nothing would ever expire."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from lowtide.local.contract import upstream
from lowtide.local.replacements import Replacements

_TABLES = ("AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable")


def install(replacements: Replacements) -> None:
    handlers = upstream("services.cloudformation.provisioners")._RESOURCE_HANDLERS
    for kind in _TABLES:
        for verb, properties in (("create", 1), ("update", 2)):
            replacements.replace(handlers[kind], verb, _with_ttl(handlers[kind][verb], properties))


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
