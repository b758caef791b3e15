"""A pass that launches is killed before and after each of its AWS calls; then messages and ticks go on as they would."""

import pytest

from lambdas.adapters import keys
from lowtide.sim.calls import Killed, KillAt, Recorder
from tests.passes.world import World, pool

MOST = 2


def prepared(**ec2: object) -> World:
    world = World(**ec2)
    world.apply(pool(max_instances=MOST))
    world.enqueue(5)
    return world


def calls_of_a_launching_pass() -> int:
    world, recorder = prepared(), Recorder()
    world.hook(recorder)
    world.run()
    assert "ec2.create_fleet" in recorder.calls
    return len(recorder.calls)


POINTS = [(call, after) for call in range(1, calls_of_a_launching_pass() + 1) for after in (False, True)]


def test_the_scenario_has_as_many_crash_points_as_its_calls_make() -> None:
    assert len(POINTS) >= 2 * 10
    print(f"crash points of a launching pass: {len(POINTS)}")


def go_on(world: World, minutes: int) -> None:
    """Redelivery, then a tick a minute: observe, then a pass."""
    for _ in range(minutes):
        world.run()
        world.advance(60)
        world.observe()
        assert world.ec2.most_at_once <= MOST


@pytest.mark.parametrize(("call", "after"), POINTS)
def test_a_launching_pass_killed_anywhere_never_exceeds_the_maximum_and_is_made_up_for(call: int, after: bool) -> None:
    world = prepared()
    world.hook(KillAt(call, after_effect=after))
    with pytest.raises(Killed):
        world.run()
    world.hook(None)
    go_on(world, 6)
    assert len(world.ec2.running()) == MOST
    assert set(world.instances()) == {machine.instance_id for machine in world.ec2.running()}
    assert world.under(keys.INTENT_PREFIX) == []


@pytest.mark.parametrize(("call", "after"), POINTS)
def test_a_killed_launch_whose_retry_comes_too_late_is_adopted_and_closed(call: int, after: bool) -> None:
    world = prepared()
    world.hook(KillAt(call, after_effect=after))
    with pytest.raises(Killed):
        world.run()
    world.hook(None)
    world.advance(90)
    world.observe()
    go_on(world, 8)
    assert len(world.ec2.running()) == MOST
    assert set(world.instances()) == {machine.instance_id for machine in world.ec2.running()}
    assert world.under(keys.INTENT_PREFIX) == []
