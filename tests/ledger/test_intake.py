"""Messages become jobs or are parked; whatever fails comes again and nothing is lost or doubled."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambdas.adapters import keys
from lambdas.control.intake import Message
from lambdas.domain.jobs.jobs import JobState
from lowtide.sim.calls import FailNext, Recorder, aws_error
from tests.ledger.world import World, pool


def throttled(operation: str) -> ClientError:
    return aws_error(operation, "ThrottlingException", "slow down", status=400)


def test_a_message_becomes_a_queued_job_of_its_pool(world: World) -> None:
    message = world.message(id="train-7", slots=4, priority=3)
    taken = world.take(message)
    job = world.record("train-7")
    assert (taken.new, taken.failed) == (1, {})
    assert (job.state, job.pool, job.slots, job.priority) == (JobState.QUEUED, "gpu", 4, 3)
    assert job.submitted_at == message.sent_at
    assert [each.job_id for each in world.ledger.queue_head("gpu", 2)[0]] == ["train-7"]


def test_a_message_without_an_id_is_known_by_its_own(world: World) -> None:
    message = world.message()
    world.take(message)
    assert world.record(message.message_id).job_id == message.message_id


def test_the_pool_is_told_once_for_a_batch(world: World) -> None:
    world.take(*(world.message(id=f"job-{n}") for n in range(10)))
    assert len(world.rung()) == 1
    assert world.dirty() == "message:message-1"


def test_every_pool_of_a_batch_is_told() -> None:
    world = World(pools=[pool("gpu"), pool("cpu")])
    world.take(world.message(), world.message(pool="cpu"), world.message())
    assert sorted(rung["pool"] for rung in world.rung()) == ["cpu", "gpu"]


def test_the_same_batch_twice_makes_each_job_once(world: World) -> None:
    batch = [world.message(id=f"job-{n}") for n in range(3)]
    world.take(*batch)
    taken = world.take(*batch)
    assert (taken.new, taken.repeated, taken.failed) == (0, 3, {})
    assert len(world.ledger.queue_head("gpu", 10)[0]) == 3
    assert len(world.rung()) == 1


def test_a_redelivered_message_of_a_running_job_does_not_queue_it_again(world: World) -> None:
    message = world.message(id="job")
    world.take(message)
    world.claim(world.instance())
    world.take(message)
    assert (world.record().state, world.ledger.queue_head("gpu", 1)[0]) == (JobState.RUNNING, ())


def test_the_same_id_with_the_same_content_does_nothing(world: World) -> None:
    world.take(world.message(id="job", slots=1))
    assert world.take(world.message(id="job")).repeated == 1
    assert len(world.ledger.queue_head("gpu", 10)[0]) == 1


def test_the_same_id_with_other_content_is_parked(world: World) -> None:
    world.take(world.message(id="job"))
    world.take(world.message(id="job", slots=2))
    (record,) = world.parked.list()
    assert (record.field, record.job_id, record.pool) == ("id", "job", "gpu")
    assert world.record().slots == 1


BAD: list[tuple[Any, str | None]] = [
    ("not JSON", None),
    ("[]", None),
    ('{"pool": "nowhere", "command": ["true"]}', "pool"),
    ('{"pool": "gpu", "command": ["true"], "slotz": 1}', "slotz"),
    ('{"pool": "gpu", "command": ["true"], "slots": -1}', "slots"),
    ('{"pool": "gpu", "command": ["true"], "slots": 9}', "slots"),
    ('{"pool": "gpu", "command": ["true"], "\\ud800": 1}', "\N{REPLACEMENT CHARACTER}"),
    ('{"pool": "gpu", "command": ["true"], "id": "\\u0000"}', "id"),
]


@pytest.mark.parametrize(("body", "field"), BAD)
def test_what_is_no_job_is_parked_with_its_reason_and_a_copy(world: World, body: str, field: str | None) -> None:
    message = world.message(body)
    taken = world.take(message)
    (record,) = world.parked.list()
    full = world.parked.record(record.parked_id)
    assert (taken.parked, taken.failed, record.field) == (1, {}, field)
    assert record.reason
    assert record.copy_id is not None
    assert full is not None
    assert full.body == body
    assert world.sqs.bodies(world.parked_url) == [body]


@pytest.mark.parametrize("size", [256 * 1024 + 1, 300 * 1024, 1_048_576])
def test_a_body_that_is_too_large_is_parked_with_its_body_in_the_queue(world: World, size: int) -> None:
    body = json.dumps({"pool": "gpu", "command": ["true"], "env": {"X": ""}})
    body = body.replace('"X": ""', '"X": "' + "x" * (size - len(body)) + '"')
    world.take(world.message(body))
    (record,) = world.parked.list()
    full = world.parked.record(record.parked_id)
    assert full is not None
    assert (record.size, full.body, world.sqs.bodies(world.parked_url)) == (size, None, [body])
    assert full.copy_id is not None


def test_a_body_of_the_full_256_kib_is_a_job(world: World) -> None:
    fields = {"pool": "gpu", "command": ["true"], "id": "job", "env": {"A": "x" * 120_000, "B": "x" * 120_000, "C": ""}}
    room = 256 * 1024 - len(json.dumps(fields))
    body = json.dumps(fields).replace('"C": ""', '"C": "' + "x" * room + '"')
    world.take(world.message(body))
    (lease,) = world.claim(world.instance())["leases"]
    assert (len(body), len(lease["env"]["C"])) == (256 * 1024, room)


def test_bad_messages_do_not_delay_their_neighbours(world: World) -> None:
    batch = [world.message(id="good-1"), world.message("not JSON"), world.message(slots=-1), world.message(id="good-2")]
    taken = world.take(*batch)
    assert (taken.new, taken.parked, taken.failed) == (2, 2, {})


def test_a_parked_message_delivered_again_is_parked_once(world: World) -> None:
    message = world.message("not JSON")
    world.take(message)
    world.take(message)
    assert len(list(world.parked.list())) == 1
    assert len(world.sqs.bodies(world.parked_url)) == 1


def test_a_parked_message_can_be_deleted(world: World) -> None:
    world.take(world.message("not JSON"))
    (record,) = world.parked.list()
    world.parked.delete(record.parked_id)
    world.parked.delete(record.parked_id)
    assert (list(world.parked.list()), world.parked.record(record.parked_id)) == ([], None)


def test_a_fault_of_ours_parks_nothing_and_the_message_comes_again(world: World) -> None:
    batch = [world.message(id="a"), world.message(id="b")]
    faults = [throttled("TransactWriteItems")] * 2  # of both together, then of the first alone
    world.dynamodb.hook = FailNext(errors={"dynamodb.transact_write_items": faults})
    taken = world.take(*batch)
    assert taken.to_response() == {"batchItemFailures": [{"itemIdentifier": batch[0].message_id}]}
    assert (taken.new, list(world.parked.list())) == (1, [])


def test_a_bug_that_one_message_meets_leaves_its_neighbours_alone(world: World) -> None:
    batch = [world.message(id="a"), world.message(id="b")]
    world.dynamodb.hook = FailNext(errors={"dynamodb.transact_write_items": [TypeError("a bug")] * 2})
    taken = world.take(*batch)
    assert (list(taken.failed), taken.new) == ([batch[0].message_id], 1)


def transactions(world: World, *batch: Message) -> int:
    world.dynamodb.hook = recorder = Recorder()
    taken = world.take(*batch)
    assert (taken.failed, taken.new + taken.repeated + taken.parked) == ({}, len(batch))
    return sum(call.endswith("transact_write_items") for call in recorder.calls)


def test_a_batch_of_new_jobs_is_one_transaction(world: World) -> None:
    batch = [world.message(id=f"job-{n}") for n in range(10)]
    assert transactions(world, *batch) == 1
    assert [job.job_id for job in world.ledger.queue_head("gpu", 20)[0]] == [f"job-{n}" for n in range(10)]


def test_where_one_of_a_batch_is_known_each_is_taken_by_itself(world: World) -> None:
    known = world.message(id="known")
    world.take(known)
    assert transactions(world, known, world.message(id="new"), world.message(id="known", slots=2)) == 4
    assert world.record("new").state == JobState.QUEUED
    assert len(list(world.parked.list())) == 1


def test_one_id_twice_in_a_batch_is_one_job(world: World) -> None:
    assert transactions(world, world.message(id="job"), world.message(id="job"), world.message(id="other")) == 3
    assert len(world.ledger.queue_head("gpu", 9)[0]) == 2


def test_bodies_too_large_for_one_transaction_are_taken_one_by_one(world: World) -> None:
    batch = [world.message(id=f"job-{n}", env={"TEXT": "x" * 150_000}) for n in range(8)]
    assert transactions(world, *batch) == 8


def test_without_the_pools_the_whole_batch_comes_again(world: World) -> None:
    batch = [world.message(), world.message()]
    world.dynamodb.hook = FailNext(errors={"dynamodb.get_item": [throttled("GetItem")] * 2})
    assert set(world.take(*batch).failed) == {message.message_id for message in batch}
    assert list(world.parked.list()) == []


def test_of_the_stacks_pools_a_batch_reads_those_that_it_names() -> None:
    world = World(pools=[pool(name) for name in ("gpu", "cpu", "other")])
    world.dynamodb.hook = recorder = Recorder()
    world.take(world.message(), world.message(pool="cpu"), world.message())
    assert [call for call in recorder.calls if "get" in call or "query" in call] == ["dynamodb.get_item"] * 2


def test_a_pool_that_is_not_there_is_told_with_the_nearest_of_all() -> None:
    world = World(pools=[pool(name) for name in ("gpu", "cpu", "other")])
    world.take(world.message(pool="othr"))
    (record,) = world.parked.list()
    assert record.reason == 'pool "othr" does not exist: the nearest is "other"; `lowtide pools list` shows all 3'


def test_a_pool_whose_record_cannot_be_read_keeps_its_own_messages_waiting_and_no_others() -> None:
    """Law 8: found by the storm's seed 44. It parks nothing either: the sender did nothing wrong."""
    world = World(pools=[pool("gpu"), pool("cpu")])
    world.table.update(keys.pool("cpu"), keys.CONFIG, "REMOVE document.types")
    theirs, ours = world.message(pool="cpu"), world.message(id="a")
    taken = world.take(theirs, ours)
    assert (list(taken.failed), taken.new) == ([theirs.message_id], 1)
    assert list(world.parked.list()) == []


