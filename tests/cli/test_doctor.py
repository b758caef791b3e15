"""`lowtide doctor` as a person and a program meet it: the words, the JSON, the exit code."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from lambdas.domain.pools.machine import Machine
from lowtide.sim.calls import aws_error
from tests.cli.deployment import Deployed, FakeCloudFormation
from tests.cli.test_status import REASON, check
from tests.passes.world import SUBNETS, pool

FINDING = {
    **{"check": str, "status": str, "pool": (str, None), "what": str, "why": str, "remedy": str},
    "reasons": [REASON],
}
DOCUMENT = {"stack": str, "region": str, "as_of": str, "works": bool, "findings": [FINDING]}
DENIED = (
    "UnauthorizedOperation",
    "You are not authorized to perform this operation. User: f is not authorized to perform: ec2:RunInstances on "
    "resource: arn:aws:ec2:us-west-2:1:instance/* because no identity-based policy allows the ec2:RunInstances action",
)


class Account:
    """What an account in order answers a doctor; the deployment's own clients answer the rest."""

    def __init__(self, deployed: Deployed, clients: dict[str, Any]) -> None:
        self._deployed, self._clients = deployed, clients
        self.answer: dict[str, Any] | None = None
        """What the function answers instead of a dry run."""
        self.asked: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clients["ec2"], name)

    def get_caller_identity(self) -> dict[str, str]:
        return {"Account": "123456789012", "Arn": "arn:aws:iam::123456789012:user/me"}

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        return FakeCloudFormation(self._deployed.stacks).describe_stacks(StackName)

    def get_paginator(self, operation: str) -> Any:
        return self if operation != "describe_instance_types" else self._clients["ec2"].get_paginator(operation)

    def paginate(self, **request: Any) -> list[dict[str, Any]]:
        names = ("ControlReconcileA1", "WorkerApiFunctionB2")
        rows = [
            {"LogicalResourceId": n, "PhysicalResourceId": n, "ResourceType": "AWS::Lambda::Function"} for n in names
        ]
        offered = [{"InstanceType": "c7i.large", "Location": zone} for zone, _ in SUBNETS]
        return [{"StackResourceSummaries": rows, "InstanceTypeOfferings": offered}]

    def get_function_configuration(self, FunctionName: str) -> dict[str, Any]:
        told = {"LOWTIDE_SUBNETS": json.dumps(dict(SUBNETS)), "LOWTIDE_WORKER_ROLES": '["worker"]'}
        return {"Environment": {"Variables": told}}

    def invoke(self, FunctionName: str, Payload: str) -> dict[str, Any]:
        assert FunctionName == "ControlReconcileA1"
        self.asked.append(json.loads(Payload)["dry_run"])
        answer = self._deployed.dry_run(self.asked[-1]) if self.answer is None else self.answer
        failed = {"FunctionError": "Unhandled"} if "errorType" in answer else {}
        return {"Payload": io.BytesIO(json.dumps(answer).encode()), **failed}

    def get_parameter(self, Name: str) -> dict[str, Any]:
        return {"Parameter": {"Value": "21"}}

    def get_parameters(self, Names: list[str]) -> dict[str, Any]:
        return {"Parameters": [{"Name": name, "Value": "ami-x86"} for name in Names]}

    def get_role(self, RoleName: str) -> dict[str, Any]:
        return {}

    def get_ebs_default_kms_key_id(self) -> dict[str, str]:
        return {"KmsKeyId": "alias/aws/ebs"}

    def get_service_quota(self, ServiceCode: str, QuotaCode: str) -> dict[str, Any]:
        raise aws_error("GetServiceQuota", "NoSuchResourceException", "no value of its own")

    def get_aws_default_service_quota(self, ServiceCode: str, QuotaCode: str) -> dict[str, Any]:
        return {"Quota": {"Value": 64.0}}

    def describe_subnets(self, SubnetIds: list[str]) -> dict[str, Any]:
        zone = next(zone for zone, subnet in SUBNETS if subnet == SubnetIds[0])
        return {"Subnets": [{"AvailabilityZone": zone, "AvailableIpAddressCount": 250, "Tags": []}]}

    def describe_images(self, ImageIds: list[str]) -> dict[str, Any]:
        return {"Images": [{"Architecture": "x86_64", "State": "available"}]}


@pytest.fixture
def account(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> Account:
    import boto3

    session = boto3.Session()
    made = Account(deployed, dict(session.clients))
    own = ("ec2", "sts", "cloudformation", "lambda", "ssm", "iam", "kms", "service-quotas")
    clients = {**session.clients, **dict.fromkeys(own, made)}
    monkeypatch.setattr(session, "clients", clients)
    monkeypatch.setattr(boto3, "Session", lambda: session)
    return made


def test_all_in_order_is_exit_0_and_a_line_for_each_check(deployed: Deployed, account: Account) -> None:
    deployed.apply(pool())
    told = deployed.say("doctor")
    assert (told.code, told.err) == (0, "")
    assert "dry-run: spot: EC2 would have carried out the launch" in told.out
    assert "failure" not in told.out


def test_the_json_has_these_names_and_its_reasons_are_those_of_status(deployed: Deployed, account: Account) -> None:
    deployed.apply(pool())
    deployed.ec2.forbidden["RunInstances"] = DENIED
    told = deployed.say("doctor", "--json")
    document = json.loads(told.out)
    check(document, DOCUMENT)
    assert (told.code, document["works"]) == (1, False)
    [wrong] = [each for each in document["findings"] if each["status"] == "failure"]
    assert (wrong["check"], wrong["pool"], wrong["reasons"][0]["class"]) == ("dry-run", "cpu", "permission")
    assert "ec2:RunInstances" in wrong["remedy"]


def test_a_failure_is_said_with_what_why_and_remedy(deployed: Deployed, account: Account) -> None:
    deployed.apply(pool())
    deployed.ec2.forbidden["CreateFleet"] = ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "no role")
    told = deployed.say("doctor")
    assert told.code == 1
    assert "do: " in told.out
    assert "create-service-linked-role" in told.out


