"""Why a rule of cdk-nag does not hold somewhere: said where the resource is made, checked by tests/infra/test_rules.py.

An acknowledgement holds for the construct it is made on and for all beneath it, and for one finding only: a wildcard
that no statement's reason is about (permissions.WILDCARDS) is found.
"""

# jsii's classes do not match jsii's own interfaces structurally: the names of parameters differ.
# pyright: reportArgumentType=false

import re
from collections.abc import Iterable
from typing import Any

from aws_cdk import Acknowledgment, Stack, Validations
from aws_cdk import aws_iam as iam
from constructs import IConstruct

from infra import permissions


def acknowledge(resource: IConstruct, reason: str, *rules: str) -> None:
    """`rules`: as cdk-nag reports them, the finding in brackets included."""
    Validations.of(resource).acknowledge(*(Acknowledgment(id=rule, reason=reason) for rule in rules))


def acknowledge_wildcards(holder: IConstruct, statements: Iterable[iam.PolicyStatement]) -> None:
    """For each resource with a wildcard in `statements`, the reason that is kept under the statement's name."""
    for statement in statements:
        reason = permissions.WILDCARDS.get(statement.sid or "")
        found = [_as_reported(Stack.of(holder).resolve(resource)) for resource in statement.resources]
        rules = [f"AwsSolutions-IAM5[Resource::{text}]" for text in found if "*" in text]
        if reason is not None and rules:
            acknowledge(holder, reason, *rules)


def _as_reported(value: Any) -> str:
    """A resolved ARN as cdk-nag writes it: `arn:aws:s3:::<Bucket>/<aws:PrincipalTag/pool>/*`."""
    if isinstance(value, str):
        return re.sub(r"\$\{(.*?)\}", r"<\1>", value)
    if "Ref" in value:
        return f"<{value['Ref']}>"
    if "Fn::GetAtt" in value:
        return f"<{'.'.join(value['Fn::GetAtt'])}>"
    separator, parts = value["Fn::Join"]
    return separator.join(map(_as_reported, parts))
