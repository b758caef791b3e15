"""Jobs with a deadline in the ledger: what attempts keep, what their kind learns, who is given a kept instance."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters import items, keys
from lambdas.adapters.launch_table import LaunchTable, Superseded
from lambdas.domain.fleet.fleet import Lease
from lambdas.domain.instants import to_text
from lambdas.domain.jobs.work import EstimateFrom
from tests.ledger.world import World

HOUR = timedelta(hours=1)
TOLD = {"ran_seconds": "60.5", "saved_seconds": "50.25", "progress": "0.5", "saved_progress": "0.4"}


def timely(world: World, job_id: str = "job", **fields: Any) -> None:
    world.job(job_id, **{"deadline": world.clock() + 9 * HOUR, "estimated_duration": HOUR, **fields})


def lease(world: World, instance: str, job_id: str = "job") -> Lease:
    item = world.table.get(keys.pool("gpu"), keys.lease(instance, job_id))
    assert item is not None
    return items.lease_from(item)


def beat(world: World, instance: str, standing: Any = None) -> dict[str, Any]:
    named = {"job_id": "job", "fence": 1, "standing": standing}
    return world.call(names.API_HEARTBEAT, instance, {"leases": [named], "notice": None})


def claimed(world: World, **fields: Any) -> str:
    timely(world, **fields)
    instance = world.instance()
    world.claim(instance)
    return instance


def test_the_message_reaches_record_queue_entry_and_lease(world: World) -> None:
    world.take(world.message(id="job", deadline="2026-01-06T00:00:00Z", estimated_duration="90m"))
    record = world.record()
    assert (record.estimated_seconds, record.estimate_from) == (5400, EstimateFrom.ASKED)
    (entry,), complete = world.ledger.queue_head("gpu", 5)
    assert complete
    assert (entry.deadline, entry.estimated_seconds) == (record.deadline, 5400)
    instance = world.instance()
    world.claim(instance)
    assert lease(world, instance).deadline == record.deadline


def test_a_heartbeat_tells_how_far_a_job_is_and_what_it_saved(world: World) -> None:
    instance = claimed(world)
    beat(world, instance, TOLD)
    found = lease(world, instance)
    assert (found.ran_seconds, found.saved_seconds) == (Decimal("60.5"), Decimal("50.25"))
    assert (found.progress, found.saved_progress) == (Decimal("0.5"), Decimal("0.4"))
    beat(world, instance)
    assert lease(world, instance).ran_seconds == Decimal("60.5")


@pytest.mark.parametrize(
    "wrong",
    [{"progress": "1.001"}, {"progress": 0.5}, {"ran_seconds": "-1"}, {"ran_seconds": "x"}, {"saved_seconds": []}],
)
def test_what_is_no_standing_is_refused_by_field(world: World, wrong: dict[str, Any]) -> None:
    instance = claimed(world)
    named = [{"job_id": "job", "fence": 1, "standing": wrong}]
    status, answer = world.post(names.API_HEARTBEAT, instance, {"leases": named, "notice": None})
    assert (status, answer["field"]) == (400, next(iter(wrong)))


def test_an_interrupted_attempt_leaves_what_it_saved_to_the_next(world: World) -> None:
    instance = claimed(world)
    world.clock.advance(timedelta(seconds=100))
    began = to_text(world.clock() - timedelta(seconds=70))
    world.finish(instance, interrupted=True, exit_code=None, signal=15, started_at=began, standing=TOLD)
    job = world.record()
    assert (job.kept_seconds, job.kept_progress, job.restoring_seconds) == (Decimal("50.25"), Decimal("0.4"), 30)
    ((entry,), _) = world.ledger.queue_head("gpu", 5)
    assert entry.kept == job.kept


def test_of_an_attempt_that_nobody_ended_what_its_last_heartbeat_told_is_kept(world: World) -> None:
    instance = claimed(world)
    beat(world, instance, TOLD)
    world.leases.take_back("job", instance, 1, "gone", world.clock())
    assert world.record().kept_seconds == Decimal("50.25")


def test_a_job_without_a_deadline_is_not_followed(world: World) -> None:
    world.job()
    instance = world.instance()
    world.claim(instance)
    world.finish(instance, interrupted=True, exit_code=None, signal=15, standing=TOLD)
    assert world.record().kept_seconds is None


def test_the_next_of_a_kind_learns_the_longest_of_the_last_runs(world: World) -> None:
    for number, seconds in enumerate((100, 300, 200)):
        timely(world, f"run-{number}")
        instance = world.instance(number)
        world.claim(instance)
        began = to_text(world.clock())
        world.clock.advance(timedelta(seconds=seconds))
        world.finish(instance, f"run-{number}", started_at=began)
    timely(world, estimated_duration=None)
    timely(world, "other", estimated_duration=None, command=("other",))
    assert (world.record().estimated_seconds, world.record().estimate_from) == (300, EstimateFrom.LEARNED)
    assert world.record("other").estimated_seconds is None


def test_a_failed_run_teaches_nothing(world: World) -> None:
    instance = claimed(world)
    world.finish(instance, exit_code=1)
    timely(world, "next", estimated_duration=None)
    assert world.record("next").estimated_seconds is None


# --- moved ------------------------------------------------------------------------------------------------------------


def moved(world: World, instance: str, epoch: int = 1) -> tuple[str, ...]:
    world.table.put({"pk": keys.pool("gpu"), "sk": keys.STATE, "epoch": 1})
    return LaunchTable(world.table).move("gpu", instance, ["job"], epoch, "cheaper elsewhere", world.clock())


def test_a_moved_job_is_told_to_stop_waits_again_and_counts_no_interruption(world: World) -> None:
    instance = claimed(world, max_interruptions=1)
    assert moved(world, instance) == ("job",)
    answer = beat(world, instance)
    assert answer["stop"] == [{"job_id": "job", "fence": 1, "reason": "interrupted"}]
    assert answer["drain"]
    said = world.finish(instance, interrupted=True, exit_code=None, signal=15, standing=TOLD)
    assert (said["state"], world.record().interruptions) == ("queued", 0)
    assert [each.reason for each in world.ledger.attempts(world.record())] == ["moved to spot"]


def test_a_moved_job_that_ends_first_has_ended(world: World) -> None:
    instance = claimed(world)
    moved(world, instance)
    assert world.finish(instance)["state"] == "succeeded"
    assert moved(world, instance) == ()


def test_a_pass_that_is_over_moves_nobody(world: World) -> None:
    instance = claimed(world)
    with pytest.raises(Superseded):
        moved(world, instance, epoch=0)
    assert lease(world, instance).moving_since is None


# --- kept -------------------------------------------------------------------------------------------------------------


def kept_for(world: World, job_id: str) -> str:
    instance = world.instance()
    world.table.update(keys.pool("gpu"), keys.instance(instance), "SET kept_for = :job", values={":job": job_id})
    return instance


def given(world: World, instance: str, most: int = 1) -> list[str]:
    return [each["job_id"] for each in world.claim(instance, most=most)["leases"]]


def test_an_instance_kept_for_a_deadline_is_given_to_that_job_first(world: World) -> None:
    world.job("first", priority=5)
    timely(world)
    assert given(world, kept_for(world, "job"), most=3) == ["job", "first"]


def test_while_that_job_does_not_fit_nobody_else_gets_room(world: World) -> None:
    instance = kept_for(world, "job")
    world.job("runs", slots=4)
    world.claim(instance, "r-0", free=8)
    timely(world, slots=8)
    world.job("first", priority=5)
    assert given(world, instance) == []


def test_once_that_job_waits_no_more_others_share_what_is_left(world: World) -> None:
    instance = kept_for(world, "job")
    timely(world, slots=4)
    assert given(world, instance) == ["job"]
    world.job("next", slots=4)
    assert [each["job_id"] for each in world.claim(instance, "r-2", free=4)["leases"]] == ["next"]
