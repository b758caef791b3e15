"""One look at EC2: what is adopted, what is recorded, what is gone, and what is left alone."""

from datetime import timedelta
from decimal import Decimal

import pytest

from lambdas import names
from lambdas.adapters import keys
from lambdas.domain.fleet import observed
from lambdas.domain.fleet.fleet import InstanceState
from lambdas.domain.fleet.observed import is_gone
from lowtide.sim.clock import START
from tests.observe.conftest import MINUTE, World, state_change, warning
from tests.observe.scripted_ec2 import tags


def test_an_unknown_instance_of_ours_is_adopted_into_the_pool_its_tag_names(world: World) -> None:
    world.run("i-1", launched_at=world.clock(), lifecycle="spot")
    seen = world.tick()
    adopted = world.known("i-1")
    assert seen is not None
    assert seen.adopted == ("i-1",)
    assert (adopted.pool, adopted.decision, adopted.state) == ("gpu", "d-1", InstanceState.LAUNCHING)
    assert (adopted.slots, adopted.observed_state, adopted.capacity_type) == (3, "running", "spot")
    assert world.messages() == ["gpu"]


def test_an_adopted_instance_counts_on_its_intention_once(world: World) -> None:
    world.intend("d-1", count=2)
    world.run("i-1")
    world.tick()
    world.tick()
    intention = world.observations.intention("gpu", "d-1")
    assert intention is not None
    assert intention.adopted == 1
    assert world.known("i-1").price_limit == Decimal("0.35")


def test_an_instance_of_a_pool_whose_record_cannot_be_read_is_left_alone_and_delays_no_other(world: World) -> None:
    world.table.put({"pk": keys.pool("bad"), "sk": keys.CONFIG, "pool": "bad", "document": {}})
    world.run("i-0", pool="bad")
    world.run("i-1")
    seen = world.tick()
    assert seen is not None
    assert (seen.adopted, seen.orphans, seen.complete) == (("i-1",), (), True)


def test_adoption_into_an_intention_that_closes_meanwhile_still_records_the_instance(world: World) -> None:
    intention = world.intend("d-1")
    world.table.delete(keys.pool("gpu"), keys.intent("d-1"))
    instance = world.record("i-9")
    world.table.delete(keys.pool("gpu"), keys.instance("i-9"))
    assert world.observations.adopt(instance, intention)
    assert world.known("i-9") == instance


def test_what_a_pass_recorded_meanwhile_is_not_adopted_over_it(world: World) -> None:
    world.dynamodb.index_delay = MINUTE * 5
    world.run("i-1")
    recorded = world.record("i-1", state=InstanceState.RUNNING, idle_since=world.clock())
    seen = world.tick()
    assert seen is not None
    assert seen.adopted == ()
    assert world.known("i-1") == recorded


def test_a_strangers_instance_is_never_touched(world: World) -> None:
    world.run("i-1", tags={})
    world.run("i-2", tags=tags("gpu", stack="Another"))
    world.run("i-3", tags={names.TAG_POOL: "gpu"})
    seen = world.tick()
    assert seen is not None
    assert not seen.adopted
    assert not world.ec2.terminated
    assert [item for item in world.everything() if item["sk"].startswith(keys.INSTANCE_PREFIX)] == []


@pytest.mark.parametrize("stack", [{}, {names.TAG_STACK: "SomebodyElses"}])
def test_a_strangers_instance_is_not_touched_where_ec2_ignores_the_filter(
    world: World, monkeypatch: pytest.MonkeyPatch, stack: dict[str, str]
) -> None:
    world.run("i-1", tags={names.TAG_POOL: "nowhere", **stack})
    answer = world.ec2.describe_instances
    monkeypatch.setattr(world.ec2, "describe_instances", lambda **request: answer(**{**request, "Filters": []}))
    world.tick()
    assert not world.ec2.terminated


