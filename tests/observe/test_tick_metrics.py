"""What a tick tells CloudWatch: what alarms read at every tick, totals only while anything goes on."""

from lambdas import names
from lambdas.adapters import keys
from lambdas.domain.instants import to_text
from tests.observe.conftest import MINUTE, World

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
