"""Launching by EC2's API of the local AWS: fleets, single instances, and what is refused."""

from decimal import Decimal

import pytest

from tests.market.ec2_calls import STACK, fleet_request, ids, launch, refused, visible
from tests.market.worlds import TYPE, A, B


def test_a_fleet_launches_hosts_from_template_and_override(local):
    answer = local.ec2.create_fleet(**fleet_request(local, A, override={"MaxPrice": "0.05"}))
    [instance_id] = ids(answer)
    local.hosts.wait("launch", instance_id)
    spec = local.hosts.specs[instance_id]
    assert (spec.user_data, spec.role_name, spec.profile_name) == (b"#!/bin/sh\n", "worker", "worker")
    assert (spec.vcpus, spec.memory_mib, spec.gpus, spec.lifecycle) == (2, 8192, 0, "spot")
    assert spec.tags == {"lowtide:stack": "T", "from": "lt"}
    assert 0.2 < spec.boot_delay < 10
    [entry] = answer["Instances"]
    assert entry["Lifecycle"] == "spot"
    assert entry["LaunchTemplateAndOverrides"]["Overrides"]["AvailabilityZone"] == A


def test_describe_shows_what_was_launched(local):
    [instance_id] = launch(local)
    found = visible(local, instance_id)
    assert (found["InstanceLifecycle"], found["Placement"]["AvailabilityZone"]) == ("spot", A)
    assert found["SpotInstanceRequestId"].startswith("sir-")
    assert found["IamInstanceProfile"]["Arn"].endswith(":instance-profile/worker")
    assert {"Key": "from", "Value": "lt"} in found["Tags"]
    assert found["MetadataOptions"]["HttpTokens"] == "required"


def test_on_demand_has_no_lifecycle_and_no_spot_request(local):
    [instance_id] = launch(local, lifecycle="on-demand")
    found = visible(local, instance_id)
    assert "InstanceLifecycle" not in found
    assert "SpotInstanceRequestId" not in found


def test_a_new_instance_is_unknown_at_first(local):
    [instance_id] = ids(local.ec2.create_fleet(**fleet_request(local)))
    expected = ("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
    assert refused(local.ec2.terminate_instances, InstanceIds=[instance_id]) == expected
    assert refused(local.ec2.describe_instances, InstanceIds=[instance_id]) == expected
    visible(local, instance_id)


def test_a_refusal_names_its_override_and_the_rest_launches(local):
    local.control.set_price(TYPE, A, Decimal("0.06"))
    answer = local.ec2.create_fleet(**fleet_request(local, A, B, override={"MaxPrice": "0.05"}))
    local.control.release()
    [error] = answer["Errors"]
    assert error["ErrorCode"] == "SpotMaxPriceTooLow"
    assert error["LaunchTemplateAndOverrides"]["Overrides"]["SubnetId"] == local.subnets[A]
    assert [e["LaunchTemplateAndOverrides"]["Overrides"]["SubnetId"] for e in answer["Instances"]] == [local.subnets[B]]


@pytest.mark.parametrize(
    ("override", "code"),
    [
        ({"SubnetId": "subnet-0gone"}, "InvalidSubnetID.NotFound"),
        ({"ImageId": "ami-0gone"}, "InvalidAMIID.NotFound"),
        ({"InstanceType": "m7i.large"}, "InvalidParameterValue"),
        ({"InstanceType": "z9.huge"}, "InvalidInstanceType"),
    ],
)
def test_what_does_not_exist_or_fit_is_an_error_of_its_override(local, override, code):
    answer = local.ec2.create_fleet(**fleet_request(local, override=override))
    assert [error["ErrorCode"] for error in answer["Errors"]] == [code]
    assert not ids(answer)


def test_two_subnets_of_one_zone_refuse_the_whole_request(local):
    request = fleet_request(local, A, A)
    expected = ("InvalidFleetConfig", "The fleet configuration contains duplicate instance pools.")
    assert refused(local.ec2.create_fleet, **request) == expected


def test_a_template_that_is_gone_refuses_the_whole_request(local):
    request = fleet_request(local)
    request["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"]["LaunchTemplateId"] = "lt-0gone"
    assert refused(local.ec2.create_fleet, **request)[0] == "InvalidLaunchTemplateId.NotFound"
    request = fleet_request(local)
    request["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"]["Version"] = "99"
    assert refused(local.ec2.create_fleet, **request)[0] == "InvalidLaunchTemplateId.VersionNotFound"


def test_a_repeated_client_token_launches_once(local):
    request = fleet_request(local, target=2)
    first, again = local.ec2.create_fleet(**request), local.ec2.create_fleet(**request)
    assert (again["FleetId"], ids(again)) == (first["FleetId"], ids(first))
    request["TargetCapacitySpecification"]["TotalTargetCapacity"] = 3
    assert refused(local.ec2.create_fleet, **request)[0] == "IdempotentParameterMismatch"


def test_a_dry_run_does_nothing(local):
    before = {each.instance_id for each in local.control.instances()}
    assert refused(local.ec2.create_fleet, **fleet_request(local), DryRun=True)[0] == "DryRunOperation"
    [instance_id] = launch(local)
    assert refused(local.ec2.terminate_instances, InstanceIds=[instance_id], DryRun=True)[0] == "DryRunOperation"
    run = {"ImageId": local.images["arm64"], "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1}
    assert refused(local.ec2.run_instances, **run, DryRun=True)[0] == "DryRunOperation"
    assert {each.instance_id for each in local.control.instances()} - before == {instance_id}


def test_run_instances_launches_and_raises_what_a_fleet_would_list(local):
    run = {"ImageId": local.images["arm64"], "InstanceType": TYPE, "MinCount": 1, "MaxCount": 2}
    assert len(local.ec2.run_instances(**run)["Instances"]) == 2
    local.control.set_capacity(TYPE, "*", 0, lifecycle=None)
    code, message = refused(local.ec2.run_instances, **run)
    local.control.release()
    assert code == "InsufficientInstanceCapacity"
    assert "We currently do not have sufficient" in message


def test_the_template_for_spot_is_refused_for_on_demand(local):
    data = {"TagSpecifications": [{"ResourceType": "spot-instances-request", "Tags": [STACK]}]}
    version = local.ec2.create_launch_template_version(
        LaunchTemplateId=local.template, SourceVersion="1", LaunchTemplateData=data
    )["LaunchTemplateVersion"]["VersionNumber"]
    request = fleet_request(local, lifecycle="on-demand")
    request["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"]["Version"] = str(version)
    [error] = local.ec2.create_fleet(**request)["Errors"]
    assert error["ErrorMessage"].startswith("You cannot specify tags for Spot instances requests if there are no Spot")
