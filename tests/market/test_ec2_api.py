"""EC2's API of the local AWS over real HTTP: launching, listing, ending, events, permissions."""

import asyncio
import inspect
import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count

import httpx
import pytest
from botocore.exceptions import ClientError

from lowtide.local import contract
from lowtide.local.contract import upstream
from lowtide.local.ec2 import control_app, ground
from lowtide.market import catalogue
from tests.market.worlds import REGION, TYPE, A, B, C

TOKENS = (f"token-{n}" for n in count())
STACK = {"Key": "lowtide:stack", "Value": "T"}


def fleet_request(local, *zones, lifecycle="spot", target=1, override=None, kinds=("fleet", "instance"), **more):
    strategy = {"AllocationStrategy": "lowest-price"}
    return {
        "Type": "instant",
        "ClientToken": next(TOKENS),
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {"LaunchTemplateId": local.template, "Version": "1"},
                "Overrides": [
                    {"InstanceType": TYPE, "SubnetId": local.subnets[zone], **(override or {})}
                    for zone in (zones or (A,))
                ],
            }
        ],
        "TargetCapacitySpecification": {"TotalTargetCapacity": target, "DefaultTargetCapacityType": lifecycle},
        ("SpotOptions" if lifecycle == "spot" else "OnDemandOptions"): strategy,
        "TagSpecifications": [{"ResourceType": kind, "Tags": [STACK]} for kind in kinds],
        **more,
    }


def ids(answer):
    return [i for entry in answer["Instances"] for i in entry["InstanceIds"]]