@pytest.mark.parametrize("owner", [tags("nowhere"), {names.TAG_STACK: names.STACK}])
def test_an_instance_of_no_pool_is_ended_in_the_tick_that_sees_it(world: World, owner: dict[str, str]) -> None:
    world.run("i-1", tags=owner)
    seen = world.tick()
    assert seen is not None
    assert seen.orphans == ("i-1",)
    assert world.ec2.terminated == ["i-1"]
    assert world.messages() == []


def test_an_instance_of_no_pool_is_asked_to_end_until_it_does(world: World) -> None:
    world.run("i-1", tags=tags("nowhere"))
    world.ec2.refuse_to_end = "RequestLimitExceeded"
    world.tick()
    world.ec2.refuse_to_end = None
    world.tick()
    world.tick()
    assert world.ec2.terminated == ["i-1"]


def test_an_adopted_instance_that_its_pool_cannot_use_drains(world: World) -> None:
    world.run("i-1", instance_type="x9.mega")
    world.tick()
    adopted = world.known("i-1")
    assert (adopted.state, adopted.slots) == (InstanceState.DRAINING, 0)
    assert adopted.drain_reason == "the pool does not use x9.mega"


@pytest.mark.parametrize("state", ["shutting-down", "terminated"])
def test_an_unknown_instance_that_ends_is_left_to_end(world: World, state: str) -> None:
    world.run("i-1", state=state)
    world.tick()
    assert world.instance("i-1") is None


def test_a_terminated_instance_that_ec2_still_lists_is_recorded_once(world: World) -> None:
    world.record("i-1", observed_state="running")
    world.run("i-1", state="terminated")
    first, second = world.tick(), world.tick()
    assert first is not None
    assert second is not None
    assert (first.changed, second.changed) == (1, 0)
    assert world.known("i-1").observed_state == "terminated"


def test_an_instance_that_ends_takes_no_new_job(world: World) -> None:
    world.record("i-1", observed_state="running")
    world.run("i-1", state="shutting-down")
    world.tick()
    known = world.known("i-1")
    assert known.state is InstanceState.DRAINING
    assert known.drain_reason == "EC2 reports it shutting-down"


def test_an_unchanged_world_is_written_nowhere_but_in_the_ticks_own_records(world: World) -> None:
    world.record("i-1")
    world.run("i-1")
    world.tick()
    world.passed("gpu")
    before = [item for item in world.everything() if item["pk"] != keys.STACK]
    world.tick()
    world.tick()
    assert [item for item in world.everything() if item["pk"] != keys.STACK] == before
    assert world.messages() == []


def test_an_observation_older_than_the_record_does_not_overwrite(world: World) -> None:
    known = world.record("i-1", observed_state="running", observed_at=world.clock() + MINUTE * 2)
    world.run("i-1", state="stopped")
    seen = world.tick()
    assert seen is not None
    assert seen.changed == 0
    assert world.known("i-1") == known


def test_an_end_that_was_reported_is_never_undone_by_a_late_describe(world: World) -> None:
    world.record("i-1", observed_state="shutting-down", observed_at=world.clock())
    world.run("i-1", state="running")
    world.tick()
    assert world.known("i-1").observed_state == "shutting-down"


def test_news_that_comes_while_describe_answers_survives_the_answer(world: World) -> None:
    """Describe says running, the event that says otherwise arrives before the answer is written."""
    world.record("i-1", observed_state="pending")
    world.run("i-1", state="running")

    def news() -> None:
        known = world.observations.known("i-1")
        assert known is not None
        world.observations.record_state(known, "terminated", at=world.clock(), now=world.clock())

    world.ec2.on_describe = news
    world.tick()
    assert world.known("i-1").observed_state == "terminated"


# --- gone ---


def test_a_new_instance_that_describe_omits_is_not_gone(world: World) -> None:
    world.record("i-1")
    for _ in range(4):
        world.tick()
    assert world.known("i-1").observed_state is None


