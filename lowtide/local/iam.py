"""IAM as far as stock ministack leaves it open: condition keys of resources and requests, and checks that EC2 makes.

ministack enforces identity policies on every call, but resolves no `ec2:ResourceTag`, `cloudwatch:namespace` and
`events:source` (all fail closed, so a right policy is denied) and no `dynamodb:LeadingKeys` (with ForAllValues that
fails open). It takes policy variables (`${aws:PrincipalTag/pool}`) for plain text, and log streams for their group.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast
from urllib.parse import parse_qs

import cbor2

from lowtide.local.contract import upstream
from lowtide.local.interface import Denied
from lowtide.local.replacements import Replacements

Context = Mapping[str, str | list[str]]

_EC2_ID = re.compile(r"^(?:InstanceId|ResourceId|LaunchTemplateId|VolumeId|NetworkInterfaceId)(?:\.1)?$")
_EQUALITY = re.compile(r"^\s*\(?\s*(#?\w+)\s*=\s*(:\w+)")


_VARIABLE = re.compile(r"\$\{([^}]+)\}")
_NO_VALUE = "\0"
"""In no ARN and no key: what holds it matches nothing."""
_NAMED_BY_ARN = ":parameter/arn:"
_PUBLIC_PARAMETERS = "/aws/service/"
"""Public parameters are nobody's: their ARN has no account."""
_CHECKED_AS = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}
"""Operations without a permission of their own: IAM's action is that of the single one. Stock asks for a name that no
policy can grant on AWS."""