@pytest.mark.parametrize("operation", ["dynamodb.update_item", "sqs.send_message"])
def test_a_pool_that_could_not_be_told_is_told_at_the_next_delivery(world: World, operation: str) -> None:
    message = world.message(id="job")
    fault = FailNext(errors={operation: [throttled("x")]})
    world.dynamodb.hook = world.sqs.hook = fault
    assert list(world.take(message).failed) == [message.message_id]
    assert world.rung() == []
    assert world.take(message).failed == {}
    assert [rung["pool"] for rung in world.rung()] == ["gpu"]


def test_transactions_that_meet_are_made_again(world: World) -> None:
    busy = aws_error(
        *("TransactWriteItems", "TransactionCanceledException", "busy"),
        CancellationReasons=[{"Code": "TransactionConflict"}, {"Code": "None"}, {"Code": "None"}],
    )
    world.dynamodb.hook = FailNext(errors={"dynamodb.transact_write_items": [busy, busy]})
    assert world.take(world.message()).new == 1


def test_a_pool_that_is_being_deleted_takes_no_job(world: World) -> None:
    world.config.put_pool(replace(pool(), deleted=True), 1, now=world.clock())
    assert world.take(world.message()).parked == 1


# --- a deleted pool's queue ---


def test_what_waits_in_a_deleted_pool_is_parked_as_a_message_that_can_be_sent_again(world: World) -> None:
    world.take(world.message(id="job", slots=2, timeout="90m", env={"A": "1"}, resources=None))
    assert world.ledger.park_queued("gpu", "the pool was deleted", world.clock()) == 1
    (record,) = world.parked.list()
    full = world.parked.record(record.parked_id)
    assert full is not None
    assert full.body is not None
    assert (record.reason, json.loads(full.body)) == (
        "the pool was deleted",
        {"id": "job", "pool": "gpu", "command": ["true"], "slots": 2, "timeout": "1h30m", "env": {"A": "1"}},
    )
    assert (world.record().state, world.ledger.queue_head("gpu", 1)) == (JobState.PARKED, ((), True))


