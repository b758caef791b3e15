"""Lambda properties that stock ministack drops from a template: reserved concurrency and the dead-letter queue.

Without them a template deploys, and the function then runs as often at once as it likes and loses what it fails on.
"""

from collections.abc import Callable, Mapping
from typing import Any

from lowtide.local.contract import upstream
from lowtide.local.replacements import Replacements


def install(replacements: Replacements) -> None:
    handlers = upstream("services.cloudformation.provisioners")._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    for verb, properties in (("create", 1), ("update", 2)):
        replacements.replace(handlers, verb, _complete(handlers[verb], properties))


def _complete(stock: Callable[..., tuple[str, Any]], properties: int) -> Callable[..., tuple[str, Any]]:
    """`stock`, then what it drops. `properties` is the place of the (new) properties among the arguments."""

    def provision(*args: Any, **kwargs: Any) -> tuple[str, Any]:
        name, attributes = stock(*args, **kwargs)
        wanted: Mapping[str, Any] = args[properties]
        function = upstream("services.lambda_svc")._functions[name]
        reserved = wanted.get("ReservedConcurrentExecutions")
        function["concurrency"] = None if reserved is None else int(reserved)
        if wanted.get("DeadLetterConfig"):
            function["config"]["DeadLetterConfig"] = dict(wanted["DeadLetterConfig"])
        else:
            function["config"].pop("DeadLetterConfig", None)
        return name, attributes

    return provision
