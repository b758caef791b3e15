"""Function URLs that resolve on this machine and tell the function who calls.

Stock ministack answers `https://ID.lambda-url.REGION.on.aws/`, which resolves to nothing here, leaves out
`requestContext.authorizer.iam`, and asks only for lambda:InvokeFunctionUrl; AWS asks the caller of a URL with IAM
authentication for lambda:InvokeFunction too.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from lowtide.local.contract import upstream
from lowtide.local.replacements import Replacements

_AWS_URL = re.compile(r"^https://([a-z0-9-]+)\.lambda-url\.")
_LOCAL_PATH = "/_aws/lambda-url/"


def install(replacements: Replacements, *, endpoint: str) -> None:
    functions, app = upstream("services.lambda_svc"), upstream("app")
    create, event = functions._create_function_url_config, functions._build_function_url_event

    def created(func_name: str, data: Mapping[str, Any], qualifier: str | None) -> Any:
        status, headers, body = create(func_name, data, qualifier)
        if status >= 400:
            return status, headers, body
        config = functions._function_urls[functions._url_config_key(func_name, qualifier)]
        config["FunctionUrl"] = f"{endpoint}{_LOCAL_PATH}{_url_id(config['FunctionUrl'])}/"
        return upstream("core.responses").json_response(config, status=status)

    def built(*args: Any, **kwargs: Any) -> dict[str, Any]:
        made: dict[str, Any] = event(*args, **kwargs)
        if not kwargs.get("anonymous"):
            made["requestContext"]["authorizer"] = {"iam": _caller(args[5])}
        return made

    replacements.replace(functions, "_create_function_url_config", created)
    replacements.replace(functions, "_build_function_url_event", built)
    replacements.replace(functions, "_function_url_id", _url_id)
    replacements.replace(app, "_enforce_data_plane", _both_actions(app._enforce_data_plane))


def _url_id(url: str) -> str:
    """The id in a function URL, in AWS's form or in the local one."""
    found = _AWS_URL.match(url)
    return found[1] if found else url.partition(_LOCAL_PATH)[2].strip("/")


def _caller(headers: Mapping[str, str]) -> dict[str, Any]:
    """What AWS tells a function of its caller. For a role's session `callerId` and `userId` are `AROA…:SESSION`."""
    key = upstream("core.router").extract_access_key_id(headers, {})
    identity = upstream("core.iam_evaluator").resolve_caller_identity(key)
    return {
        "accessKey": identity["accessKey"],
        "accountId": identity["accountId"],
        "callerId": identity["userId"],
        "cognitoIdentity": None,
        "principalOrgId": identity["principalOrgId"],
        "userArn": identity["userArn"],
        "userId": identity["userId"],
    }


def _both_actions(stock: Callable[..., Any]) -> Callable[..., Any]:
    def enforce(service: str, iam_action: str, *args: Any, **kwargs: Any) -> Any:
        refused = stock(service, iam_action, *args, **kwargs)
        if refused is not None or iam_action != "lambda:InvokeFunctionUrl":
            return refused
        context = kwargs.get("service_context") or {}
        if context.get("lambda:FunctionUrlAuthType") != "AWS_IAM":
            return None
        second = {**kwargs, "service_context": {**context, "lambda:InvokedViaFunctionUrl": "true"}}
        return stock(service, "lambda:InvokeFunction", *args, **second)

    return enforce
