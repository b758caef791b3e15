"""EC2's news: what is recorded, what is dropped, and that nothing late undoes what is newer."""

from datetime import timedelta
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters import keys
from lambdas.domain.fleet.ec2_events import Ignored, parse
from lambdas.domain.fleet.fleet import InstanceState
from lowtide.sim.calls import FailNext, KillAt, Killed, Recorder, aws_error
from lowtide.sim.clock import START
from tests.observe.conftest import MINUTE, World, rebalance, state_change, warning


def test_a_warning_drains_the_instance_and_says_when_it_ends(world: World) -> None:
    world.record("i-1", idle_since=world.clock())
    world.hear(warning("i-1", world.clock()))
    known = world.known("i-1")
    assert known.state is InstanceState.DRAINING
    assert known.ends_at == world.clock() + timedelta(minutes=2)
    assert known.draining_since == world.clock()
    assert world.messages() == ["gpu"]
    assert world.told() == {(names.METRIC_INTERRUPTIONS,): [1], (names.METRIC_INTERRUPTIONS, "gpu"): [1]}


def test_a_warning_delivered_late_still_names_the_true_end(world: World) -> None:
    world.record("i-1")
    said_at = world.clock()
    world.clock.advance(timedelta(seconds=100))
    world.hear(warning("i-1", said_at))
    assert world.known("i-1").ends_at == said_at + timedelta(minutes=2)


@pytest.mark.parametrize("action", ["terminate", "stop", "hibernate"])
def test_an_instance_is_lost_whatever_ec2_does_with_it(world: World, action: str) -> None:
    world.record("i-1")
    world.hear(warning("i-1", world.clock(), action=action))
    assert world.known("i-1").state is InstanceState.DRAINING


def test_a_warning_that_comes_twice_is_one_interruption_and_one_message(world: World) -> None:
    world.record("i-1")
    event = warning("i-1", world.clock())
    world.hear(event)
    once = world.known("i-1")
    world.hear(event)
    assert world.known("i-1") == once
    assert world.messages() == ["gpu"]
    assert world.told()[names.METRIC_INTERRUPTIONS,] == [1]


def test_a_warning_that_its_worker_told_of_first_is_counted_once(world: World) -> None:
    """The worker looks every few seconds, and its metadata names the end to the second: it is often first."""
    world.record("i-1", ends_at=world.clock() + MINUTE, state=InstanceState.DRAINING, drain_reason="interruption")
    world.hear(warning("i-1", world.clock()))
    world.hear(warning("i-1", world.clock(), event_id="event-again"))
    assert world.known("i-1").ends_at == world.clock() + MINUTE
    assert world.told()[names.METRIC_INTERRUPTIONS,] == [1]


def test_a_second_warning_never_puts_the_end_off(world: World) -> None:
    world.record("i-1")
    first = world.clock()
    world.hear(warning("i-1", first))
    world.hear(warning("i-1", first + MINUTE, event_id="event-again"))
    assert world.known("i-1").ends_at == first + timedelta(minutes=2)


def test_a_warning_overrides_why_an_instance_was_draining_but_not_since_when(world: World) -> None:
    since = world.clock()
    world.record("i-1", state=InstanceState.DRAINING, draining_since=since, drain_reason="idle")
    world.clock.advance(MINUTE)
    world.hear(warning("i-1", world.clock()))
    known = world.known("i-1")
    assert known.draining_since == since
    assert known.drain_reason == "EC2 announced that it takes the spot instance back"


def test_the_lease_of_a_warned_instance_goes_on(world: World) -> None:
    world.record("i-1")
    world.table.put({"pk": keys.pool("gpu"), "sk": keys.lease("i-1", "job"), "job_id": "job"})
    world.hear(warning("i-1", world.clock()))
    assert world.item(keys.pool("gpu"), keys.lease("i-1", "job"))


def test_a_delivery_that_died_before_ringing_is_made_up_for_by_the_next(world: World) -> None:
    world.record("i-1")
    event = warning("i-1", world.clock())
    world.hook(KillAt(call=2, after_effect=True))  # the read, then the record
    with pytest.raises(Killed):
        world.hear(event)
    world.hook(None)
    assert world.messages() == []
    world.hear(event)
    assert world.messages() == ["gpu"]


def test_news_that_could_not_be_recorded_is_delivered_again(world: World) -> None:
    world.record("i-1")
    broken = aws_error("UpdateItem", "InternalServerError", "…", status=500)
    world.hook(FailNext(errors={"dynamodb.update_item": [broken]}))
    with pytest.raises(Exception, match="InternalServerError"):
        world.hear(warning("i-1", world.clock()))


