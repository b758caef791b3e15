"""Launch templates of pools: made before a launch, the same for the same content, gone when nothing needs them."""

import base64
import logging
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from lambdas.adapters import keys
from lambdas.domain.pools.machine import Machine
from lowtide.sim.calls import FailNext, KillAt, Killed, Recorder, aws_error
from tests.passes.world import World, pool

TAGGED = Machine(tags=(("team", "vision"),))
SECRET = "export TOKEN=hunter2"


def used(world: World) -> list[str]:
    """The launch template of every request that was carried out."""
    return [
        fleet["LaunchTemplateConfigs"][0]["LaunchTemplateSpecification"]["LaunchTemplateId"]
        for fleet in world.ec2.fleets
    ]


def launched(machine: Machine, **changes: Any) -> World:
    world = World()
    world.apply(pool(machine=machine, **changes))
    world.enqueue(1)
    world.run()
    return world


def data(world: World) -> dict[str, Any]:
    (made,) = world.ec2.templates.made.values()
    return made["LaunchTemplateData"]


def test_a_pool_that_asks_for_nothing_of_the_kind_is_launched_from_the_stacks_template() -> None:
    world = launched(Machine())
    assert used(world) == ["lt-1"]
    assert world.ec2.templates.made == {}


def test_a_pool_that_does_is_launched_from_its_own_with_the_stacks_tag() -> None:
    world = launched(TAGGED)
    ((name, made),) = world.ec2.templates.made.items()
    assert used(world) == [made["LaunchTemplateId"]]
    assert name.startswith("Lowtide-cpu-spot-")
    assert made["TagSpecifications"] == [
        {
            "ResourceType": "launch-template",
            "Tags": [{"Key": "lowtide:stack", "Value": "Lowtide"}, {"Key": "lowtide:pool", "Value": "cpu"}],
        }
    ]
    for kind in data(world)["TagSpecifications"]:
        assert kind["Tags"] == [
            {"Key": "lowtide:stack", "Value": "Lowtide"},
            {"Key": "team", "Value": "vision"},
        ]


