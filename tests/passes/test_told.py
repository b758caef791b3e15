"""What a pass leaves for alarms and graphs: which pools nothing but a person can help, and a last sample at rest."""

import pytest

from lambdas import names
from tests.passes.world import World, pool

REFUSALS = {
    "UnauthorizedOperation": True,
    "InvalidAMIID.NotFound": True,
    "MaxSpotInstanceCountExceeded": True,
    "InsufficientInstanceCapacity": False,
    "SpotMaxPriceTooLow": False,
    "RequestLimitExceeded": False,
    "InternalError": False,
}
"""EC2's code -> whether waiting mends nothing."""


@pytest.mark.parametrize(("code", "blocked"), REFUSALS.items())
def test_a_pool_is_blocked_by_what_no_waiting_mends_and_by_nothing_else(code: str, *, blocked: bool) -> None:
    world = World(errors={("c7i.large", subnet): (code, "no") for subnet in ("subnet-a", "subnet-b")})
    world.apply(pool())
    world.enqueue(1)
    world.run()
    assert world.state()["summary"]["blocked"] is blocked


def test_a_paused_pool_is_not_blocked_by_what_was_refused_before() -> None:
    world = World(errors={("c7i.large", s): ("UnauthorizedOperation", "no") for s in ("subnet-a", "subnet-b")})
    world.apply(pool())
    world.enqueue(1)
    world.run()
    world.apply(pool(paused=True))
    world.advance(60)
    world.run()
    assert world.state()["summary"]["blocked"] is False


def test_the_pass_by_which_a_pool_comes_to_rest_is_the_last_that_is_measured() -> None:
    world = World()
    world.apply(pool(max_instances=1))
    world.enqueue(1)
    world.run()
    world.clear_queue()
    for machine in world.ec2.machines.values():
        machine.ended = True
    passes = 1
    while not world.state()["resting"]:
        world.advance(60)
        world.observe()
        world.run()
        passes += 1
    world.run()
    assert len(world.metrics.of(names.METRIC_RUNNING, "cpu")) == passes
    assert world.metrics.of(names.METRIC_INTERRUPTIONS, "cpu") == [0] * passes
