"""The doctor on a deployed stack: all in order, and what the function that launches may not do."""

import json
from typing import Any

from lambdas.domain.reasons import ReasonClass
from tests.world.conftest import STEADY_TYPE, Stack, spot, steady
from tests.world.test_permissions import without


def looked(stack: Stack, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    done = stack.lowtide("doctor", "--json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["findings"]


def test_a_deployed_stack_is_in_order_and_nothing_is_launched_to_find_out(stack: Stack) -> None:
    code, found = looked(stack, "--pools", stack.pool_file(spot(pool_name="new"), steady(pool_name="newer")))
    assert [each for each in found if each["status"] == "failure"] == []
    assert code == 0
    yes = [each for each in found if each["check"] == "dry-run" and each["status"] == "ok"]
    assert [each["pool"] for each in yes] == ["new", "newer"]
    ours = [{"Name": "tag:lowtide:pool", "Values": ["new", "newer"]}]
    assert stack.aws.world.client("ec2").describe_instances(Filters=ours)["Reservations"] == []
    assert stack.pools().pool("new") is None


def test_a_permission_that_the_function_lacks_is_found_although_the_user_has_every_right(stack: Stack) -> None:
    with without(stack, "ControlReconcile", "GiveInstancesTheirRole", "iam:PassRole"):
        code, found = looked(stack)
    wrong = [each for each in found if each["check"] == "dry-run" and each["pool"] == "steady"]
    assert (code, [each["status"] for each in wrong]) == (1, ["failure"])
    [reason] = wrong[0]["reasons"]
    assert reason["class"] == ReasonClass.PERMISSION
    assert "iam:PassRole" in reason["message"]


def test_a_role_that_the_stack_may_not_give_to_instances_is_found_before_it_is_applied(stack: Stack) -> None:
    iam = stack.aws.world.client("iam")
    iam.create_role(RoleName="strange", AssumeRolePolicyDocument='{"Version": "2012-10-17", "Statement": []}')
    arn = iam.create_instance_profile(InstanceProfileName="strange")["InstanceProfile"]["Arn"]
    iam.add_role_to_instance_profile(InstanceProfileName="strange", RoleName="strange")
    wanted = steady(pool_name="new", instance_type=STEADY_TYPE, iam_instance_profile_arn=arn)
    code, found = looked(stack, "--pools", stack.pool_file(wanted))
    wrong = {each["check"]: each for each in found if each["status"] == "failure"}
    assert (code, set(wrong)) == (1, {"profile", "dry-run"}), "the table of roles and EC2 itself agree"
    assert "worker_roles=" in wrong["profile"]["remedy"]


def test_a_subnet_that_the_function_may_not_use_is_found(stack: Stack) -> None:
    ec2 = stack.aws.world.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.77.0.0/24", AvailabilityZone="us-east-1a")["Subnet"]["SubnetId"]
    code, found = looked(stack, "--pools", stack.pool_file(steady(pool_name="new", subnet_ids=[subnet])))
    wrong = {each["check"] for each in found if each["status"] == "failure"}
    assert (code, wrong) == (1, {"subnets", "dry-run"})
