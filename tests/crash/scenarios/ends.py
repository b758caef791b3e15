"""Instances end, or are about to: EC2 takes them away, their boot or their worker fails, nobody needs or knows them."""

from dataclasses import replace

from lambdas import names
from lowtide.sim.functions import ON_DEMAND_TEMPLATE
from lowtide.sim.world import World
from tests.crash.deployed import CPU, MINUTE, SECOND, instance_of, jobs, only_tick, running, send, world
from tests.crash.scenarios.scenario import Scenario


def interrupted(of: World) -> None:
    of.market.interrupt(instance_of(of), of.clock())
    of.run(lambda: len(of.alive("cpu")) == 2 and jobs(of, "queued") == 1, 20 * SECOND)


def cut_off(of: World) -> None:
    of.market.interrupt(instance_of(of), of.clock(), notice=False)
    of.run(lambda: jobs(of, "running") == 0, 20 * SECOND)


def rebalance(of: World) -> None:
    of.hosts[instance_of(of)].advise(of.clock())
    of.bus.publish("EC2 Instance Rebalance Recommendation", {"instance-id": instance_of(of)}, of.clock())
    of.run_for(10 * SECOND)


def prepare_scale_in() -> World:
    made = world()
    send(made, seconds=10)
    assert made.run(lambda: jobs(made, "succeeded") == 1, 5 * MINUTE)
    made.run_for(110 * SECOND)
    return made


def scale_in(of: World) -> None:
    of.run(of.quiet, 5 * MINUTE)


def prepare_boot_failure() -> World:
    made = world(boot_failure=1.0)
    send(made)
    assert made.run(lambda: bool(made.alive("cpu")), MINUTE)
    made.market.unkindness = replace(made.market.unkindness, boot_failure=0.0)
    made.run_for(290 * SECOND)
    return made


def boot_failure(of: World) -> None:
    first = instance_of(of)
    of.run(lambda: all(i.instance_id != first for i in of.alive("cpu")), 2 * MINUTE)


def prepare_silent() -> World:
    made = running()
    made.hosts.pop(instance_of(made))
    made.run_for(4 * MINUTE)
    return made


def prepare_orphan() -> World:
    """An instance of the stack whose pool nobody knows, and one that is somebody else's."""
    made = world()
    for stack in (made.stack, "Theirs"):
        tags = {names.TAG_STACK: stack, names.TAG_POOL: "nobody", names.TAG_DECISION: "d"}
        made.ec2.create_fleet(
            Type="instant",
            ClientToken=stack,
            LaunchTemplateConfigs=[
                {
                    "LaunchTemplateSpecification": {"LaunchTemplateId": ON_DEMAND_TEMPLATE, "Version": "1"},
                    "Overrides": [{"InstanceType": CPU, "SubnetId": "subnet-a", "ImageId": "ami-al2023-arm64"}],
                }
            ],
            TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}],
        )
    return made


SCENARIOS: dict[str, Scenario] = {
    "interruption": Scenario(running, interrupted),
    "cut off": Scenario(running, cut_off),
    "rebalance": Scenario(running, rebalance),
    "scale-in": Scenario(prepare_scale_in, scale_in),
    "boot failure": Scenario(prepare_boot_failure, boot_failure),
    "silent worker": Scenario(prepare_silent, lambda of: of.run(lambda: jobs(of, "running") == 0, 3 * MINUTE)),
    "orphan": Scenario(prepare_orphan, only_tick),
}
