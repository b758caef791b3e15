"""What the reconcile function says of launches that it does not make."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from lambdas.adapters import keys
from lambdas.adapters.request_bucket import RequestBucket
from lambdas.control.dry_run import covering
from lambdas.domain.fleet.fleet import Override
from lambdas.domain.pools.machine import Machine
from lambdas.domain.pools.pools import OnDemandFallback, Pool
from lowtide.sim.calls import FailNext, Recorder, aws_error
from tests.passes.world import SUBNETS, World, facts, pool

DENIED = (
    "UnauthorizedOperation",
    "You are not authorized to perform this operation. User: arn:aws:sts::1:assumed-role/r/f is not authorized to "
    "perform: iam:PassRole on resource: arn:aws:iam::1:role/other because no identity-based policy allows the "
    "iam:PassRole action",
)
BUYS_BOTH = OnDemandFallback(after=timedelta(minutes=5))


def world(wanted: Pool | None = None, **ec2: Any) -> World:
    made = World(**ec2)
    made.apply(wanted or pool())
    return made


def asked(of: World, operation: str) -> list[dict[str, Any]]:
    return [request for name, request in of.ec2.rehearsed if name == operation]


def tags(request: dict[str, Any], kind: str) -> dict[str, str]:
    return {t["Key"]: t["Value"] for s in request["TagSpecifications"] if s["ResourceType"] == kind for t in s["Tags"]}


def test_a_pool_that_could_be_launched_gets_a_yes_for_its_capacity_type() -> None:
    answer = world().dry_run()
    assert answer["pool"] == "cpu"
    assert answer["shapes"] == [{"capacity_type": "spot", "calls": 3, "works": True, "reasons": []}]


def test_each_capacity_type_that_the_owner_allows_is_asked_about() -> None:
    answer = world(pool(on_demand_fallback=BUYS_BOTH)).dry_run()
    assert [shape["capacity_type"] for shape in answer["shapes"]] == ["spot", "on-demand"]


def test_the_requests_are_those_of_a_pass_and_every_one_is_a_dry_run() -> None:
    made = world()
    made.enqueue(1)
    made.dry_run()
    [fleet] = asked(made, "CreateFleet")
    made.run()
    [launched] = made.ec2.fleets
    own = ("ClientToken", "DryRun", "TagSpecifications")
    assert {k: v for k, v in fleet.items() if k not in own} == {k: v for k, v in launched.items() if k not in own}
    assert all(request["DryRun"] is True for _, request in made.ec2.rehearsed)


def test_instances_are_asked_for_with_the_tags_the_limit_and_the_template_of_a_launch() -> None:
    made = world()
    made.dry_run()
    first = asked(made, "RunInstances")[0]
    assert first["LaunchTemplate"] == {"LaunchTemplateId": "lt-1", "Version": "1"}
    assert first["InstanceMarketOptions"]["SpotOptions"]["MaxPrice"] == "0.05"
    assert tags(first, "instance").keys() == {"lowtide:stack", "lowtide:pool", "lowtide:decision"}
    assert tags(first, "spot-instances-request") == {"lowtide:stack": "Lowtide"}


def test_a_dry_run_writes_nothing_launches_nothing_and_takes_no_token() -> None:
    made = world(pool(machine=Machine(root_volume_size=300)))
    made.enqueue(1)
    calls = Recorder()
    made.hook(calls)
    made.dry_run()
    written = {"put_item", "update_item", "delete_item", "transact_write_items", "batch_write_item", "send_message"}
    assert not {call for call in calls.calls if call.partition(".")[2] in written}
    assert made.ec2.fleets == []
    assert made.ec2.templates.made == {}
    assert made.table.get(keys.STACK, keys.BUCKET) is None


def test_what_one_offering_lacks_is_a_reason_and_the_shape_works() -> None:
    denied = {("c7i.large", "subnet-a"): ("InvalidSubnetID.NotFound", "The subnet ID 'subnet-a' does not exist")}
    [shape] = world(errors=denied).dry_run()["shapes"]
    assert shape["works"] is True
    [reason] = shape["reasons"]
    assert (reason["class"], reason["code"], reason["availability_zone"]) == (
        *("configuration", "InvalidSubnetID.NotFound"),
        SUBNETS[0][0],
    )


def test_a_missing_permission_is_named_with_its_remedy() -> None:
    [shape] = world(forbidden={"RunInstances": DENIED}).dry_run()["shapes"]
    assert shape["works"] is False
    [reason] = shape["reasons"]
    assert reason["class"] == "permission"
    assert "iam:PassRole" in reason["message"]
    assert "Allow iam:PassRole" in reason["remedy"]


def test_a_fleet_that_may_not_be_made_does_not_work_whatever_its_instances_may() -> None:
    [shape] = world(forbidden={"CreateFleet": ("UnauthorizedOperation", "no")}).dry_run()["shapes"]
    assert (shape["works"], [r["code"] for r in shape["reasons"]]) == (False, ["UnauthorizedOperation"])


def test_a_pool_whose_template_does_not_exist_is_asked_about_with_all_that_the_template_would_say() -> None:
    own = Machine(
        ssh_key_name="mine", public_ip=True, security_group_id="sg-own", tags=(("team", "ml"),), startup_script="secret"
    )
    made = world(pool(machine=own))
    made.dry_run()
    [template] = asked(made, "CreateLaunchTemplate")
    first = asked(made, "RunInstances")[0]
    assert template["LaunchTemplateData"]["KeyName"] == first["KeyName"] == "mine"
    assert "SubnetId" not in first, "EC2 takes it at the top or in the interface, not in both"
    [interface] = first["NetworkInterfaces"]
    assert (interface["SubnetId"], interface["Groups"]) == ("subnet-a", ["sg-own"])
    assert tags(first, "volume").items() >= {"team": "ml", "lowtide:pool": "cpu"}.items()
    assert "UserData" not in first


def test_a_pool_whose_template_exists_makes_no_fuss_about_it() -> None:
    made = world(pool(machine=Machine(root_volume_size=300)))
    made.enqueue(1)
    made.run()
    made.dry_run()
    assert asked(made, "CreateLaunchTemplate") == []
    [fleet] = asked(made, "CreateFleet")
    [template] = made.ec2.templates.made.values()
    named = fleet["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"]
    assert named["LaunchTemplateId"] == template["LaunchTemplateId"]


@pytest.mark.parametrize("operation", ["describe_launch_templates", "describe_launch_template_versions"])
def test_a_template_that_ec2_was_asked_for_too_often_is_told_as_throttling(operation: str) -> None:
    made = world(pool(machine=Machine(root_volume_size=300)))
    throttled = aws_error(operation, "RequestLimitExceeded", "Request limit exceeded.", status=503)
    made.hook(FailNext(errors={f"ec2.{operation}": [throttled]}))
    [shape] = made.dry_run()["shapes"]
    [reason] = shape["reasons"]
    assert (shape["works"], reason["class"], reason["code"]) == (False, "throttling", "RequestLimitExceeded")


def test_a_pool_that_is_not_applied_may_be_asked_about_whole() -> None:
    wanted = pool("new", image_id="ami-own")
    made = World()
    answer = made.dry_run(wanted.to_document())
    assert (answer["pool"], answer["shapes"][0]["works"]) == ("new", True)
    assert asked(made, "RunInstances")[0]["ImageId"] == "ami-own"
    assert made.config.pool("new") is None


@pytest.mark.parametrize("question", ["nobody", {"name": "half a pool"}, 7, None])
def test_a_wrong_question_is_answered_and_is_no_error_of_the_function(question: object) -> None:
    assert world().dry_run(question).keys() == {"error"}


def test_without_an_image_nothing_is_asked_and_the_reason_says_so() -> None:
    made = world()
    made.ssm.missing = {"/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"}
    [shape] = made.dry_run()["shapes"]
    assert (shape["calls"], shape["works"], [r["code"] for r in shape["reasons"]]) == (0, False, ["NoImage"])


def busy(of: World, *, per_second: float) -> None:
    """Another pool has used up the stack's tokens, and waits for more."""
    bucket = RequestBucket(of.table, replace(of.settings, ec2_refill_per_second=per_second), of.clock)
    for _ in range(6):
        bucket.take("other", replaces=False)