def test_an_instance_is_gone_after_its_grace_and_two_complete_observations(world: World) -> None:
    world.record("i-1", launched_at=world.clock() - world.settings.unseen_grace)
    world.tick()
    assert world.known("i-1").observed_state is None
    world.tick()
    assert world.known("i-1").observed_state == "gone"
    assert world.messages() == ["gpu"]


def test_two_misses_count_only_in_a_row(world: World) -> None:
    world.record("i-1", launched_at=world.clock() - world.settings.unseen_grace)
    machine = world.run("i-1", listed=False)
    world.tick()
    machine.listed = True
    world.tick()
    machine.listed = False
    world.tick()
    assert world.known("i-1").observed_state == "running"


@pytest.mark.parametrize("state", ["shutting-down", "terminated"])
def test_an_instance_whose_end_was_seen_is_gone_at_once(world: World, state: str) -> None:
    world.record("i-1", observed_state=state, observed_at=world.clock())
    world.tick()
    assert world.known("i-1").observed_state == "gone"


def test_a_gone_instance_that_ec2_lists_as_terminated_after_all_is_no_news(world: World) -> None:
    world.record("i-1", observed_state="gone", observed_at=world.clock())
    world.run("i-1", state="terminated")
    world.tick()
    assert world.known("i-1").observed_state == "gone"
    assert world.messages() == []


def test_an_instance_that_comes_back_into_the_list_is_there_again(world: World) -> None:
    world.record("i-1", launched_at=world.clock() - MINUTE * 60)
    world.tick()
    world.tick()
    world.run("i-1")
    world.tick()
    assert world.known("i-1").observed_state == "running"


def test_a_forgotten_instance_is_not_written_again(world: World) -> None:
    """The list lags: it still shows what a pass has dropped."""
    world.record("i-1", observed_state="terminated", observed_at=world.clock())
    world.dynamodb.index_delay = MINUTE * 30
    assert world.observations.fleet()
    world.table.delete(keys.pool("gpu"), keys.instance("i-1"))
    world.tick()
    assert world.instance("i-1") is None


# --- intentions ---


def test_only_observations_that_began_well_after_an_intention_count_for_closing_it(world: World) -> None:
    intention = world.intend(count=1)
    cleaned: list[int] = []
    for _ in range(5):
        world.tick()
        found = world.observations.intention("gpu", intention.intention_id)
        assert found is not None
        cleaned.append(found.clean_observations)
    # not_after is a minute after the start, the margin another: the third tick begins a minute after that
    assert cleaned == [0, 0, 1, 2, 3]


def test_the_pool_hears_of_an_observation_that_may_close_its_intention(world: World) -> None:
    world.intend()
    world.clock.advance(MINUTE * 5)
    world.tick()
    assert world.messages() == ["gpu"]


def test_an_observation_counts_once_for_an_intention(world: World) -> None:
    world.intend()
    world.clock.advance(MINUTE * 5)
    now = world.clock()
    assert world.observations.count_clean(started_at=now, before=now) == ["gpu"]
    assert world.observations.count_clean(started_at=now, before=now) == []


# --- warnings that came first ---


def test_a_warning_for_an_unknown_id_is_applied_when_the_instance_is_adopted(world: World) -> None:
    world.clock.advance(MINUTE)
    warned_at = world.clock()
    world.hear(warning("i-1", warned_at))
    world.run("i-1")
    world.tick()
    adopted = world.known("i-1")
    assert adopted.state is InstanceState.DRAINING
    assert adopted.ends_at == warned_at + world.settings.warning_lead
    assert world.told()[names.METRIC_INTERRUPTIONS, "gpu"] == [1]


def test_a_warning_that_met_no_record_is_applied_by_the_next_tick_though_describe_omits_the_instance(
    world: World,
) -> None:
    world.hear(warning("i-1", world.clock()))
    world.record("i-1")
    world.tick()
    assert world.known("i-1").state is InstanceState.DRAINING
    assert world.messages() == ["gpu"]


