"""A tick that is killed, fails or runs out of time: the next one goes on where it stopped, and nothing is lost."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters import keys
from lambdas.adapters.faults import Unavailable
from lambdas.control.observe import RESERVE
from lambdas.control.tick import tick
from lowtide.sim.calls import FailNext, KillAt, Killed, Recorder, Request, aws_error
from tests.observe.conftest import MINUTE, PLENTY, World


def seconds_left(*seconds: float) -> Callable[[], timedelta]:
    """What remains at each question; the last for ever."""
    given: Iterator[float] = iter(seconds)
    last = [seconds[-1]]
    return lambda: timedelta(seconds=next(given, last[0]))


class Dead(KillAt):
    """Kills at a call, and whatever the dying process still tries: a killed Lambda runs no `finally`."""

    def before(self, operation: str, request: Request) -> None:
        super().before(operation, request)
        if self.seen > self.call:
            raise Killed(operation)


def test_a_lease_that_ran_out_is_nobodys(world: World) -> None:
    world.hook(Dead(call=4, after_effect=True))
    with pytest.raises(Killed):
        world.tick()
    world.hook(None)
    assert tick(world.works(), "at once", lambda: PLENTY) is None
    assert world.tick() is not None


def counted(world: World, scene: Callable[[], None]) -> int:
    world.hook(recorder := Recorder())
    scene()
    world.hook(None)
    return len(recorder.calls)


def busy_world() -> World:
    """Something of everything: to adopt, to record, gone, warned, orphaned, intended, due; three pages."""
    world = World()
    world.add_pool()
    world.ec2.page_size = 3
    world.clock.advance(MINUTE * 60)
    for number in range(5):
        world.run(f"i-new-{number}", tags={**world.run("x").tags, names.TAG_DECISION: "d-open"})
    del world.ec2.machines["x"]
    world.run("i-orphan", tags={names.TAG_STACK: names.STACK, names.TAG_POOL: "nowhere"})
    world.record("i-old", launched_at=world.clock() - MINUTE * 30)
    world.run("i-old", state="terminated")
    world.record("i-gone", observed_state="shutting-down", launched_at=world.clock() - MINUTE * 30)
    world.intend("d-open", count=9, not_after=world.clock() - MINUTE * 5)
    world.conclude("cpu", due=world.clock())
    world.observations.remember_warning("i-new-1", world.clock() + MINUTE, until=world.clock() + MINUTE * 10)
    return world


def settled(world: World) -> dict[str, Any]:
    """What must not depend on where a tick was killed."""
    facts = {
        item["instance_id"]: (item["state"], item.get("observed_state"), item.get("ends_at"))
        for item in world.everything()
        if item["sk"].startswith(keys.INSTANCE_PREFIX)
    }
    intention = world.observations.intention("gpu", "d-open")
    assert intention is not None
    return {
        "instances": facts,
        "adopted": intention.adopted,
        "unseen": (world.item(keys.STACK, keys.TICK) or {})["unseen"],
        "orphan": world.ec2.machines["i-orphan"].state,
        "pages for ever": [i for i in world.everything() if i["pk"].startswith("PAGES#") and "expires_at" not in i],
        "news": [item for item in world.everything() if item["pk"].startswith("NEWS#")],
        "asked": sorted(set(world.messages())),
    }


def test_a_tick_killed_at_any_call_is_made_up_for_by_the_next() -> None:
    whole = busy_world()
    calls = counted(whole, lambda: whole.tick() and None)
    whole.tick()
    expected = settled(whole)
    assert expected["adopted"] == 5
    assert calls > 25
    for call in range(1, calls + 1):
        for after_effect in (False, True):
            world = busy_world()
            world.hook(Dead(call=call, after_effect=after_effect))
            with pytest.raises(Killed):
                world.tick()
            world.hook(None)
            world.tick()
            assert settled(world) == expected, f"killed {'after' if after_effect else 'before'} call {call}"


def test_a_look_that_runs_out_of_time_goes_on_in_the_next_tick_where_it_stopped(world: World) -> None:
    world.ec2.page_size = 10
    for number in range(40):
        world.record(f"i-{number:02d}", observed_state="running")
        world.run(f"i-{number:02d}")
    world.hook(recorder := Recorder())
    first = world.tick(seconds_left(55, 55, 5))  # the lease, the first page's end, the second's
    assert first is not None
    assert (first.complete, first.progress.pages) == (False, 2)
    second = world.tick()
    world.hook(None)
    assert second is not None
    assert second.complete
    assert second.progress.started_at == first.progress.started_at
    assert recorder.calls.count("ec2.describe_instances") == 4
    assert world.known("i-00").observed_state == "running"


def test_instances_of_pages_seen_before_the_interruption_are_not_missing_after_it(world: World) -> None:
    world.ec2.page_size = 10
    launched = world.clock() - MINUTE * 60
    for number in range(40):
        world.record(f"i-{number:02d}", observed_state="running", launched_at=launched)
        world.run(f"i-{number:02d}", launched_at=launched)
    for _ in range(2):
        world.tick(seconds_left(55, 55, 5))
        seen = world.tick()
        assert seen is not None
        assert not seen.missing


def test_a_page_whose_changes_take_too_long_is_begun_again_and_comes_to_its_end(world: World) -> None:
    for number in range(20):
        world.run(f"i-{number:02d}")
    first = world.tick(seconds_left(55, 55, 55, 5))
    assert first is not None
    assert not first.complete
    assert 0 < len(first.adopted) < 20
    assert world.messages() == ["gpu"]
    second = world.tick()
    assert second is not None
    assert second.complete
    assert len(first.adopted) + len(second.adopted) == 20


def test_an_incomplete_look_counts_for_nothing(world: World) -> None:
    world.ec2.page_size = 1
    world.intend(not_after=world.clock() - MINUTE * 10)
    world.record("i-gone", observed_state="terminated")
    for number in range(3):
        world.run(f"i-{number}")
    world.tick(seconds_left(55, 5))
    intention = world.observations.intention("gpu", "d-1")
    assert intention is not None
    assert intention.clean_observations == 0
    assert world.known("i-gone").observed_state == "terminated"
    assert world.item(keys.STACK, keys.OBSERVATION) is None


def test_an_incomplete_look_between_two_complete_ones_breaks_no_row(world: World) -> None:
    world.ec2.page_size = 1
    world.record("i-lost", launched_at=world.clock() - MINUTE * 60)
    for number in range(3):
        world.run(f"i-{number}")
    world.tick()
    world.tick(seconds_left(55, 5))
    assert world.known("i-lost").observed_state is None
    world.tick()
    assert world.known("i-lost").observed_state == "gone"


def test_a_look_begun_too_long_ago_is_begun_anew(world: World) -> None:
    world.ec2.page_size = 1
    for number in range(3):
        world.run(f"i-{number}")
    first = world.tick(seconds_left(55, 5))
    world.clock.advance(MINUTE * 20)
    second = world.tick()
    assert first is not None
    assert second is not None
    assert second.progress.started_at > first.progress.started_at
    assert second.complete


def test_a_token_that_ec2_refuses_does_not_stop_the_clock(world: World) -> None:
    world.ec2.page_size = 1
    for number in range(3):
        world.run(f"i-{number}")
    world.tick(seconds_left(55, 5))
    world.ec2.refuse_tokens = True
    with pytest.raises(Exception, match="InvalidNextToken"):
        world.tick()
    world.ec2.page_size = None
    seen = world.tick()
    assert seen is not None
    assert seen.complete


def test_where_ec2_fails_pools_that_are_due_are_told_all_the_same(world: World) -> None:
    world.conclude("cpu", due=world.clock(), blocked=True)
    failing = aws_error("DescribeInstances", "RequestLimitExceeded", "Request limit exceeded.", status=503)
    world.hook(FailNext(errors={"ec2.describe_instances": [failing]}))
    with pytest.raises(Unavailable):
        world.tick()
    world.hook(None)
    assert world.messages() == ["cpu"]
    told = world.told()
    assert told[names.METRIC_BLOCKED,] == [1]
    assert (names.METRIC_TICKS,) not in told


def test_a_failed_tick_leaves_its_lease_to_the_next_at_once(world: World) -> None:
    failing = aws_error("DescribeInstances", "UnauthorizedOperation", "You are not authorized.", status=403)
    world.hook(FailNext(errors={"ec2.describe_instances": [failing]}))
    with pytest.raises(Exception, match="UnauthorizedOperation"):
        world.tick()
    world.hook(None)
    assert tick(world.works(), "retry", lambda: PLENTY) is not None


def test_after_a_tick_that_did_not_come_to_its_end_every_pool_with_instances_is_told(world: World) -> None:
    """It may have written that an instance ended and died before it said so."""
    world.record("i-1", observed_state="running")
    world.run("i-1", state="terminated")
    world.hook(recorder := Recorder())
    world.tick()
    wrote = [n for n, call in enumerate(recorder.calls, 1) if call == "dynamodb.update_item"][1]
    world.passed("gpu")

    again = World()
    again.add_pool()
    again.record("i-1", observed_state="running")
    again.run("i-1", state="terminated")
    again.hook(Dead(call=wrote, after_effect=True))
    with pytest.raises(Killed):
        again.tick()
    again.hook(None)
    assert again.known("i-1").observed_state == "terminated"
    assert again.messages() == []
    again.tick()
    assert again.messages() == ["gpu"]


def test_ten_thousand_instances_are_seen_within_two_ticks(world: World) -> None:
    for number in range(10_000):
        world.run(f"i-{number:05d}")
    launched = world.clock()
    taken = [0.0]

    def left() -> timedelta:  # 5 ms for each adoption
        taken[0] += 0.005
        return PLENTY - timedelta(seconds=taken[0])

    complete, ticks = False, 0
    while not complete:
        taken[0], ticks = 0.0, ticks + 1
        seen = world.tick(left)
        assert seen is not None
        complete = seen.complete
    assert ticks == 2
    assert len(world.observations.fleet()) == 10_000
    assert world.known("i-09999").launched_at == launched


def test_the_reserve_is_left_for_what_comes_after_the_look(world: World) -> None:
    world.ec2.page_size = 1
    for number in range(3):
        world.run(f"i-{number}")
    seen = world.tick(seconds_left(55, RESERVE.total_seconds()))
    assert seen is not None
    assert seen.complete
