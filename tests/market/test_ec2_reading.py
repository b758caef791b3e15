"""Reading by EC2's API of the local AWS: filters, pages, prices, types, images, status, tags."""

from datetime import UTC, datetime
from decimal import Decimal

from lowtide.market import catalogue
from tests.market.ec2_calls import eventually, fleet_request, ids, launch, refused, visible
from tests.market.worlds import REGION, TYPE, A, B, C


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


def test_vcpu_quotas_are_told_by_their_code_and_nothing_else_is(local):
    quotas = local.world.client("service-quotas")
    told = quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-34B43A08")["Quota"]
    assert (told["Value"], "Spot" in told["QuotaName"]) == (10**6, True)
    code, message = refused(quotas.get_service_quota, ServiceCode="ec2", QuotaCode="L-0")
    assert (code, "only EC2's vCPU quotas" in message) == ("NoSuchResourceException", True)
    code, message = refused(quotas.list_services)
    assert (code, "not ListServices" in message) == ("NoSuchResourceException", True)
