"""Rules that others keep: cdk-nag's packs on every resource, and AWS's own list of what IAM knows."""

import re
from collections.abc import Iterator
from typing import Any

import cdk_nag
import pytest
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from policy_sentry.querying.all import get_all_actions
from policy_sentry.shared.iam_data import get_service_prefix_data

from infra import permissions
from infra.acknowledged import acknowledge_wildcards
from infra.stack import LowtideStack
from tests.infra.template import Template, actions, as_list, stack, synthesized

PACKS = (cdk_nag.AwsSolutionsChecks, cdk_nag.ServerlessChecks)
EVERYTHING = {
    "retention": "delete",
    "worker_roles": "team/workers",
    "job_roles": "arn:aws:iam::111122223333:role/training",
}


def findings(of: LowtideStack) -> list[str]:
    reports = [pack().validate_scope(of) for pack in PACKS]
    return sorted(
        f"{violation.rule_name} at {resource.construct_path}"
        for report in reports
        for violation in report.violations
        for resource in violation.violating_resources
    )


@pytest.mark.parametrize("context", [{}, EVERYTHING], ids=["default", "everything"])
def test_cdk_nag_finds_nothing_that_is_not_acknowledged_with_a_reason(context: dict[str, str]) -> None:
    assert findings(stack(context)) == []


def test_cdk_nag_would_find_a_queue_and_a_right_that_are_too_open() -> None:
    open_stack = stack()
    sqs.Queue(open_stack, "Open")
    role = iam.Role(open_stack, "Idle", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    statement = permissions.reading_objects(
        "Unexplained", s3.Bucket.from_bucket_name(open_stack, "Other", "other"), "*"
    )
    role.add_to_policy(statement)
    acknowledge_wildcards(role, [statement])
    found = findings(open_stack)
    assert "AwsSolutions-SQS4 at Lowtide/Open/Resource" in found
    assert any(re.match(r"AwsSolutions-IAM5\[Resource::.*other/\*\] at Lowtide/Idle", each) for each in found)


def test_no_reason_is_kept_for_a_wildcard_that_nobody_has() -> None:
    template = synthesized(**EVERYTHING)
    wild = {s.get("Sid") for _, s in template.policies() if any("*" in str(r) for r in as_list(s["Resource"]))}
    assert permissions.WILDCARDS.keys() == wild


# --- what IAM knows ---


@pytest.fixture(scope="module")
def everything() -> Template:
    return synthesized(**EVERYTHING)


def _statements(template: Template) -> Iterator[dict[str, Any]]:
    """Of identities, resources and trust."""
    for resource in template.resources.values():
        for name in ("PolicyDocument", "AssumeRolePolicyDocument"):
            yield from resource.get("Properties", {}).get(name, {}).get("Statement", [])


def test_every_action_that_a_policy_names_is_one_that_iam_knows(everything: Template) -> None:
    known = {action.lower() for action in get_all_actions()}
    named = {a for s in _statements(everything) for a in actions(s) if "*" not in a}
    assert len(named) > 30
    assert {action for action in named if action.lower() not in known} == set()


def test_every_condition_key_is_one_that_an_action_of_its_statement_knows(everything: Template) -> None:
    unknown = [
        (statement.get("Sid"), key)
        for statement in _statements(everything)
        for keys in statement.get("Condition", {}).values()
        for key in keys
        if not any(_knows(action, key) for action in actions(statement))
    ]
    assert unknown == []


def test_a_misspelt_condition_key_is_found() -> None:
    assert _knows("ec2:TerminateInstances", "ec2:ResourceTag/lowtide:stack")
    assert not _knows("ec2:TerminateInstances", "ec2:ResourcesTag/lowtide:stack")
    assert not _knows("sqs:SendMessage", "ec2:ResourceTag/lowtide:stack")


GLOBAL = {"aws:securetransport", "aws:sourceaccount", "aws:sourcearn"}
"""Of AWS's global keys, which every action knows, those used here."""
UNLISTED = {"s3:tlsversion"}
"""A key of S3 that AWS's list does not name for any action; S3's own documentation has it for all."""


def _knows(action: str, key: str) -> bool:
    service, _, name = action.partition(":")
    if key.lower() in GLOBAL or key.lower() in UNLISTED:
        return True
    privilege = get_service_prefix_data(service)["privileges"].get(name)
    kinds = privilege["resource_types"].values() if privilege else ()
    return any(_is(pattern, key) for kind in kinds for pattern in kind["condition_keys"])


def _is(pattern: str, key: str) -> bool:
    """AWS writes `ec2:ResourceTag/${TagKey}` for a key that ends in a name of one's own."""
    written = re.escape(re.sub(r"\$\{.*?\}", "\0", pattern)).replace("\0", ".+").replace("\\\0", ".+")
    return re.fullmatch(written, key, re.IGNORECASE) is not None
