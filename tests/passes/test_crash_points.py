"""A pass is killed before and after each of its AWS calls; messages and ticks then go on as usual.

The scenarios together make every kind of call that a pass makes; the calls are counted by a recorder, not by hand.
"""

from collections.abc import Callable
from datetime import timedelta

import pytest
from botocore.exceptions import ReadTimeoutError

from lambdas.adapters import keys
from lambdas.domain.instants import to_text
from lowtide.sim.calls import FailNext, KillAt, Killed, Recorder
from tests.passes.world import World, changed, pool

MOST = 2


def launch(**ec2: object) -> World:
    world = World(**ec2)
    world.apply(pool(max_instances=MOST))
    world.enqueue(5)
    return world


def partial_refusal() -> World:
    return launch(errors={("c7i.large", "subnet-a"): ("InsufficientInstanceCapacity", "There is no Spot capacity")})


def repeat() -> World:
    world = launch()
    world.hook(FailNext(lost={"ec2.create_fleet": [ReadTimeoutError(endpoint_url="https://ec2")]}))
    world.run()
    return world


def close() -> World:
    world = repeat()
    world.hook(None)
    for _ in range(3):
        world.advance(70)
        world.observe()
    return world


def wrong_lifecycle() -> World:
    return launch(comes_as="on-demand")


def scale_in() -> World:
    world = launch()
    world.run()
    world.clear_queue()
    for instance_id in world.instances():
        world.report(instance_id)
    world.advance(21 * 60)
    for instance_id in world.instances():
        world.table.update(
            keys.pool("cpu"),
            keys.instance(instance_id),
            "SET heartbeat_at = :now",
            values={":now": to_text(world.clock())},
        )
    return world


def gone() -> World:
    world = scale_in()
    world.run()
    world.advance(60)
    world.observe()
    return world


def deleted() -> World:
    world = World()
    applied = world.apply(pool())
    world.apply(changed(applied, deleted=True))
    return world


SCENARIOS: dict[str, Callable[[], World]] = {
    scenario.__name__: scenario
    for scenario in (launch, partial_refusal, repeat, close, wrong_lifecycle, scale_in, gone, deleted)
}


def calls_of(scenario: str) -> list[str]:
    world, recorder = SCENARIOS[scenario](), Recorder()
    world.hook(recorder)
    world.run()
    return recorder.calls


RECORDED = {scenario: calls_of(scenario) for scenario in SCENARIOS}
POINTS = [
    (scenario, call, after)
    for scenario, calls in RECORDED.items()
    for call in range(1, len(calls) + 1)
    for after in (False, True)
]


def killed(scenario: str, call: int, after: bool) -> World:
    world = SCENARIOS[scenario]()
    world.hook(KillAt(call, after_effect=after))
    with pytest.raises(Killed):
        world.run()
    world.hook(None)
    return world


def go_on(world: World, minutes: int) -> None:
    """Redelivery, then a tick a minute: observe, then a pass where the pool is due."""
    world.run()
    for _ in range(minutes):
        world.clock.advance(timedelta(minutes=1))
        world.observe()
        due = world.state().get("gsk")
        if due is not None and due <= to_text(world.clock()):
            world.run()
        assert world.ec2.most_at_once <= MOST


def assert_agreement(world: World) -> None:
    """What the table says is what EC2 has, and nothing is left open."""
    alive = {machine.instance_id for machine in world.ec2.running()}
    assert alive <= set(world.instances())
    assert world.under(keys.INTENT_PREFIX) == []


def test_the_scenarios_make_every_kind_of_call() -> None:
    made = {call for calls in RECORDED.values() for call in calls}
    assert made >= {
        *("dynamodb.update_item", "dynamodb.query", "dynamodb.batch_get_item", "dynamodb.get_item"),
        *("dynamodb.put_item", "dynamodb.delete_item", "dynamodb.transact_write_items"),
        *("ec2.create_fleet", "ec2.terminate_instances", "ec2.describe_spot_price_history", "ssm.get_parameters"),
    }
    print(f"crash points of a pass: {len(POINTS)} in {len(SCENARIOS)} scenarios")


@pytest.mark.parametrize(("scenario", "call", "after"), POINTS)
def test_a_pass_killed_anywhere_is_made_up_for_and_never_exceeds_the_maximum(
    scenario: str, call: int, after: bool
) -> None:
    world = killed(scenario, call, after)
    go_on(world, 8)
    assert_agreement(world)
    match scenario:
        case "launch" | "partial_refusal" | "repeat" | "close":
            assert len(world.ec2.running()) == MOST
        case "scale_in" | "gone":
            assert world.ec2.running() == []
            assert "gsk" not in world.state(), "at rest"
        case "deleted":
            assert world.dynamodb.everything("t") == []
        case _:
            assert world.ec2.running() == []


@pytest.mark.parametrize(("scenario", "call", "after"), [p for p in POINTS if p[0] in ("launch", "repeat")])
def test_a_launch_whose_repetition_comes_too_late_is_adopted_and_closed(scenario: str, call: int, after: bool) -> None:
    world = killed(scenario, call, after)
    world.advance(90)
    world.observe()
    go_on(world, 8)
    assert_agreement(world)
    assert len(world.ec2.running()) == MOST
