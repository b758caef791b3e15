"""The clock: one tick at a time, telling the pools that are due, at a fixed price when idle."""

from typing import Any

import pytest

from lambdas import names
from lambdas.adapters import keys
from lambdas.adapters.faults import Unavailable
from lambdas.adapters.table import decode
from lambdas.control.tick import IDLE_CALLS, tick
from lowtide.sim.calls import Recorder
from tests.observe.conftest import MINUTE, PLENTY, World

# --- one at a time ---


def test_of_two_ticks_at_once_one_works(world: World) -> None:
    world.run("i-1")
    inner: list[Any] = []
    world.ec2.on_describe = lambda: inner.append(tick(world.works(), "event-2", lambda: PLENTY))
    seen = world.tick()
    assert inner == [None]
    assert seen is not None
    assert seen.adopted == ("i-1",)
    assert world.told()[names.METRIC_TICKS,] == [1]


def test_the_same_event_delivered_again_does_nothing_twice(world: World) -> None:
    world.run("i-1")
    world.conclude("cpu", due=world.clock())
    for _ in range(3):
        assert tick(world.works(), "event-1", lambda: PLENTY) is not None
    assert sorted(world.messages()) == ["cpu", "gpu"]


def test_a_tick_that_lost_its_lease_releases_nothing(world: World) -> None:
    clockwork = world.works().clockwork
    first = clockwork.take("one", now=world.clock(), until=world.clock() + MINUTE)
    world.clock.advance(MINUTE)
    assert clockwork.take("two", now=world.clock(), until=world.clock() + MINUTE) is not None
    assert first is not None
    assert not clockwork.release("one", first.memory, now=world.clock())
    assert clockwork.take("three", now=world.clock(), until=world.clock() + MINUTE) is None


def test_the_record_of_the_tick_says_that_it_came_to_its_end(world: World) -> None:
    world.tick()
    record = next(decode(i) for i in world.dynamodb.everything("t") if decode(i)["sk"] == keys.TICK)
    assert record["holder"] == ""


# --- what is due ---


def test_pools_that_are_due_are_told_and_others_are_not(world: World) -> None:
    world.conclude("now", due=world.clock())
    world.conclude("later", due=world.clock() + MINUTE * 10)
    world.conclude("resting", due=None)
    world.tick()
    assert world.messages() == ["now"]


def test_a_pool_that_stays_due_is_told_by_every_tick(world: World) -> None:
    world.conclude("stuck", due=world.clock())
    for _ in range(3):
        world.tick()
    assert world.messages() == ["stuck"] * 3


def test_a_pool_that_is_due_and_changed_gets_one_message(world: World) -> None:
    world.conclude("gpu", due=world.clock())
    world.run("i-1")
    world.tick()
    assert world.messages() == ["gpu"]


def test_messages_go_ten_a_call(world: World) -> None:
    for number in range(25):
        world.conclude(f"pool-{number}", due=world.clock())
    world.hook(recorder := Recorder())
    world.tick()
    assert recorder.calls.count("sqs.send_message_batch") == 3
    assert len(world.messages()) == 25


def test_a_message_that_sqs_refuses_fails_the_tick(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.conclude("gpu", due=world.clock())
    monkeypatch.setattr(world.sqs, "send_message_batch", lambda **_: {"Failed": [{"Id": "0", "Code": "Throttled"}]})
    with pytest.raises(Unavailable, match="refused 1 of 1"):
        world.tick()


# --- the price of nothing ---


def idle_calls(pools: int, instances: int = 0) -> list[str]:
    world = World()
    for number in range(pools):
        world.add_pool(f"pool-{number}")
        world.conclude(f"pool-{number}", due=None, running=instances)
        for each in range(instances):
            world.run(f"i-{number}-{each}", pool=f"pool-{number}")
            world.record(f"i-{number}-{each}", pool=f"pool-{number}", observed_state="running")
    world.tick()
    world.hook(recorder := Recorder())
    world.tick()
    return recorder.calls


def test_an_idle_minute_costs_the_same_for_one_pool_and_for_a_hundred() -> None:
    assert idle_calls(1) == idle_calls(100)
    assert len(idle_calls(100)) == IDLE_CALLS


def test_resting_pools_with_instances_cost_one_call_more() -> None:
    assert len(idle_calls(1, instances=1)) == len(idle_calls(100, instances=1)) == IDLE_CALLS + 1