def refused(call, **request):
    with pytest.raises(ClientError) as error:
        call(**request)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def eventually(answer, timeout=15):
    """Polls until `answer()` is true, and returns it."""
    deadline = time.monotonic() + timeout
    while not (found := answer()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
    return found


def visible(local, instance_id):
    """The instance as Describe has it once it does."""

    def described():
        found = local.ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": [instance_id]}])["Reservations"]
        return found[0]["Instances"][0] if found else None

    return eventually(described)


def launch(local, *zones, **more):
    found = ids(local.ec2.create_fleet(**fleet_request(local, *zones, **more)))
    for instance_id in found:
        visible(local, instance_id)
    return found


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
    before = len(local.control.instances())
    assert refused(local.ec2.create_fleet, **fleet_request(local), DryRun=True)[0] == "DryRunOperation"
    [instance_id] = launch(local)
    assert refused(local.ec2.terminate_instances, InstanceIds=[instance_id], DryRun=True)[0] == "DryRunOperation"
    run = {"ImageId": local.images["arm64"], "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1}
    assert refused(local.ec2.run_instances, **run, DryRun=True)[0] == "DryRunOperation"
    assert len(local.control.instances()) == before + 1


def test_run_instances_launches_and_raises_what_a_fleet_would_list(local):
    run = {"ImageId": local.images["arm64"], "InstanceType": TYPE, "MinCount": 1, "MaxCount": 2}
    assert len(local.ec2.run_instances(**run)["Instances"]) == 2
    local.control.set_capacity(TYPE, "*", 0, lifecycle=None)
    code, message = refused(local.ec2.run_instances, **run)
    local.control.release()
    assert code == "InsufficientInstanceCapacity"
    assert "We currently do not have sufficient" in message


def test_a_terminated_instance_loses_its_host_and_its_volume_and_stays_listed(local):
    [instance_id] = launch(local)
    volume_id = visible(local, instance_id)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    [volume] = local.ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"]
    assert (volume["Size"], volume["Encrypted"]) == (200, True)
    [change] = local.ec2.terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"]
    assert change["CurrentState"]["Name"] == "shutting-down"
    local.hosts.wait("terminate", instance_id)
    eventually(lambda: visible(local, instance_id)["State"]["Name"] == "terminated")
    assert visible(local, instance_id)["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    eventually(lambda: refused(local.ec2.describe_volumes, VolumeIds=[volume_id]) or True)


def test_a_guest_that_powers_itself_off_is_terminated(local):
    [instance_id] = launch(local)
    local.hosts.on_shutdown(instance_id)
    eventually(lambda: visible(local, instance_id)["State"]["Name"] == "terminated")
    assert visible(local, instance_id)["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_an_interruption_reaches_host_and_event_bus_and_ends_the_instance(local):
    queue = listening(local, "EC2 Spot Instance Interruption Warning")
    [instance_id] = launch(local, B)
    local.control.interrupt(instance_id)
    local.hosts.wait("notice", instance_id, "terminate")
    event = next_event(local, queue, instance_id)
    assert event["source"] == "aws.ec2"
    assert event["detail"] == {"instance-id": instance_id, "instance-action": "terminate"}
    assert event["resources"] == [f"arn:aws:ec2:{B}:instance/{instance_id}"]
    local.hosts.wait("terminate", instance_id)
    eventually(lambda: visible(local, instance_id)["State"]["Name"] == "terminated")
    assert visible(local, instance_id)["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    found = local.ec2.describe_spot_instance_requests(Filters=[{"Name": "instance-id", "Values": [instance_id]}])
    assert found["SpotInstanceRequests"][0]["Status"]["Code"] == "instance-terminated-by-service"


def test_state_changes_are_events(local):
    queue = listening(local, "EC2 Instance State-change Notification")
    [instance_id] = launch(local)
    states = {next_event(local, queue, instance_id)["detail"]["state"] for _ in range(2)}
    assert states == {"pending", "running"}


def test_a_scripted_strike_waits_for_an_instance_that_works(local):
    idle, working = launch(local, C, target=2)
    local.hosts.working.add(working)
    local.control.script([{"interrupt": 1, "zone": C, "instance_type": TYPE, "from": 0.1}])
    local.hosts.wait("notice", working)
    assert "notice" not in local.hosts.of(idle)


def listening(local, detail_type):
    """A queue that gets the events of this type."""
    name = next(TOKENS)
    sqs, events = local.world.client("sqs"), local.world.client("events")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = json.dumps({"source": ["aws.ec2"], "detail-type": [detail_type]})
    rule = events.put_rule(Name=name, EventPattern=pattern)["RuleArn"]
    allow = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage"}
    statement = {**allow, "Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": rule}}}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": arn}])
    return url


def next_event(local, queue, instance_id):
    sqs = local.world.client("sqs")

    def received():
        for message in sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages", []):
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            event = json.loads(message["Body"])
            if event["detail"]["instance-id"] == instance_id:
                return event
        return None

    return eventually(received)


def test_filters_choose_and_an_unknown_one_is_refused(local):
    [instance_id] = launch(local)

    def found(name, *values):
        pages = local.ec2.get_paginator("describe_instances").paginate(Filters=[{"Name": name, "Values": [*values]}])
        return {i["InstanceId"] for p in pages for r in p["Reservations"] for i in r["Instances"]}

    assert instance_id in found("tag:lowtide:stack", "T") & found("tag-key", "from") & found("instance-type", "m7g.*")
    assert instance_id not in found("tag:lowtide:stack", "Other") | found("availability-zone", B)
    only = [{"Name": "colour", "Values": ["blue"]}]
    expected = ("InvalidParameterValue", "The filter 'colour' is invalid")
    assert refused(local.ec2.describe_instances, Filters=only) == expected


def test_pages_hold_every_instance_once_while_others_come(local):
    wanted = set(launch(local, target=7))
    pages, token = [], {}
    while not pages or token:
        answer = local.ec2.describe_instances(MaxResults=5, **token)
        pages += [i["InstanceId"] for r in answer["Reservations"] for i in r["Instances"]]
        token = {"NextToken": answer["NextToken"]} if answer.get("NextToken") else {}
        if len(pages) == 5:
            launch(local)
    assert len(pages) == len(set(pages))
    assert wanted <= set(pages)


def test_paging_by_id_and_tiny_pages_are_refused(local):
    [instance_id] = launch(local)
    both = {"InstanceIds": [instance_id], "MaxResults": 10}
    assert refused(local.ec2.describe_instances, **both)[0] == "InvalidParameterCombination"
    assert refused(local.ec2.describe_instances, MaxResults=1)[0] == "InvalidParameterValue"
    assert refused(local.ec2.describe_instances, NextToken="bm9uc2Vuc2U=")[0] == "InvalidParameterValue"


def test_price_history_gives_the_price_in_force(local):
    local.control.set_price(TYPE, B, Decimal("0.0444"))
    asked = {"InstanceTypes": [TYPE], "ProductDescriptions": ["Linux/UNIX"]}

    def price_in_b():
        now = datetime.now(UTC)
        history = local.ec2.describe_spot_price_history(**asked, StartTime=now, EndTime=now)["SpotPriceHistory"]
        assert {entry["AvailabilityZone"] for entry in history} == {A, B, C}
        return [entry["SpotPrice"] for entry in history if entry["AvailabilityZone"] == B]

    assert price_in_b() != ["0.044400"]
    eventually(lambda: price_in_b() == ["0.044400"])
    local.control.release()


def test_types_and_offerings_are_those_of_the_region(local):
    only = [{"Name": "instance-type", "Values": ["g4dn.metal", "z9.huge"]}]
    [entry] = local.ec2.describe_instance_types(Filters=only)["InstanceTypes"]
    assert (entry["VCpuInfo"]["DefaultVCpus"], entry["GpuInfo"]["Gpus"][0]["Count"], entry["BareMetal"]) == (
        96,
        8,
        True,
    )
    assert refused(local.ec2.describe_instance_types, InstanceTypes=["z9.huge"])[0] == "InvalidInstanceType"
    zones = local.ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=only[:1])
    assert {o["Location"] for o in zones["InstanceTypeOfferings"]} == {A, B, C}


def test_every_type_can_be_paged_through(local):
    pages = local.ec2.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 100})
    found = [t["InstanceType"] for p in pages for t in p["InstanceTypes"]]
    assert sorted(found) == sorted(catalogue.offered(REGION))


