"""Events of jobs: one for each change of state, from what the table's stream holds, until it was told."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters import keys
from lambdas.adapters.attributes import encode
from lambdas.adapters.event_bus import EventBus
from lambdas.adapters.metrics import Metrics
from lambdas.control.job_events import Teller
from lowtide.sim.calls import FailNext, aws_error
from lowtide.sim.events import FakeEvents
from tests.ledger.world import World


class Stream:
    """What a table's stream with both images says of JOB items."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._before: dict[str, Any] = {}
        self.records: list[dict[str, Any]] = []

    def look(self) -> None:
        """Notes each job that changed since the last look."""
        for pk in {f"JOB#{job}" for job in ("job", "other")}:
            item = self._world.table.get(pk, keys.JOB)
            if item is None or item == self._before.get(pk):
                continue
            told: dict[str, Any] = {
                "ApproximateCreationDateTime": self._world.clock().timestamp(),
                "SequenceNumber": f"{len(self.records):021d}",
                "Keys": encode({"pk": pk, "sk": keys.JOB}),
                "NewImage": encode(item),
                **({"OldImage": encode(self._before[pk])} if pk in self._before else {}),
            }
            self.records.append({"eventName": "MODIFY" if pk in self._before else "INSERT", "dynamodb": told})
            self._before[pk] = item


@pytest.fixture
def stream(world: World) -> Stream:
    return Stream(world)


def teller(bus: FakeEvents, stack: str = "s", out: io.StringIO | None = None) -> Teller:
    metrics = Metrics(stack, out or io.StringIO(), now=lambda: datetime(2026, 11, 23, tzinfo=UTC))
    return Teller(bus=EventBus(bus), metrics=metrics, stack=stack)  # type: ignore[arg-type]


def told(bus: FakeEvents) -> list[dict[str, Any]]:
    return [json.loads(entry["Detail"]) for entry in bus.told]


def course(world: World, stream: Stream) -> None:
    """Queued, running, interrupted, running, succeeded."""
    instance = world.instance()
    world.job(env=(("TOKEN", "hunter2"),), max_attempts=2)
    stream.look()
    for fence, interrupted in ((1, True), (2, False)):
        world.claim(instance, f"r-{fence}")
        stream.look()
        world.finish(instance, fence=fence, exit_code=1 if interrupted else 0, interrupted=interrupted, error=None)
        stream.look()


def test_each_change_of_state_is_an_event_of_our_own_source(world: World, stream: Stream) -> None:
    course(world, stream)
    bus = FakeEvents()
    assert teller(bus, "Night").tell(stream.records) == {"batchItemFailures": []}
    assert {(entry["Source"], entry["DetailType"]) for entry in bus.told} == {("lowtide", names.EVENT_JOB_STATE)}
    assert [(each["previous_state"], each["state"], each["attempt"]) for each in told(bus)] == [
        (None, "queued", 0),
        ("queued", "running", 1),
        ("running", "queued", 1),
        ("queued", "running", 2),
        ("running", "succeeded", 2),
    ]
    last = told(bus)[-1]
    assert (last["stack"], last["job_id"], last["pool"], last["exit_code"]) == ("Night", "job", "gpu", 0)
    assert (last["interruptions"], last["failures"]) == (1, 0)


def test_nothing_that_the_job_was_given_or_wrote_is_in_an_event(world: World, stream: Stream) -> None:
    instance = world.instance()
    world.job(env=(("TOKEN", "hunter2"),))
    world.claim(instance)
    world.finish(instance, exit_code=1, error="the last words: hunter2")
    stream.look()
    bus = FakeEvents()
    teller(bus).tell(stream.records)
    assert bus.told
    assert "hunter2" not in json.dumps(bus.told, default=str)


def test_a_change_that_is_none_of_the_state_is_no_event(world: World, stream: Stream) -> None:
    world.job()
    stream.look()
    world.table.update("JOB#job", keys.JOB, "SET expires_at = :then", values={":then": 1})
    stream.look()
    bus = FakeEvents()
    teller(bus).tell(stream.records)
    assert len(bus.told) == 1


def test_an_item_that_went_by_itself_is_no_event() -> None:
    bus = FakeEvents()
    removed = {
        "eventName": "REMOVE",
        "dynamodb": {"SequenceNumber": "1", "Keys": {"sk": {"S": keys.JOB}}, "OldImage": {}},
    }
    assert teller(bus).tell([removed]) == {"batchItemFailures": []}
    assert bus.told == []


def test_a_bus_that_does_not_answer_has_the_stream_read_again_from_there(world: World, stream: Stream) -> None:
    course(world, stream)
    sorry = aws_error("PutEvents", "InternalException", "sorry", status=500)
    bus = FakeEvents(hook=FailNext({"events.put_events": [sorry]}))
    answer = teller(bus).tell(stream.records)
    assert answer == {"batchItemFailures": [{"itemIdentifier": stream.records[0]["dynamodb"]["SequenceNumber"]}]}


class Choosy(FakeEvents):
    """Does not take the third of a batch."""

    def put_events(self, **request: Any) -> dict[str, Any]:
        answer = super().put_events(**request)
        answer["Entries"][2] = {"ErrorCode": "ThrottlingException"}
        return {**answer, "FailedEntryCount": 1}


def test_an_event_that_was_not_taken_comes_again_with_those_after_it(world: World, stream: Stream) -> None:
    course(world, stream)
    answer = teller(Choosy()).tell(stream.records)
    assert answer == {"batchItemFailures": [{"itemIdentifier": stream.records[2]["dynamodb"]["SequenceNumber"]}]}


def test_the_ends_of_jobs_that_were_told_are_counted(world: World, stream: Stream) -> None:
    course(world, stream)
    out = io.StringIO()
    function = teller(FakeEvents(), out=out)
    function.tell(stream.records)
    function.metrics.flush()
    (line,) = (json.loads(text) for text in out.getvalue().splitlines())
    assert line[names.METRIC_SUCCEEDED] == [1]
    assert names.METRIC_FAILED not in line
