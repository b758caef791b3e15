"""What the market does in a storm, and who else stands in it."""

import contextlib
from decimal import Decimal

from lambdas import names
from lowtide.market import catalogue
from lowtide.market.fleet import Refused
from lowtide.sim import functions
from lowtide.sim.storm.pools import LIMITS, TYPES
from lowtide.sim.storm.stage import MINUTE, Stage
from lowtide.sim.storm.story import Incident
from lowtide.sim.world import World


def dry(stage: Stage, told: Incident) -> None:
    world = stage.world
    for zone in "abc"[: told.number]:
        for name, _ in TYPES[told.pool]:
            world.market.set_capacity(name, f"us-east-1{zone}", told.number // 4, world.clock(), lifecycle=None)
    world.at(world.clock() + 2 * told.number * MINUTE, lambda: world.market.release(world.clock()))


def dear(stage: Stage, told: Incident) -> None:
    world = stage.world
    price = LIMITS[told.pool] * (told.number + 1) / 2
    for name, _ in TYPES[told.pool]:
        for zone in "abc"[: told.number]:
            world.market.set_price(name, f"us-east-1{zone}", price, world.clock())
    world.at(world.clock() + told.number * MINUTE, lambda: world.market.release(world.clock()))


def drifting(stage: Stage, told: Incident) -> None:
    """Prices move a little everywhere, again and again."""
    for step in range(1, 5):
        factor = 1 + Decimal(told.number * (step % 2 * 2 - 1) * step) / 20
        at = stage.world.clock() + step * MINUTE
        stage.world.at(at, lambda factor=factor: setattr(stage.conditions, "factor", factor))


def interrupted(stage: Stage, told: Incident) -> None:
    world = stage.world
    for instance in sorted(world.alive(told.pool), key=lambda each: each.instance_id)[: told.number]:
        with contextlib.suppress(Refused):
            world.market.interrupt(instance.instance_id, world.clock(), notice=(None, True, False)[told.number % 3])


def slips(stage: Stage, told: Incident) -> None:
    """EC2 answers a request for spot with on-demand instances."""
    stage.world.ec2.slips += told.number % 2 + 1


def strangers(stage: Stage, told: Incident) -> None:
    """Somebody else's instance, without our tag; or one with our tag of a pool that nobody knows."""
    orphan = {names.TAG_STACK: stage.world.stack, names.TAG_POOL: "gone"}
    tags = ({}, {names.TAG_STACK: "Theirs", names.TAG_POOL: told.pool}, orphan, {names.TAG_POOL: told.pool})
    before = set(stage.world.market.instances)
    with contextlib.suppress(Exception):
        _launched_by_hand(stage.world, TYPES[told.pool][0][0], f"by-hand-{told.second}-{told.number}")
    for instance_id in stage.world.market.instances.keys() - before:
        stage.world.ec2.strange(instance_id, tags[told.number - 1])


def _launched_by_hand(world: World, instance_type: str, token: str) -> None:
    facts = catalogue.facts(instance_type)
    architecture = facts.architectures[0] if facts else ""
    world.ec2.create_fleet(
        Type="instant",
        ClientToken=token,
        LaunchTemplateConfigs=[
            {
                "LaunchTemplateSpecification": {"LaunchTemplateId": functions.ON_DEMAND_TEMPLATE, "Version": "1"},
                "Overrides": [
                    {"InstanceType": instance_type, "SubnetId": "subnet-a", "ImageId": f"ami-{architecture}"}
                ],
            }
        ],
        TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
    )
