"""What stock ministack does not do of a template's Lambda functions and custom resources.

It drops ReservedConcurrentExecutions and DeadLetterConfig: the template deploys, and the function then runs as often at
once as it likes and loses what it fails on. And a custom resource whose function fails is waited for until its
ServiceTimeout, an hour by default, as on AWS; here the failure itself is the answer.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from lowtide.local.contract import upstream
from lowtide.local.replacements import Replacements


def install(replacements: Replacements) -> None:
    functions = upstream("services.lambda_svc")
    handlers = upstream("services.cloudformation.provisioners")._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    for verb, properties in (("create", 1), ("update", 2)):
        replacements.replace(handlers, verb, _complete(handlers[verb], properties))
    replacements.replace(
        functions,
        "_execute_function_with_config_scope",
        _answering_for_failed(functions._execute_function_with_config_scope),
    )


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


def _answering_for_failed(stock: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Reports FAILED to CloudFormation for a custom resource's function that raised, timed out or never started."""

    def execute(func: Mapping[str, Any], event: Any) -> dict[str, Any]:
        result = stock(func, event)
        if result.get("error") and isinstance(event, Mapping) and "ResponseURL" in event and "StackId" in event:
            token = str(event["ResponseURL"]).rpartition("/")[2]
            reason = f"{func['config']['FunctionName']} failed: {json.dumps(result.get('body'))}"
            upstream("services.cloudformation.custom_resource").deliver_response(
                token, {"Status": "FAILED", "Reason": reason}
            )
        return result

    return execute