def test_stored_pools_are_asked_about_by_name_and_those_of_a_file_whole_but_for_their_scripts(
    deployed: Deployed, account: Account, tmp_path: Path
) -> None:
    deployed.apply(pool(machine=Machine(startup_script="echo secret")))
    assert deployed.say("doctor").code == 0
    file = tmp_path / "pools.yaml"
    provider = "{type: aws, instance_type: c7i.large, startup_script: echo secret}"
    file.write_text(f"resource_pools:\n  - pool_name: new\n    provider: {provider}\n")
    assert deployed.say("doctor", "--pools", str(file)).code == 0
    assert account.asked[0] == "cpu"
    assert account.asked[1]["name"] == "new"
    assert "secret" not in json.dumps(account.asked)


def test_a_wrong_file_is_refused_before_anything_is_asked(deployed: Deployed, account: Account, tmp_path: Path) -> None:
    file = tmp_path / "pools.yaml"
    file.write_text("resource_pools: [{pool_name: UPPER}]")
    told = deployed.say("doctor", "--pools", str(file))
    assert (told.code, account.asked) == (1, [])
    assert "pools validate" in told.err


def test_a_function_that_knows_no_dry_run_is_a_warning_that_says_to_deploy(
    deployed: Deployed, account: Account
) -> None:
    deployed.apply(pool())
    account.answer = {"errorType": "KeyError", "errorMessage": "'Records'"}
    told = deployed.say("doctor", "--json")
    [finding] = [each for each in json.loads(told.out)["findings"] if each["check"] == "dry-run"]
    assert (told.code, finding["status"], finding["remedy"]) == (0, "warning", "cdk deploy")


def test_a_function_that_fails_is_a_failure(deployed: Deployed, account: Account) -> None:
    deployed.apply(pool())
    account.answer = {"errorType": "Runtime.ImportModuleError", "errorMessage": "no module"}
    assert deployed.say("doctor").code == 1


def test_what_passes_by_itself_is_no_failure(deployed: Deployed, account: Account) -> None:
    deployed.apply(pool())
    deployed.ec2.forbidden["RunInstances"] = ("RequestLimitExceeded", "Request limit exceeded.")
    told = deployed.say("doctor", "--json")
    statuses = {each["status"] for each in json.loads(told.out)["findings"] if each["check"] == "dry-run"}
    assert (told.code, statuses) == (0, {"warning"})


def test_without_a_stack_the_account_is_looked_at_and_that_is_said(deployed: Deployed, account: Account) -> None:
    told = deployed.say("doctor", "--stack", "Other")
    assert (told.code, told.err, account.asked) == (0, "", [])
    assert "there is no stack Other" in told.out
    assert "spot-role" in told.out


def test_without_a_stack_a_pool_file_is_looked_at_all_the_same(
    deployed: Deployed, account: Account, tmp_path: Path
) -> None:
    file = tmp_path / "pools.yaml"
    file.write_text("resource_pools: [{pool_name: new, provider: {type: aws, instance_type: c7i.large}}]")
    told = deployed.say("doctor", "--stack", "Other", "--pools", str(file))
    assert told.code == 0
    assert "new: offerings" in told.out


def test_what_a_check_found_before_it_was_refused_is_told_too(
    deployed: Deployed, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key of the owner's that is enabled, whose grants this person may not list."""
    deployed.apply(pool())

    def paginator(operation: str) -> Any:
        if operation == "list_grants":
            raise aws_error(
                "ListGrants", "AccessDeniedException", "User: me is not authorized to perform: kms:ListGrants"
            )
        return account

    def enabled(KeyId: str) -> dict[str, Any]:
        return {"KeyMetadata": {"KeyState": "Enabled"}}

    monkeypatch.setattr(account, "get_ebs_default_kms_key_id", lambda: {"KmsKeyId": "key-1"})
    monkeypatch.setattr(account, "describe_key", enabled, raising=False)
    monkeypatch.setattr(account, "get_paginator", paginator)
    found = json.loads(deployed.say("doctor", "--json").out)["findings"]
    told = [(each["check"], each["status"]) for each in found if each["check"].startswith("volume-key")]
    assert told == [("volume-key", "ok"), ("volume-key", "warning")]


def test_remedies_name_a_stack_that_is_not_the_default_one(deployed: Deployed, account: Account) -> None:
    deployed.stacks["Night"] = deployed.stacks.pop("Lowtide")
    account.answer = {"errorType": "KeyError", "errorMessage": "'Records'"}
    deployed.apply(pool())
    found = json.loads(deployed.say("doctor", "--stack", "Night", "--json").out)["findings"]
    assert next(each for each in found if each["check"] == "dry-run")["remedy"] == "cdk deploy -c stack=Night"
    deployed.stacks.clear()
    found = json.loads(deployed.say("doctor", "--stack", "Night", "--json").out)["findings"]
    assert next(each for each in found if each["check"] == "stack")["remedy"] == "cdk deploy -c stack=Night"
