"""Each check finds what is broken in an account, and nothing in one that is in order."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lowtide.doctor.findings import Finding, Status, fails
from lowtide.local.world import World
from tests.doctor.conftest import VCPUS, Look, session

BOOTSTRAP = "/cdk-bootstrap/hnb659fds/version"


def only(found: list[Finding]) -> Finding:
    [finding] = found
    return finding


def test_an_account_in_order_has_no_failure_and_says_that_the_stack_is_not_there(look: Look) -> None:
    found = look()
    assert {each.check: each.status for each in found if each.status is not Status.OK} == {"stack": Status.WARNING}
    assert {each.check for each in found} == {
        *("credentials", "stack", "bootstrap", "spot-role", "volume-key", "quota", "offerings", "image"),
    }
    assert not fails(found)


def test_without_a_bootstrap_a_deployment_fails(world: World, look: Look) -> None:
    ssm = world.client("ssm")
    ssm.delete_parameter(Name=BOOTSTRAP)
    try:
        finding = only(look("bootstrap"))
    finally:
        ssm.put_parameter(Name=BOOTSTRAP, Value="21", Type="String")
    assert finding.status is Status.FAILURE
    assert finding.remedy == f"cdk bootstrap aws://{world.account}/{world.region}"


def test_a_bootstrap_that_cdk_refuses_is_found(world: World, look: Look) -> None:
    ssm = world.client("ssm")
    ssm.put_parameter(Name=BOOTSTRAP, Value="5", Type="String", Overwrite=True)
    try:
        assert only(look("bootstrap")).status is Status.FAILURE
    finally:
        ssm.put_parameter(Name=BOOTSTRAP, Value="21", Type="String", Overwrite=True)


def test_a_missing_spot_role_is_found_and_its_remedy_mends_it(world: World, look: Look) -> None:
    iam = world.client("iam")
    iam.delete_service_linked_role(RoleName="AWSServiceRoleForEC2Spot")
    finding = only(look("spot-role"))
    assert finding.status is Status.FAILURE
    assert finding.remedy == "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
    iam.create_service_linked_role(AWSServiceName="spot.amazonaws.com")
    assert only(look("spot-role")).status is Status.OK


def test_an_on_demand_pool_does_without_the_spot_role(world: World, look: Look) -> None:
    iam = world.client("iam")
    iam.delete_service_linked_role(RoleName="AWSServiceRoleForEC2Spot")
    try:
        assert only(look("spot-role", spot=False)).status is Status.WARNING
    finally:
        iam.create_service_linked_role(AWSServiceName="spot.amazonaws.com")


@contextmanager
def default_key(world: World, key_id: str) -> Iterator[None]:
    ec2 = world.client("ec2")
    ec2.modify_ebs_default_kms_key_id(KmsKeyId=key_id)
    try:
        yield
    finally:
        ec2.modify_ebs_default_kms_key_id(KmsKeyId="alias/aws/ebs")


def test_a_disabled_key_for_volumes_is_found_and_an_enabled_one_is_in_order(world: World, look: Look) -> None:
    kms = world.client("kms")
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    with default_key(world, key_id):
        assert only(look("volume-key")).status is Status.OK
        granted = only(look("volume-key-grant"))
        assert granted.status is Status.WARNING
        principal, operations = granted.remedy.split("--grantee-principal ")[1].split(" --operations ")
        kms.create_grant(KeyId=key_id, GranteePrincipal=principal, Operations=operations.split())
        assert only(look("volume-key-grant")).status is Status.OK
        kms.disable_key(KeyId=key_id)
        finding = only(look("volume-key"))
    assert (finding.status, finding.remedy) == (Status.FAILURE, f"aws kms enable-key --key-id {key_id}")


def test_a_key_for_volumes_that_is_gone_is_found(world: World, look: Look) -> None:
    with default_key(world, "1234abcd-0000-0000-0000-000000000000"):
        assert only(look("volume-key")).status is Status.FAILURE


# --- quotas: 32 vCPUs each ---


@pytest.mark.parametrize(
    ("provider", "status"),
    [
        ({"instance_type": "m7g.large", "max_instances": VCPUS // 2}, Status.OK),
        ({"instance_type": "m7g.large", "max_instances": VCPUS // 2 + 1}, Status.WARNING),
        ({"instance_type": "m7g.12xlarge", "max_instances": 1}, Status.FAILURE),
    ],
)
def test_a_quota_is_held_against_what_the_pool_may_grow_to(
    look: Look, provider: dict[str, Any], status: Status
) -> None:
    finding = only(look("quota", **provider))
    assert finding.status is status
    if status is not Status.OK:
        assert "--quota-code L-34B43A08" in finding.remedy


def test_spot_on_demand_and_each_group_of_families_have_their_own_quota(look: Look) -> None:
    fallback = {"after": "5m", "max_instances": 1}
    found = look("quota", instance_type=None, instance_types=["m7g.large", "g5g.xlarge"], on_demand_fallback=fallback)
    assert len(found) == 4
    assert len({each.what.partition(":")[0] for each in found}) == 4


def test_a_type_too_large_for_its_quota_is_no_failure_beside_one_that_fits(look: Look) -> None:
    found = look("quota", instance_type=None, instance_types=["m7g.large", "g5g.16xlarge"], max_instances=1)
    assert sorted(each.status for each in found) == [Status.OK, Status.WARNING]


# --- what a pool names ---


def test_a_type_that_no_zone_offers_is_found(look: Look, world: World) -> None:
    zones = {s["AvailabilityZone"] for s in world.client("ec2").describe_subnets()["Subnets"]}
    assert zones, "the default VPC's"
    found = look("offerings", instance_type="x9.nothing", instance_slots=1)
    assert only(found).status is Status.FAILURE


def test_a_type_that_some_zones_lack_is_a_warning_that_names_them(look: Look, world: World) -> None:
    ec2 = world.client("ec2")
    by_zone = {s["AvailabilityZone"]: s["SubnetId"] for s in ec2.describe_subnets()["Subnets"]}
    rows = ec2.get_paginator("describe_instance_type_offerings").paginate(LocationType="availability-zone")
    places: dict[str, set[str]] = {}
    for row in (row for page in rows for row in page["InstanceTypeOfferings"]):
        places.setdefault(row["InstanceType"], set()).add(row["Location"])
    name, there = next((n, p) for n, p in sorted(places.items()) if p & by_zone.keys() and by_zone.keys() - p)
    subnets = [by_zone[zone] for zone in sorted(by_zone)]
    found = look("offerings", instance_type=name, instance_slots=1, subnet_ids=subnets)
    assert only(found).status is Status.WARNING
    assert all(zone in found[0].what for zone in by_zone.keys() - there)


def own_subnet(world: World, zone: str, *, tagged: bool = True, cidr: str) -> str:
    ec2 = world.client("ec2")
    vpc = next(v for v in ec2.describe_vpcs()["Vpcs"] if v["IsDefault"])["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=zone)["Subnet"]["SubnetId"]
    if tagged:
        ec2.create_tags(Resources=[subnet], Tags=[{"Key": "lowtide:stack", "Value": "Lowtide"}])
    return subnet


def test_two_subnets_of_one_zone_are_found(look: Look, world: World) -> None:
    subnets = [own_subnet(world, "us-east-1a", cidr=f"172.31.{n}.0/24") for n in (200, 201)]
    finding = only(look("pools", subnet_ids=subnets))
    assert finding.status is Status.FAILURE
    assert "two subnets of one zone" in finding.what


def test_a_subnet_without_the_stacks_tag_is_found_with_the_command_that_tags_it(look: Look, world: World) -> None:
    subnet = own_subnet(world, "us-east-1a", tagged=False, cidr="172.31.202.0/24")
    wrong = [each for each in look("subnets", subnet_ids=[subnet]) if each.status is not Status.OK]
    finding = only(wrong)
    assert finding.status is Status.FAILURE
    assert finding.remedy == f"aws ec2 create-tags --resources {subnet} --tags Key=lowtide:stack,Value=Lowtide"


def test_a_subnet_without_free_addresses_is_found(look: Look, world: World) -> None:
    from lowtide.local.contract import upstream

    subnet = own_subnet(world, "us-east-1a", cidr="172.31.203.0/28")
    with upstream("core.responses").request_scope(world.account, world.region):
        upstream("services.ec2")._subnets[subnet]["AvailableIpAddressCount"] = 3
    assert only(look("subnets", subnet_ids=[subnet])).status is Status.WARNING
    with upstream("core.responses").request_scope(world.account, world.region):
        upstream("services.ec2")._subnets[subnet]["AvailableIpAddressCount"] = 0
    assert only(look("subnets", subnet_ids=[subnet])).status is Status.FAILURE


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ({"image_id": "ami-00000000000000000"}, "does not exist"),
        ({"ssh_key_name": "nobodys"}, "does not exist"),
        ({"iam_instance_profile_arn": "arn:aws:iam::000000000000:instance-profile/none"}, "does not exist"),
        ({"subnet_ids": ["subnet-00000000"]}, "does not exist"),
        ({"region": "eu-west-1"}, "the stack is in"),
    ],
)
def test_what_a_pool_file_names_and_is_not_there_is_found(look: Look, provider: dict[str, Any], words: str) -> None:
    finding = only(look("pools", **provider))
    assert (finding.status, finding.pool) == (Status.FAILURE, "cpu")
    assert words in finding.what


def test_an_image_of_another_architecture_is_found(look: Look, world: World) -> None:
    images = world.client("ec2").describe_images()["Images"]
    image = next(i["ImageId"] for i in images if i["Architecture"] == "x86_64")
    assert only(look("pools", image_id=image)).status is Status.FAILURE


def test_a_key_pair_and_a_profile_that_are_there_are_in_order(look: Look, world: World) -> None:
    iam = world.client("iam")
    world.client("ec2").create_key_pair(KeyName="mine")
    arn = iam.create_instance_profile(InstanceProfileName="own")["InstanceProfile"]["Arn"]
    assert only(look("profile", iam_instance_profile_arn=arn)).status is Status.FAILURE, "it has no role"
    trust = '{"Version": "2012-10-17", "Statement": []}'
    iam.create_role(RoleName="own", AssumeRolePolicyDocument=trust)
    iam.add_role_to_instance_profile(InstanceProfileName="own", RoleName="own")
    found = look("profile", "key-pair", iam_instance_profile_arn=arn, ssh_key_name="mine")
    assert [each.status for each in found] == [Status.OK, Status.OK]


# --- who asks ---


def test_who_may_not_look_gets_warnings_that_say_so_and_nothing_else_stops(look: Look, world: World) -> None:
    iam = world.client("iam")
    iam.create_user(UserName="poor")
    document = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:*","ssm:*"],"Resource":"*"}]}'
    iam.put_user_policy(UserName="poor", PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName="poor")["AccessKey"]
    found = {each.check: each for each in look(by=session(world, key["AccessKeyId"], key["SecretAccessKey"]))}
    assert "user/poor" in found["credentials"].what
    assert found["spot-role"].status is Status.WARNING
    assert "iam:GetRole" in found["spot-role"].what
    assert found["volume-key"].status is Status.OK
    assert not fails(list(found.values()))


def test_credentials_that_nobody_has_are_one_failure_and_the_end(look: Look, world: World) -> None:
    finding = only(look(by=session(world, "AKIAIOSFODNN7EXAMPLE", "nobodys")))
    assert (finding.check, finding.status) == ("credentials", Status.FAILURE)