def test_parking_a_queue_again_does_nothing(world: World) -> None:
    world.job()
    world.ledger.park_queued("gpu", "deleted", world.clock())
    assert world.ledger.park_queued("gpu", "deleted", world.clock()) == 0


def test_a_parked_job_sent_again_waits_again_and_keeps_its_fence(world: World) -> None:
    message = world.message(id="job")
    world.take(message)
    instance = world.instance()
    world.claim(instance)
    world.finish(instance, exit_code=1, interrupted=True)
    world.ledger.park_queued("gpu", "deleted", world.clock())
    assert world.take(replace(message, message_id="sent-again")).new == 1
    (lease,) = world.claim(instance, "r-2")["leases"]
    assert (lease["fence"], lease["attempt"]) == (2, 2)


# --- lists ---


def test_a_pools_jobs_are_listed_last_changed_first(world: World) -> None:
    for n in range(3):
        world.clock.advance(world.settings.heartbeat)
        world.job(f"job-{n}")
    world.clock.advance(world.settings.heartbeat)
    world.claim(world.instance())
    assert [job.job_id for job in world.ledger.jobs("gpu")] == ["job-0", "job-2", "job-1"]
    assert [job.job_id for job in world.ledger.jobs("gpu", state=JobState.RUNNING)] == ["job-0"]