def install(replacements: Replacements) -> None:
    """Adds the missing condition keys to those that ministack resolves for a request; names batches as IAM does."""
    actions = upstream("core.iam_actions")
    _name_batches_as_iam_does(replacements, actions)
    _name_parameters_as_ssm_does(replacements, actions)
    stock = actions.request_tag_context

    def context(service: str, iam_action: str, body: bytes, params: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = stock(service, iam_action, body, params)
        if service == "ec2":
            return {**found, **_ec2_tags(params)}
        if iam_action == "cloudwatch:PutMetricData":
            return {**found, **_namespace(body, params)}
        if iam_action == "events:PutEvents":
            return {**found, "events:source": _sources(body)}
        if service == "dynamodb":
            return {**found, **_leading_keys(body)}
        if iam_action == "s3:ListBucket":
            return {**found, "s3:prefix": _first(params.get("prefix"))}
        return found

    replacements.replace(actions, "request_tag_context", context)
    _fill_in_variables(replacements)


def _name_batches_as_iam_does(replacements: Replacements, actions: Any) -> None:
    stock = actions.extract_iam_action

    def extract_iam_action(
        service: str, method: str, path: str, headers: Mapping[str, str], body: bytes, query_params: Mapping[str, Any]
    ) -> str | None:
        action: str | None = stock(service, method, path, headers, body, query_params)
        return action if action is None else _CHECKED_AS.get(action, action)

    replacements.replace(actions, "extract_iam_action", extract_iam_action)


def _name_parameters_as_ssm_does(replacements: Replacements, actions: Any) -> None:
    """GetParameters is checked on what it names (stock: on `*`, which a right policy does not grant). AWS checks every
    name; here one stands for all: the first that is not public, since a public one is the likelier to be granted. A
    parameter that a call names by its ARN is checked on that (stock: on one whose name is an ARN)."""
    stock = actions.extract_resource_arn

    def extract_resource_arn(
        service: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        query_params: Mapping[str, Any],
        region: str,
        account_id: str,
    ) -> str:
        arn: str = stock(service, method, path, headers, body, query_params, region, account_id)
        if service == "logs":
            return _log_streams_arn(headers, body, arn)
        if service == "ssm" and (place := arn.find(_NAMED_BY_ARN)) >= 0:
            return arn[place + len(_NAMED_BY_ARN) - len("arn:") :]
        if service != "ssm" or arn != "*":
            return arn
        return _parameters_arn(body, region, account_id) or arn

    replacements.replace(actions, "extract_resource_arn", extract_resource_arn)


def _log_streams_arn(headers: Mapping[str, str], body: bytes, group_arn: str) -> str:
    """What AWS checks a call about one stream on; CreateLogStream on the stream without a name."""
    operation = headers.get("x-amz-target", "").rsplit(".", 1)[-1]
    if operation not in ("PutLogEvents", "GetLogEvents", "CreateLogStream"):
        return group_arn
    stream = "" if operation == "CreateLogStream" else str(json.loads(body or b"{}").get("logStreamName", ""))
    return f"{group_arn}:log-stream:{stream}"


def _fill_in_variables(replacements: Replacements) -> None:
    """Policy variables in resources and in the values of conditions become what they stand for; a statement with one
    that has no value matches nothing."""
    evaluator = upstream("core.iam_evaluator")
    stock = evaluator.evaluate

    def evaluate(ctx: Any, policies: Sequence[Sequence[Any]], *limits: Any) -> Any:
        keys = {str(key).lower(): str(value) for key, value in ctx.principal_keys.items()}
        return stock(ctx, [[_filled_in(one, keys) for one in policy] for policy in policies], *limits)

    replacements.replace(evaluator, "evaluate", evaluate)


def _filled_in(statement: Any, keys: Mapping[str, str]) -> Any:
    """The statement with its variables' values; the very same where it has none."""
    if "${" not in f"{statement.resources}{statement.conditions}":
        return statement

    def text(given: Any) -> Any:
        if isinstance(given, list):
            return [text(one) for one in cast("list[Any]", given)]
        return _VARIABLE.sub(lambda found: keys.get(found[1].lower(), _NO_VALUE), str(given))

    conditions: Mapping[str, Mapping[str, Any]] = statement.conditions
    return dataclasses.replace(
        statement,
        resources=text(statement.resources),
        conditions={name: {key: text(value) for key, value in asked.items()} for name, asked in conditions.items()},
    )


def _first(given: Any) -> str:
    return str(given[0] if isinstance(given, list) and given else given or "")


def _parameters_arn(body: bytes, region: str, account: str) -> str | None:
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        return None
    names: list[str] = [str(name) for name in request.get("Names") or []]
    if not names:
        return None
    name = min(names, key=lambda given: given.startswith(_PUBLIC_PARAMETERS))
    owner = "" if name.startswith(_PUBLIC_PARAMETERS) else account
    return f"arn:aws:ssm:{region}:{owner}:parameter/{name.lstrip('/')}"


def enforce(
    *, headers: Mapping[str, str], action: str, resource: str, context: Context, account: str, region: str
) -> Denied | None:
    """IAM's answer to one more check on a request that ministack has already authenticated."""
    evaluator, router = upstream("core.iam_evaluator"), upstream("core.router")
    principal = evaluator.resolve_principal(router.extract_access_key_id(headers, {}), account)
    if isinstance(principal, evaluator.AuthError):
        return Denied(action=action, resource=resource, principal="an unknown caller", explicit=False)
    if principal.policies is None:
        return None
    request = evaluator.EvalContext(
        principal_arn=principal.arn,
        principal_type=principal.type,
        principal_account=principal.account,
        action=action,
        resource_arn=resource,
        region=region,
        service_context={"aws:tagkeys": None, **{key.lower(): value for key, value in context.items()}},
        principal_keys=principal.keys,
    )
    decision = evaluator.evaluate(request, principal.policies, *principal.limits).decision
    if decision == "Allow":
        return None
    return Denied(action=action, resource=resource, principal=principal.arn, explicit=decision == "Deny")


def _ec2_tags(params: Mapping[str, Any]) -> dict[str, str]:
    """The tags of the resource that ministack checks a call against: the first that the request names."""
    for name, value in params.items():
        if _EC2_ID.match(name):
            identity = value[0] if isinstance(value, list) else value
            tags: Iterable[Mapping[str, str]] = upstream("services.ec2")._tags.get(identity) or []
            pairs = [(tag["Key"], tag["Value"]) for tag in tags]
            return {f"{key}/{k}": v for k, v in pairs for key in ("ec2:ResourceTag", "aws:ResourceTag")}
    return {}


def _namespace(body: bytes, params: Mapping[str, Any]) -> dict[str, str]:
    """The namespace of PutMetricData, which comes as CBOR from newer SDKs, as JSON or as a form from others."""
    given = params.get("Namespace")
    if given:
        return {"cloudwatch:namespace": given[0] if isinstance(given, list) else given}
    if body[:1] == b"{":
        return {"cloudwatch:namespace": str(json.loads(body).get("Namespace", ""))}
    form = parse_qs(body.decode("latin-1")).get("Namespace")
    if form:
        return {"cloudwatch:namespace": form[0]}
    return {"cloudwatch:namespace": str(_cbor(body).get("Namespace", ""))}


def _sources(body: bytes) -> str:
    """The source of the events of a PutEvents. Of several the call is checked on one that stands for none of them, so
    that only who may tell of any source may mix them: AWS checks each event by itself."""
    try:
        entries = json.loads(body or b"{}").get("Entries") or []
    except ValueError:
        return _NO_VALUE
    found = {str(entry.get("Source", "")) for entry in entries}
    return found.pop() if len(found) == 1 else _NO_VALUE


def _cbor(body: bytes) -> Mapping[str, Any]:
    decoded = cbor2.loads(body)
    return decoded if isinstance(decoded, dict) else {}


def _leading_keys(body: bytes) -> dict[str, list[str]]:
    """The partition keys that a DynamoDB request names, without repeats; no key when it names none."""
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        return {}
    keys = [str(value) for member in _requests(request) for value in _partition_keys(member)]
    return {"dynamodb:LeadingKeys": list(dict.fromkeys(keys))} if keys else {}


def _requests(request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The parts of a request that each speak of one table, with the table's name in `TableName`."""
    items: Sequence[Mapping[str, Any]] = request.get("TransactItems") or []
    parts = [request, *(part for item in items for part in item.values())]
    for table, entries in (request.get("RequestItems") or {}).items():
        gets: Sequence[Any] = entries.get("Keys", []) if isinstance(entries, dict) else []
        parts += [{"TableName": table, "Key": key} for key in gets]
        writes: Sequence[Mapping[str, Any]] = entries if isinstance(entries, list) else []
        parts += [{"TableName": table, **write} for entry in writes for write in entry.values()]
    return parts


def _partition_keys(part: Mapping[str, Any]) -> list[str]:
    table: Mapping[str, Any] | None = upstream("services.dynamodb")._tables.get(part.get("TableName"))
    if table is None:
        return []
    index = next((i for i in table["GlobalSecondaryIndexes"] if i["IndexName"] == part.get("IndexName")), None)
    name = table["pk_name"] if index is None else index["KeySchema"][0]["AttributeName"]
    named = [part[member][name] for member in ("Key", "Item") if name in (part.get(member) or {})]
    return [next(iter(value.values())) for value in [*named, *_queried(part, name)]]


def _queried(part: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The value that a Query's key condition compares the partition key with."""
    for condition in str(part.get("KeyConditionExpression") or "").split(" AND "):
        found = _EQUALITY.match(condition)
        if found and (part.get("ExpressionAttributeNames") or {}).get(found[1], found[1]) == name:
            return [part["ExpressionAttributeValues"][found[2]]]
    return []
