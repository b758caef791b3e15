"""The clock: one tick at a time, going on where another stopped, telling what is due, at a fixed price when idle."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters import keys
from lambdas.adapters.faults import Unavailable
from lambdas.adapters.table import decode
from lambdas.control.observe import RESERVE
from lambdas.control.tick import IDLE_CALLS, tick
from lambdas.domain.instants import to_text
from lowtide.sim.calls import FailNext, KillAt, Killed, Recorder, Request, aws_error
from tests.observe.conftest import MINUTE, PLENTY, World


def seconds_left(*seconds: float) -> Callable[[], timedelta]:
    """What remains at each question; the last for ever."""
    given: Iterator[float] = iter(seconds)
    last = [seconds[-1]]
    return lambda: timedelta(seconds=next(given, last[0]))


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


def test_a_lease_that_ran_out_is_nobodys(world: World) -> None:
    world.hook(Dead(call=4, after_effect=True))
    with pytest.raises(Killed):
        world.tick()
    world.hook(None)
    assert tick(world.works(), "at once", lambda: PLENTY) is None
    assert world.tick() is not None


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


# --- killed, failed, out of time ---


class Dead(KillAt):
    """Kills at a call, and whatever the dying process still tries: a killed Lambda runs no `finally`."""

    def before(self, operation: str, request: Request) -> None:
        super().before(operation, request)
        if self.seen > self.call:
            raise Killed(operation)


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
    refused = aws_error("DescribeInstances", "InvalidNextToken", "The token is not valid")
    world.hook(FailNext(errors={"ec2.describe_instances": [refused]}))
    with pytest.raises(Exception, match="InvalidNextToken"):
        world.tick()
    world.hook(None)
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


# --- metrics ---


ALWAYS = {
    names.METRIC_TICKS,
    names.METRIC_UNFULFILLED_TOO_LONG,
    names.METRIC_BLOCKED,
    names.METRIC_PARKED,
    names.METRIC_UNKNOWN_ERRORS,
}


def test_when_nothing_goes_on_only_what_alarms_read_is_told(world: World) -> None:
    world.tick()
    told = world.told()
    assert {name for (name,) in told} == ALWAYS
    assert told[names.METRIC_TICKS,] == [1]
    assert all(told[name,] == [0] for name in ALWAYS - {names.METRIC_TICKS})


def test_totals_are_summed_over_the_pools(world: World) -> None:
    world.clock.advance(MINUTE)
    oldest = to_text(world.clock())
    world.conclude("a", due=world.clock(), desired=2, queued_jobs=3, oldest_queued_at=oldest, hourly_cost_usd="0.10")
    world.conclude("b", due=world.clock(), desired=1, queued_jobs=0, hourly_cost_usd="0.25", running=1)
    world.tick()
    told = world.told()
    assert told[names.METRIC_DESIRED,] == [3]
    assert told[names.METRIC_RUNNING,] == [1]
    assert told[names.METRIC_QUEUED_JOBS,] == [3]
    assert told[names.METRIC_OLDEST_QUEUED_AGE,] == [60]
    assert told[names.METRIC_HOURLY_COST,] == [0.35]


def test_instances_of_pools_at_rest_are_in_the_totals(world: World) -> None:
    world.conclude("gpu", due=None, desired=1, running=1, hourly_cost_usd="0.50")
    world.record("i-1", observed_state="running")
    world.run("i-1")
    world.tick()
    assert world.told()[names.METRIC_HOURLY_COST,] == [0.5]


def test_totals_end_with_one_zero(world: World) -> None:
    world.conclude("gpu", due=world.clock() + MINUTE * 5, desired=2)
    world.tick()
    assert world.told()[names.METRIC_DESIRED,] == [2]
    world.passed("gpu")
    world.tick()
    assert world.told()[names.METRIC_DESIRED,] == [0]
    world.tick()
    assert (names.METRIC_DESIRED,) not in world.told()


def test_a_pool_is_unfulfilled_too_long_from_the_instant_its_pass_named(world: World) -> None:
    alarm_at = to_text(world.clock() + MINUTE * 2)
    world.conclude("gpu", due=world.clock() + MINUTE * 9, unfulfilled=1, unfulfilled_alarm_at=alarm_at)
    world.conclude("never", due=world.clock() + MINUTE * 9, unfulfilled=1)
    counts: list[int] = []
    for _ in range(3):
        world.tick()
        counts += world.told()[names.METRIC_UNFULFILLED_TOO_LONG,]
    assert counts == [0, 1, 1]


def test_a_pool_that_misses_nothing_any_more_is_not_unfulfilled(world: World) -> None:
    world.conclude("gpu", due=world.clock(), unfulfilled=0, unfulfilled_alarm_at=to_text(world.clock()))
    world.tick()
    assert world.told()[names.METRIC_UNFULFILLED_TOO_LONG,] == [0]


def test_blocked_pools_and_parked_messages_are_counted(world: World) -> None:
    world.conclude("a", due=world.clock(), blocked=True)
    world.conclude("b", due=world.clock(), blocked=False)
    for number in range(3):
        world.table.put({"pk": keys.PARKED, "sk": f"2026#{number}"})
    world.tick()
    told = world.told()
    assert told[names.METRIC_BLOCKED,] == [1]
    assert told[names.METRIC_PARKED,] == [3]


def test_the_reserve_is_left_for_what_comes_after_the_look(world: World) -> None:
    world.ec2.page_size = 1
    for number in range(3):
        world.run(f"i-{number}")
    seen = world.tick(seconds_left(55, RESERVE.total_seconds()))
    assert seen is not None
    assert seen.complete


def test_the_record_of_the_tick_says_that_it_came_to_its_end(world: World) -> None:
    world.tick()
    record = next(decode(i) for i in world.dynamodb.everything("t") if decode(i)["sk"] == keys.TICK)
    assert record["holder"] == ""