def test_public_parameters_name_images_of_their_architecture(local):
    ssm = local.world.client("ssm")
    names = [
        path.format(architecture)
        for path in (
            "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{}",
            "/aws/service/deeplearning/ami/{}/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id",
        )
        for architecture in ("x86_64", "arm64")
    ]
    for parameter in ssm.get_parameters(Names=names)["Parameters"]:
        [image] = local.ec2.describe_images(ImageIds=[parameter["Value"]])["Images"]
        assert image["Architecture"] in parameter["Name"]
    assert len(ssm.get_parameters(Names=names)["Parameters"]) == 4


def test_status_console_and_fleets(local):
    answer = local.ec2.create_fleet(**fleet_request(local))
    [instance_id] = ids(answer)
    visible(local, instance_id)
    eventually(lambda: local.ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"])
    assert local.ec2.get_console_output(InstanceId=instance_id)["Output"] == f"console of {instance_id}"
    [fleet] = local.ec2.describe_fleets(FleetIds=[answer["FleetId"]])["Fleets"]
    assert fleet["Instances"][0]["InstanceIds"] == [instance_id]
    assert local.ec2.describe_fleets()["Fleets"] == []


def test_created_tags_are_seen_on_the_instance(local):
    [instance_id] = launch(local)
    local.ec2.create_tags(Resources=[instance_id], Tags=[{"Key": "colour", "Value": "blue"}])
    assert {"Key": "colour", "Value": "blue"} in visible(local, instance_id)["Tags"]


# --- permissions ------------------------------------------------------------------------------------------------------

MADE = ("fleet", "instance", "volume", "network-interface", "spot-instances-request")


def arn(kind, identity="*", account="000000000000"):
    return f"arn:aws:ec2:{REGION}:{account}:{kind}/{identity}"


def allow(name, actions, resources, condition=None):
    statement = {"Sid": name, "Effect": "Allow", "Action": actions, "Resource": resources}
    return {**statement, "Condition": condition} if condition else statement


def launching():
    tagged = {"aws:RequestTag/lowtide:stack": "T"}
    made, launches = [arn(kind) for kind in MADE], ["ec2:CreateFleet", "ec2:RunInstances"]
    used = [arn("subnet"), arn("security-group"), arn("launch-template"), arn("image", account="")]
    creating = {"StringEquals": {**tagged, "ec2:CreateAction": ["CreateFleet", "RunInstances"]}}
    return [
        allow("Make", launches, made, {"StringEquals": tagged}),
        allow("Use", launches, used),
        allow("Tag", ["ec2:CreateTags"], made, creating),
        allow(
            "Pass",
            ["iam:PassRole"],
            ["arn:aws:iam::000000000000:role/worker"],
            {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
        ),
        allow("Images", ["ssm:GetParameters"], [f"arn:aws:ssm:{REGION}::parameter/aws/service/*"]),
    ]


TAGGED_BY_REQUEST = ("fleet", "instance", "volume")
"""The template tags the network interface."""
RESOLVED = {"ImageId": "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"}


def on_demand_request(local, **more):
    return fleet_request(local, lifecycle="on-demand", kinds=TAGGED_BY_REQUEST, override=RESOLVED, **more)


def test_the_least_privilege_is_enough(local, as_role):
    answer = as_role(launching()).create_fleet(**on_demand_request(local))
    assert (answer["Errors"], len(ids(answer))) == ([], 1)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("Use", "ec2:CreateFleet"),
        ("Make", "ec2:CreateFleet"),
        ("Tag", "ec2:CreateTags"),
        ("Pass", "iam:PassRole"),
        ("Images", "ssm:GetParameters"),
    ],
)
def test_each_missing_statement_is_refused_and_the_action_named(local, as_role, statement, named):
    client = as_role([s for s in launching() if s["Sid"] != statement])
    code, message = answered(client, on_demand_request(local))
    assert code == "UnauthorizedOperation"
    assert "You are not authorized to perform this operation. User: arn:aws:iam::" in message
    assert f"is not authorized to perform: {named} on resource: arn:aws:" in message