def test_a_kept_warning_is_used_once(world: World) -> None:
    world.hear(warning("i-1", world.clock()))
    world.run("i-1")
    world.tick()
    world.told()
    assert world.item(keys.news("i-1"), keys.WARNING) is None
    world.tick()
    assert not sum(world.told()[names.METRIC_INTERRUPTIONS,])


def test_a_warning_is_forgotten_after_its_memory(world: World) -> None:
    world.hear(warning("i-1", world.clock()))
    world.clock.advance(world.settings.warning_memory + world.settings.warning_lead)
    world.run("i-1")
    world.tick()
    assert world.known("i-1").state is InstanceState.LAUNCHING


# --- interruptions that nobody announced ---


def test_a_spot_instance_that_just_ends_is_counted_as_an_interruption(world: World) -> None:
    world.record("i-1", observed_state="running")
    world.run("i-1", state="terminated")
    world.tick()
    assert sum(world.told()[names.METRIC_INTERRUPTIONS,]) == 1


@pytest.mark.parametrize(
    "known",
    [
        {"capacity_type": "on-demand"},
        {"termination_requested_at": True},
        {"ends_at": True, "state": "draining", "draining_since": True},
    ],
    ids=["on-demand", "we asked for it", "announced"],
)
def test_an_end_that_was_no_surprise_is_not_counted(world: World, known: dict[str, object]) -> None:
    details = {name: world.clock() if value is True else value for name, value in known.items()}
    world.record("i-1", observed_state="running", **details)
    world.run("i-1", state="terminated")
    world.tick()
    assert not sum(world.told()[names.METRIC_INTERRUPTIONS,])


@pytest.mark.parametrize(
    ("reason", "taken"),
    [
        ("Client.InstanceInitiatedShutdown", False),
        ("Client.UserInitiatedShutdown", False),
        ("Server.SpotInstanceTermination", True),
        ("Server.SpotInstanceShutdown", True),
        ("Server.NobodyKnows", True),
        (None, True),
    ],
)
def test_only_an_end_that_somebody_else_wanted_is_no_interruption(
    world: World, reason: str | None, *, taken: bool
) -> None:
    world.record("i-1", observed_state="running")
    world.run("i-1", state="terminated", state_reason=reason)
    world.tick()
    assert sum(world.told()[names.METRIC_INTERRUPTIONS,]) == taken
    assert (observed.taken_at(world.known("i-1")) is not None) == taken


def test_an_end_that_an_event_told_of_first_is_not_ec2s_once_describe_says_whose_it_was(world: World) -> None:
    world.record("i-1", observed_state="running")
    world.hear(state_change("i-1", "terminated", world.clock()))
    assert observed.taken_at(world.known("i-1")) is not None
    world.run("i-1", state="terminated", state_reason="Client.InstanceInitiatedShutdown")
    seen = world.tick()
    assert seen is not None
    assert (seen.changed, observed.taken_at(world.known("i-1"))) == (1, None)
    again = world.tick()
    assert again is not None
    assert again.changed == 0


def test_instances_beyond_one_page_are_all_seen(world: World) -> None:
    world.ec2.page_size = 7
    for number in range(30):
        world.run(f"i-{number:02d}")
    seen = world.tick()
    assert seen is not None
    assert len(seen.adopted) == 30
    assert seen.complete
    assert not [item for item in world.everything() if item["pk"].startswith("PAGES#")]


def test_what_status_shows_of_the_last_look_is_when_it_began(world: World) -> None:
    world.run("i-1")
    world.tick()
    record = world.item(keys.STACK, keys.OBSERVATION)
    assert record is not None
    assert record["instances"] == 1
    assert record["started_at"] <= record["completed_at"]


def test_grace_is_measured_at_the_start_of_the_observation() -> None:
    def gone(age: timedelta, *, missed_before: bool = True) -> bool:
        grace = timedelta(minutes=5)
        return is_gone("running", START, started_at=START + age, missed_before=missed_before, grace=grace)

    assert gone(timedelta(minutes=5))
    assert not gone(timedelta(minutes=4, seconds=59))
    assert not gone(timedelta(minutes=9), missed_before=False)