def test_a_rebalance_recommendation_is_noted_and_nothing_drains(world: World) -> None:
    world.record("i-1")
    at = world.clock()
    world.hear(rebalance("i-1", at))
    world.hear(rebalance("i-1", at + MINUTE, event_id="event-again"))
    known = world.known("i-1")
    assert (known.rebalance_at, known.state) == (at, InstanceState.RUNNING)
    assert "gpu" in world.messages()
    assert world.told() == {}


@pytest.mark.parametrize("state", ["stopping", "stopped", "shutting-down", "terminated"])
def test_a_lost_instance_takes_no_new_job(world: World, state: str) -> None:
    world.record("i-1", observed_state="running")
    world.hear(state_change("i-1", state, world.clock()))
    known = world.known("i-1")
    assert (known.observed_state, known.state) == (state, InstanceState.DRAINING)
    assert world.messages() == ["gpu"]


def test_an_end_that_ec2_reports_out_of_order_stays_the_end(world: World) -> None:
    world.record("i-1", observed_state="running")
    at = world.clock()
    world.hear(state_change("i-1", "terminated", at + MINUTE, event_id="event-2"))
    world.hear(state_change("i-1", "shutting-down", at, event_id="event-1"))
    assert world.known("i-1").observed_state == "terminated"


def test_a_late_state_change_after_adoption_undoes_nothing(world: World) -> None:
    told_at = world.clock()
    world.clock.advance(MINUTE)
    world.run("i-1")
    world.tick()
    adopted = world.known("i-1")
    world.hear(state_change("i-1", "stopping", told_at))
    assert world.known("i-1") == adopted


def test_an_end_reported_with_whole_seconds_beats_an_observation_of_the_same_second(world: World) -> None:
    """Event times have no fractions: an end may look older than the look that still saw the instance run."""
    at = world.clock()
    world.record("i-1", observed_state="running", observed_at=at + timedelta(milliseconds=700))
    world.hear(state_change("i-1", "shutting-down", at))
    assert world.known("i-1").observed_state == "shutting-down"


def test_a_spot_instance_that_ends_without_a_warning_is_an_interruption(world: World) -> None:
    world.record("i-1", observed_state="running")
    world.hear(state_change("i-1", "shutting-down", world.clock()))
    world.hear(state_change("i-1", "terminated", world.clock(), event_id="event-2"))
    assert world.told()[names.METRIC_INTERRUPTIONS,] == [1]


def test_an_interruption_with_a_warning_counts_once(world: World) -> None:
    world.record("i-1", observed_state="running")
    world.hear(warning("i-1", world.clock()))
    world.clock.advance(MINUTE * 2)
    world.hear(state_change("i-1", "shutting-down", world.clock()))
    assert world.told()[names.METRIC_INTERRUPTIONS,] == [1]


@pytest.mark.parametrize("event", [rebalance, lambda i, at: state_change(i, "terminated", at)])
def test_news_of_strangers_is_dropped_after_one_read(world: World, event: Any) -> None:
    world.hook(recorder := Recorder())
    world.hear(event("i-stranger", world.clock()))
    assert recorder.calls == ["dynamodb.query"]


def test_a_strangers_warning_is_kept_for_its_memory_only(world: World) -> None:
    world.hear(warning("i-stranger", world.clock()))
    kept = world.item(keys.news("i-stranger"), keys.WARNING)
    assert kept is not None
    assert kept["expires_at"] == int((world.clock() + world.settings.warning_memory).timestamp())
    assert world.messages() == []


def test_an_instance_that_starts_costs_no_read_at_all(world: World) -> None:
    world.hook(recorder := Recorder())
    world.hear(state_change("i-1", "running", world.clock()))
    assert recorder.calls == []


def test_an_id_that_only_begins_like_one_of_ours_is_not_ours(world: World) -> None:
    world.record("i-12")
    world.hear(state_change("i-1", "terminated", world.clock()))
    assert world.known("i-12").observed_state is None


GOOD = warning("i-1", START)


@pytest.mark.parametrize(
    "event",
    [
        None,
        "EC2 Spot Instance Interruption Warning",
        {},
        {**GOOD, "source": "aws.health"},
        {**GOOD, "detail-type": "EC2 Instance Dream Notification"},
        {**GOOD, "detail": None},
        {**GOOD, "detail": {"instance-action": "terminate"}},
        {**GOOD, "detail": {"instance-id": 7, "instance-action": "terminate"}},
        {**GOOD, "detail": {"instance-id": "i-1", "instance-action": "dance"}},
        {**GOOD, "time": "yesterday"},
        {**GOOD, "time": "2026-01-05T09:00:00"},
        {**GOOD, "time": None},
        {**GOOD, "id": None},
        state_change("i-1", "dreaming", START),
    ],
)
def test_what_is_no_news_is_dropped_with_a_word_and_no_exception(
    world: World, event: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world.record("i-1")
    world.hook(recorder := Recorder())
    world.hear(event)
    assert recorder.calls == []
    assert isinstance(parse(event), Ignored)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