@pytest.mark.parametrize("kind", ["instance", "volume", "network-interface", "subnet", "security-group", "image"])
def test_running_on_each_kind_of_resource_is_a_permission_of_its_own(local, as_role, kind):
    statements = launching()
    for statement in statements[:2]:
        statement["Resource"] = [r for r in statement["Resource"] if f":{kind}/" not in r]
    code, message = answered(as_role(statements), on_demand_request(local))
    assert code == "UnauthorizedOperation"
    assert "ec2:RunInstances on resource" in message
    assert f":{kind}/" in message


def test_spot_needs_the_spot_request_tagged_too(local, as_role):
    request = fleet_request(local, kinds=TAGGED_BY_REQUEST)
    code, message = answered(as_role(launching()), request)
    assert (code, ":spot-instances-request/" in message) == ("UnauthorizedOperation", True)


def test_an_untagged_launch_is_refused(local, as_role):
    code, message = answered(as_role(launching()), on_demand_request(local) | {"TagSpecifications": []})
    assert (code, "ec2:CreateFleet" in message) == ("UnauthorizedOperation", True)


def answered(client, request):
    """Code and message of the refusal, whether whole or of the override."""
    try:
        [error] = client.create_fleet(**request)["Errors"]
    except ClientError as refusal:
        return refusal.response["Error"]["Code"], refusal.response["Error"]["Message"]
    return error["ErrorCode"], error["ErrorMessage"]


def test_only_instances_with_the_tag_can_be_terminated(local, as_role):
    [ours] = launch(local)
    [other] = launch(local)
    local.ec2.create_tags(Resources=[other], Tags=[{"Key": "lowtide:stack", "Value": "Other"}])
    condition = {"StringEquals": {"ec2:ResourceTag/lowtide:stack": "T"}}
    client = as_role([allow("End", ["ec2:TerminateInstances"], [arn("instance")], condition)])
    code, message = refused(client.terminate_instances, InstanceIds=[ours, other])
    assert (code, f"instance/{other}" in message) == ("UnauthorizedOperation", True)
    assert visible(local, ours)["State"]["Name"] in ("pending", "running")
    client.terminate_instances(InstanceIds=[ours])