def test_a_template_says_everything_that_the_stacks_says_and_what_the_pool_changes() -> None:
    world = launched(
        Machine(
            instance_name="trainer",
            ssh_key_name="me",
            iam_instance_profile_arn="arn:aws:iam::1:instance-profile/p",
            public_ip=False,
            security_group_id="sg-mine",
            root_volume_size=500,
            root_device="/dev/sda1",
        )
    )
    made = data(world)
    assert made["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert made["MetadataOptions"] == {"HttpTokens": "required"}
    assert {"Key": "Name", "Value": "trainer"} in made["TagSpecifications"][0]["Tags"]
    assert made["KeyName"] == "me"
    assert made["IamInstanceProfile"] == {"Arn": "arn:aws:iam::1:instance-profile/p"}
    assert "SecurityGroupIds" not in made
    assert made["NetworkInterfaces"] == [
        {
            "DeviceIndex": 0,
            "AssociatePublicIpAddress": False,
            "Groups": ["sg-mine"],
            "DeleteOnTermination": True,
        }
    ]
    (root,) = made["BlockDeviceMappings"]
    assert (root["DeviceName"], root["Ebs"]["VolumeSize"], root["Ebs"]["Encrypted"]) == ("/dev/sda1", 500, True)


def test_startup_scripts_run_before_the_worker_and_in_order() -> None:
    world = launched(Machine(startup_script="echo one", container_startup_script="echo two"))
    script = base64.b64decode(data(world)["UserData"]).decode()
    places = [script.index(part) for part in ("#!/bin/bash", "echo one", "echo two", "exec python3 boot")]
    assert places == sorted(places)
    assert script.endswith("exec python3 boot\n")


def test_no_line_of_a_log_and_no_stored_decision_has_a_script_in_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world = World()
    world.apply(pool(machine=Machine(startup_script=SECRET)))
    world.enqueue(1)
    world.hook(FailNext(errors={"ec2.create_launch_template": [aws_error("CreateLaunchTemplate", "Bad", "no")]}))
    world.run()
    world.run()
    told = [str(record.__dict__) for record in caplog.records]
    told += [str(item) for item in world.table.query(keys.decisions("cpu"))]
    told += [str(world.config.pool("cpu")), str(world.state())]
    assert told
    assert [line for line in told if "hunter2" in line] == []


def test_one_template_serves_every_launch_of_a_version() -> None:
    world = launched(TAGGED)
    world.enqueue(1)
    world.run()
    assert len(world.ec2.templates.made) == 1
    assert len(set(used(world))) == 1
    assert len(used(world)) == 2


def test_spot_and_on_demand_have_one_each() -> None:
    world = launched(TAGGED)
    world.clear_queue()
    world.apply(pool(machine=TAGGED, spot=False, spot_max_price=None))
    world.enqueue(2)
    world.run()
    assert {name.split("-")[2] for name in world.ec2.templates.made} == {"spot", "on"}


def test_what_only_the_template_says_changes_it_and_the_old_one_goes() -> None:
    world = launched(TAGGED)
    (old,) = world.ec2.templates.made
    world.apply(pool(machine=replace(TAGGED, root_volume_size=300)))
    world.enqueue(1)
    world.run()
    (new,) = world.ec2.templates.made
    assert new != old
    assert [item["template"] for item in world.under(keys.TEMPLATE_PREFIX)] == [new]


def test_a_change_of_something_else_keeps_it() -> None:
    world = launched(TAGGED)
    before = dict(world.ec2.templates.made)
    world.apply(pool(machine=TAGGED, max_instances=7))
    world.run()
    assert world.ec2.templates.made == before


def test_a_template_that_another_pass_made_a_moment_ago_is_used() -> None:
    world = World()
    world.apply(pool(machine=TAGGED))
    world.enqueue(1)
    first = launched(TAGGED)
    ((name, made),) = first.ec2.templates.made.items()
    hidden = [True]

    class Late(Recorder):
        """The other's template appears between the look and the making."""

        def before(self, operation: str, request: Any) -> None:
            if operation == "ec2.create_launch_template" and hidden:
                hidden.clear()
                world.ec2.templates.made[name] = made

    world.hook(Late())
    world.run()
    assert used(world) == [made["LaunchTemplateId"]]


def test_a_refused_template_is_the_pools_reason_and_nothing_is_launched() -> None:
    world = World()
    world.apply(pool(machine=TAGGED))
    world.enqueue(1)
    error = aws_error("CreateLaunchTemplate", "MaxTemplateLimitExceeded", "You have reached the limit of templates")
    world.hook(FailNext(errors={"ec2.create_launch_template": [error]}))
    world.run()
    assert world.ec2.fleets == []
    assert world.reasons() == [("quota", "MaxTemplateLimitExceeded")]
    assert world.under(keys.INTENT_PREFIX) == []


def test_a_template_that_could_not_be_asked_for_is_asked_for_again_soon() -> None:
    world = World()
    world.apply(pool(machine=TAGGED))
    world.enqueue(1)
    world.hook(FailNext(lost={"ec2.create_launch_template": [ReadTimeoutError(endpoint_url="https://ec2")]}))
    world.run()
    assert world.ec2.fleets == []
    world.run()
    assert len(world.ec2.templates.made) == 1
    assert len(world.ec2.fleets) == 1


def test_a_repeated_call_names_the_template_of_the_first_whatever_was_applied_meanwhile() -> None:
    world = World()
    world.apply(pool(machine=TAGGED))
    world.enqueue(1)
    world.hook(FailNext(lost={"ec2.create_fleet": [ReadTimeoutError(endpoint_url="https://ec2")]}))
    world.run()
    world.apply(pool(machine=replace(TAGGED, root_volume_size=300)))
    world.run()
    assert len(set(used(world))) == 1
    assert len(used(world)) == 2
    assert len(world.ec2.running()) == 1


def test_a_template_that_a_launch_without_an_answer_names_stays_until_the_launch_is_settled() -> None:
    world = World()
    world.apply(pool(machine=TAGGED))
    world.enqueue(1)
    lost = ReadTimeoutError(endpoint_url="https://ec2")
    world.hook(FailNext(lost={"ec2.create_fleet": [lost, lost]}))
    world.run()
    (old,) = world.ec2.templates.made
    world.apply(pool(machine=replace(TAGGED, root_volume_size=300)))
    world.run()
    assert old in world.ec2.templates.made
    world.advance(60)
    world.run()
    assert len(world.ec2.running()) == 1
    assert len(set(used(world))) == 1


def test_a_deleted_pool_takes_its_templates_with_it() -> None:
    world = launched(TAGGED)
    world.clear_queue()
    world.apply(pool(machine=TAGGED, deleted=True))
    world.ec2.machines.clear()
    for item in world.under(keys.INSTANCE_PREFIX):
        world.table.delete(item["pk"], item["sk"])
    world.run()
    world.run()
    assert world.ec2.templates.made == {}
    assert world.config.pool("cpu") is None


def test_a_template_that_is_not_deleted_keeps_the_pool_until_it_is() -> None:
    world = launched(TAGGED)
    world.clear_queue()
    world.apply(pool(machine=TAGGED, deleted=True))
    world.ec2.machines.clear()
    for item in world.under(keys.INSTANCE_PREFIX):
        world.table.delete(item["pk"], item["sk"])
    world.hook(FailNext(errors={"ec2.delete_launch_template": [aws_error("DeleteLaunchTemplate", "Bad", "no")]}))
    world.run()
    assert world.config.pool("cpu") is not None
    assert world.state().get("gpk") == keys.DUE
    world.run()
    world.run()
    assert world.ec2.templates.made == {}
    assert world.config.pool("cpu") is None


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("call", range(1, 16))
def test_a_pass_that_dies_at_any_call_leaves_no_template_behind(call: int, after_effect: bool) -> None:
    world = World()
    world.apply(pool(machine=TAGGED))
    world.enqueue(1)
    world.hook(KillAt(call=call, after_effect=after_effect))
    try:
        world.run()
    except Killed:
        world.hook(None)
    world.run()
    world.observe()
    assert len(world.ec2.running()) == 1
    world.apply(pool(machine=replace(TAGGED, root_volume_size=300)))
    for _ in range(4):
        world.advance(100)
        world.observe()
        world.run()
    noted = {item["template"] for item in world.under(keys.TEMPLATE_PREFIX)}
    assert set(world.ec2.templates.made) <= noted
    assert all("300" not in name for name in noted)
    assert len(noted) <= 1


def test_a_stalled_pass_whose_note_is_gone_takes_its_template_back() -> None:
    world = World()
    world.apply(pool(machine=TAGGED))
    world.enqueue(1)

    class Successor(Recorder):
        def before(self, operation: str, request: Any) -> None:
            if operation == "ec2.create_launch_template":
                world.hook(None)
                world.apply(pool(machine=Machine(), paused=True))
                world.run()

    world.hook(Successor())
    world.run()
    assert world.ec2.templates.made == {}
    assert world.ec2.fleets == []


def test_a_pool_stored_before_there_were_templates_of_pools_is_read() -> None:
    document = pool().to_document()
    del document["machine"]
    assert type(pool()).from_document(document).machine == Machine()
