"""A fleet that is seen for the first time, all at once: few writes, and the same records as one by one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lambdas.adapters import keys
from lambdas.control.observe import RESERVE, TOGETHER_LEAST
from tests.observe.conftest import World, state_change


class Calls(Counter[str]):
    """A hook that counts what is asked of the table."""

    def before(self, operation: str, request: Mapping[str, Any]) -> None:
        self[operation.removeprefix("dynamodb.")] += 1

    def after(self, operation: str, request: Mapping[str, Any], response: Mapping[str, Any]) -> None: ...


def launched(world: World, count: int, **details: Any) -> Sequence[str]:
    names = [f"i-{number:03}" for number in range(count)]
    for name in names:
        world.record(name, **details)
        world.run(name)
    return names


def states(world: World, names: Sequence[str]) -> Counter[str | None]:
    return Counter(world.known(name).observed_state for name in names)


def test_what_lives_is_recorded_a_hundred_at_a_time(world: World) -> None:
    names = launched(world, 250)
    world.hook(calls := Calls())
    seen = world.tick()
    assert seen is not None
    assert (seen.changed, states(world, names)) == (250, {"running": 250})
    assert calls["transact_write_items"] == 3
    assert calls["update_item"] < 20
    assert world.messages() == ["gpu"]


def test_of_a_few_each_is_written_by_itself_which_costs_half(world: World) -> None:
    names = launched(world, TOGETHER_LEAST - 1)
    world.hook(calls := Calls())
    world.tick()
    assert states(world, names) == {"running": TOGETHER_LEAST - 1}
    assert calls["transact_write_items"] == 0


def test_one_that_an_event_ended_meanwhile_keeps_its_end_and_holds_no_other_up(world: World) -> None:
    names = launched(world, 60)
    world.ec2.on_describe = lambda: world.hear(state_change("i-007", "terminated", world.clock()))
    seen = world.tick()
    assert seen is not None
    assert states(world, names) == {"running": 59, "terminated": 1}
    assert seen.changed == 59


def test_one_that_was_forgotten_meanwhile_stays_forgotten(world: World) -> None:
    names = launched(world, 60)
    world.ec2.on_describe = lambda: world.table.delete(keys.pool("gpu"), keys.instance("i-007"))
    world.tick()
    assert world.instance("i-007") is None
    assert states(world, [name for name in names if name != "i-007"]) == {"running": 59}


def test_those_that_end_drain_and_are_counted_as_ever(world: World) -> None:
    names = launched(world, 60)
    for name in names[:30]:
        world.run(name, state="shutting-down", state_reason="Server.SpotInstanceTermination")
    seen = world.tick()
    assert seen is not None
    assert states(world, names) == {"running": 30, "shutting-down": 30}
    assert all(world.known(name).draining_since is not None for name in names[:30])
    assert seen.interrupted == ("gpu",) * 30


def test_without_time_for_it_nothing_is_recorded_together(world: World) -> None:
    launched(world, 60)
    world.hook(calls := Calls())
    seen = world.tick(lambda: RESERVE / 2)
    assert seen is not None
    assert not seen.complete
    assert (calls["transact_write_items"], seen.changed) == (0, 1)