def test_the_template_for_spot_is_refused_for_on_demand(local):
    data = {"TagSpecifications": [{"ResourceType": "spot-instances-request", "Tags": [STACK]}]}
    version = local.ec2.create_launch_template_version(
        LaunchTemplateId=local.template, SourceVersion="1", LaunchTemplateData=data
    )["LaunchTemplateVersion"]["VersionNumber"]
    request = fleet_request(local, lifecycle="on-demand")
    request["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"]["Version"] = str(version)
    [error] = local.ec2.create_fleet(**request)["Errors"]
    assert error["ErrorMessage"].startswith("You cannot specify tags for Spot instances requests if there are no Spot")


# --- the control surface ----------------------------------------------------------------------------------------------


@pytest.fixture
def over_http(local):
    transport = httpx.ASGITransport(app=control_app(local.control))
    return lambda: httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/_world/market/")


def asked(client_of, method, path, **more):
    async def ask():
        async with client_of() as client:
            return await client.request(method, path, **more)

    return asyncio.run(ask())


def test_trouble_can_be_made_and_read_over_http(local, over_http):
    start = asked(over_http, "GET", "history").json()["next"]
    [instance_id] = launch(local)
    assert asked(over_http, "POST", "interrupt", json={"instance_id": instance_id, "lead": 1}).status_code == 200
    local.hosts.wait("terminate", instance_id)
    lines = asked(over_http, "GET", f"history?since={start}").json()["history"]
    assert {"launched", "interrupted", "warned", "ended"} <= {line["what"] for line in lines}


def test_prices_and_capacity_can_be_held_over_http(over_http):
    asked(over_http, "POST", "price", json={"instance_type": TYPE, "zone": A, "usd": "1.5"})
    asked(over_http, "POST", "capacity", json={"zone": A, "count": 0})
    [found] = asked(over_http, "GET", f"prices?instance_type={TYPE}&zone={A}").json()["prices"]
    asked(over_http, "POST", "release", json={})
    assert (found["spot_price"], found["capacity"]) == ("1.5", 0)


@pytest.mark.parametrize(
    ("path", "request_", "status", "said"),
    [
        ("script", {"json": [{"prise": 1}]}, 400, "script[0].prise"),
        ("script", {"json": {}}, 400, "list"),
        ("interrupt", {"json": {"instance_id": "i-0"}}, 400, "does not exist"),
        ("price", {"json": {"zone": A}}, 400, "instance_type"),
        ("price", {"json": {"instance_type": TYPE, "usd": "much"}}, 400, ""),
        ("price", {"content": "{}"}, 400, "application/json"),
        ("weather", {"json": {}}, 404, "is not there"),
    ],
)
def test_wrong_trouble_is_refused_with_what_is_wrong(over_http, path, request_, status, said):
    answer = asked(over_http, "POST", path, **request_)
    assert answer.status_code == status
    assert said in answer.json()["error"]


def test_the_log_is_read_from_any_line_on(local):
    launch(local)
    every = local.control.history()
    assert local.control.history(len(every) - 1) == every[-1:]


def test_a_scripted_price_ends_by_itself(local):
    local.control.script([{"price": 9, "instance_type": "c7g.large", "from": 0, "to": 0.2}])
    assert local.control.prices("c7g.large")[0]["spot_price"] == "9"
    eventually(lambda: float(local.control.prices("c7g.large")[0]["spot_price"]) < 1)


# --- why each replacement is needed: these fail when upstream no longer needs it --------------------------------------


def test_stock_fleets_know_no_price_limit_and_no_refusal(local):
    source = inspect.getsource(upstream("services.ec2")._create_fleet)
    assert "MaxPrice" not in source
    assert "ClientToken" not in source


def test_the_stock_gate_checks_a_fleet_against_one_resource(local):
    find = upstream("core.iam_actions").extract_resource_arn
    query = {"Action": ["CreateFleet"]}
    assert find("ec2", "POST", "/", {}, b"Action=CreateFleet", query, REGION, "000000000000") == "*"


def test_stock_has_no_arm64_image_parameters(local):
    assert "al2023-ami-kernel-default-arm64" not in inspect.getsource(upstream("services.ssm"))


def test_everything_that_is_replaced_or_read_upstream_is_there(local):
    contract.check(ground.NAMES)
