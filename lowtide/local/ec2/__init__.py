"""EC2 of the local AWS: the spot market behind EC2's own API, its instances run by hosts.

`install` puts it into a running world. ministack keeps what is not the market's: networks, groups, keys, templates.
"""

from collections.abc import Mapping
from typing import Any

from lambdas.domain.pools.pools import CapacityType
from lowtide.local import contract, quotas, spot_role
from lowtide.local.contract import upstream
from lowtide.local.ec2 import ground, images
from lowtide.local.ec2.control import Control, control_app
from lowtide.local.ec2.hosts import Hosts, HostSpec
from lowtide.local.ec2.permissions import AUTHENTICATED_ONLY
from lowtide.local.ec2.service import LocalEc2
from lowtide.local.interface import WorldLike
from lowtide.local.replacements import Replacements
from lowtide.market.market import Market
from lowtide.market.model import Conditions, Seeded
from lowtide.market.unkindness import Unkindness

__all__ = ["Control", "HostSpec", "Hosts", "control_app", "install"]


def install(
    world: WorldLike,
    hosts: Hosts,
    *,
    unkindness: Unkindness | None = None,
    conditions: Conditions | None = None,
) -> Control:
    """Make the market this world's EC2 until the world closes. Seeded from the world's own chance.

    `unkindness` is in AWS time and is divided by the world's pace here; the default is EC2's. `conditions` None: the
    seeded model. Raises UpstreamChanged when ministack is not what this was written for."""
    contract.check(ground.NAMES)
    seed, now = world.random.getrandbits(64), world.now()
    troubles = (unkindness or Unkindness()).paced(world.pace)
    market = Market(
        seed=seed,
        region=world.region,
        conditions=conditions or Seeded(seed=seed, epoch=now, pace=world.pace),
        unkindness=troubles,
        now=now,
        busy=hosts.busy,
    )
    service = upstream("services.ec2")
    ec2 = LocalEc2(world=world, market=market, hosts=hosts, seed=seed, stock=service.handle_request)
    hosts.on_shutdown = ec2.shut_down
    replacements = Replacements()
    replacements.replace(service, "handle_request", ec2.handle_request)
    _leave_launching_to_us(replacements)
    _publish_images(replacements, world.region)
    quotas.install(replacements, value=lambda q: troubles.quota(q.family, spot=q.capacity_type is CapacityType.SPOT))
    spot_role.install(replacements)
    spot_role.create(world.account, world.region)
    world.on_close(replacements.undo)
    world.on_close(ec2.close)
    ec2.start()
    return Control(ec2)


def _leave_launching_to_us(replacements: Replacements) -> None:
    """ministack checks one resource of a call; launching and terminating are checked here, resource by resource."""
    actions = upstream("core.iam_actions")
    stock = actions.extract_iam_action

    def extract_iam_action(
        service: str, method: str, path: str, headers: Mapping[str, str], body: bytes, query_params: Mapping[str, Any]
    ) -> str | None:
        action: str | None = stock(service, method, path, headers, body, query_params)
        ours = service == "ec2" and action is not None and action.partition(":")[2] in AUTHENTICATED_ONLY
        return None if ours else action

    replacements.replace(actions, "extract_iam_action", extract_iam_action)


def _publish_images(replacements: Replacements, region: str) -> None:
    """Point AWS's public parameters at the images that exist here."""
    parameters = upstream("services.ssm")._PUBLIC_AMI_PARAMETERS
    for image in images.public_images(region):
        if image.parameter in parameters:
            replacements.replace(parameters, image.parameter, image.image_id)
        else:
            replacements.add(parameters, image.parameter, image.image_id)