def test_while_passes_need_the_request_rate_nothing_is_asked_and_that_is_said() -> None:
    made = world()
    busy(made, per_second=0.01)
    answer = made.dry_run()
    assert made.ec2.rehearsed == []
    assert "rate" in answer["notes"][0]
    assert answer["shapes"] == [{"capacity_type": "spot", "calls": 0, "works": False, "reasons": []}]


def test_it_waits_a_little_for_the_rate_to_be_free() -> None:
    made = world()
    RequestBucket(made.table, made.settings, made.clock).take("other", replaces=False)
    answer = made.dry_run()
    assert (answer["notes"], answer["shapes"][0]["works"]) == ([], True)


def test_what_finds_no_time_is_counted_not_forgotten() -> None:
    many = tuple(facts(f"c7i.{n}xlarge") for n in range(30))
    answer = world(pool(types=many)).dry_run(left=10)
    assert "of 30 offerings not asked for" in answer["notes"][-1]


def test_as_few_offerings_as_name_every_type_and_every_zone() -> None:
    every = [
        Override(instance_type=kind, zone=zone, subnet_id=zone, image_id="ami", max_price=None)
        for kind in ("a", "b", "c")
        for zone in ("1", "2")
    ]
    assert [(each.instance_type, each.zone) for each in covering(every)] == [("a", "1"), ("b", "2"), ("c", "1")]
    assert [each.zone for each in covering(every[:2])] == ["1", "2"]