def test_a_queued_job_knows_its_place(world: World) -> None:
    places: Callable[[str], int | None] = lambda job_id: world.ledger.position(world.record(job_id))  # noqa: E731
    for n in range(20):
        world.job(f"job-{n}", priority=10 if n == 19 else 0)
    assert (places("job-19"), places("job-0"), places("job-18")) == (1, 2, 20)
    world.claim(world.instance())
    assert places("job-19") is None


def test_the_queue_head_says_whether_there_is_more(world: World) -> None:
    for n in range(3):
        world.job(f"job-{n}")
    assert [world.ledger.queue_head("gpu", most)[1] for most in (2, 3, 4)] == [False, True, True]


def test_a_message_tells_when_it_was_sent() -> None:
    record = {"messageId": "m", "body": "{}", "attributes": {"SentTimestamp": "1767603600123"}}
    assert Message.from_record(record).sent_at.isoformat() == "2026-01-05T09:00:00.123000+00:00"


def test_a_waiting_job_that_fails_is_in_no_queue_and_says_why(world: World) -> None:
    world.job("job")
    assert world.ledger.fail_queued("job", "launch error: NoCapacity", world.clock())
    job = world.record()
    assert (job.state, job.reason, job.finished_at) == (JobState.FAILED, "launch error: NoCapacity", world.clock())
    assert world.ledger.queue_head("gpu", 10) == ((), True)
    assert not world.ledger.fail_queued("job", "again", world.clock())


def test_a_job_that_was_claimed_meanwhile_does_not_fail(world: World) -> None:
    world.job("job")
    waiting = world.ledger.job("job")
    assert waiting is not None
    world.claim(world.instance())
    world.ledger.job = lambda _: waiting  # type: ignore[method-assign]
    assert not world.ledger.fail_queued("job", "launch error", world.clock())
    world.restart()
    assert world.record().state == JobState.RUNNING
