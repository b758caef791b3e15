"""A shortage is told of once when it lasts, once for another reason, once at its end: to people and on the bus."""

import io
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambdas import names
from lambdas.adapters import keys
from lambdas.adapters.attributes import encode
from lambdas.adapters.event_bus import EventBus
from lambdas.adapters.metrics import Metrics
from lambdas.adapters.topic import Topic
from lambdas.control.job_events import Teller
from lambdas.control.notices import Notifier
from lowtide.sim.calls import FailNext, aws_error
from lowtide.sim.events import FakeEvents
from lowtide.sim.sns import FakeSNS
from tests.passes.world import World, pool

EMPTY = ("InsufficientInstanceCapacity", "There is no Spot capacity available that matches your request.")
DEAR = ("SpotMaxPriceTooLow", "Your Spot request price of 0.05 is lower than the minimum required of 0.41.")
DENIED = ("UnauthorizedOperation", "You are not authorized to perform: ec2:RunInstances")


class Told(World):
    """A world whose table's stream is read by both functions, after each pass."""

    def __init__(self, stack: str = names.STACK) -> None:
        super().__init__()
        self.sns, self.bus = FakeSNS(), FakeEvents()
        self.before: dict[str, Any] = {}
        self.records: list[dict[str, Any]] = []
        self._notifier = Notifier(topic=Topic(self.sns, "arn:aws:sns:us-west-2:1:alarms"), stack=stack)  # type: ignore[arg-type]
        metrics = Metrics(stack, io.StringIO(), now=self.clock)
        self._teller = Teller(bus=EventBus(self.bus), metrics=metrics, stack=stack)  # type: ignore[arg-type]

    def refuse(self, error: tuple[str, str] | None) -> None:
        for subnet in ("subnet-a", "subnet-b"):
            self.ec2.errors.pop(("c7i.large", subnet), None)
            if error is not None:
                self.ec2.errors["c7i.large", subnet] = error

    def minutes(self, count: int, name: str = "cpu") -> None:
        for _ in range(count):
            self.run(name)
            self.read_stream(name)
            self.advance(60)

    def read_stream(self, name: str = "cpu") -> None:
        new = self.state(name)
        images = {"NewImage": new, "OldImage": self.before.get(name, {})}
        record = {
            "eventName": "MODIFY",
            "dynamodb": {
                "Keys": encode({"pk": keys.pool(name), "sk": keys.STATE}),
                "ApproximateCreationDateTime": self.clock().timestamp(),
                "SequenceNumber": f"{len(self.records):021d}",
                **{image: encode(item) for image, item in images.items() if item},
            },
        }
        self.records.append(record)
        self.before[name] = new
        assert self._notifier.tell([record]) == {"batchItemFailures": []}
        assert self._teller.tell([record]) == {"batchItemFailures": []}

    def subjects(self) -> list[str]:
        return [each["Subject"] for each in self.sns.published]

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(entry["Detail"]) for entry in self.bus.told]


@pytest.fixture
def world() -> Told:
    return Told()


def short(world: Told, error: tuple[str, str] = EMPTY, **changes: Any) -> None:
    """Two instances are wanted and refused."""
    world.refuse(error)
    world.apply(pool(**changes))
    world.enqueue(2)


def test_a_shortage_is_told_once_when_it_lasts_and_once_when_it_ends(world: Told) -> None:
    short(world)
    world.minutes(10)
    assert world.subjects() == [], "its owner tolerates ten minutes"
    world.minutes(60)
    assert world.subjects() == ["Lowtide: pool cpu lacks 2 instances: capacity"]
    world.refuse(None)
    world.minutes(30)
    assert world.subjects()[1:] == ["Lowtide: pool cpu lacks nothing any more"]
    assert [each["status"] for each in world.events()] == ["lasts", "ended"]


def test_a_message_names_pool_reason_since_what_to_do_and_the_command(world: Told) -> None:
    short(world)
    world.minutes(12)
    [message] = world.sns.published
    text = message["Message"]
    assert text.startswith(
        "Pool cpu of stack Lowtide has 0 of the 2 instances that it wants, since 2026-01-05 09:00 UTC (10 minutes).\n"
    )
    assert "(capacity, InsufficientInstanceCapacity)" in text
    assert "What to do: Add instance types or zones to the pool" in text
    assert text.rstrip().splitlines()[-2].endswith("lowtide why cpu")


def test_an_event_has_the_reason_as_a_program_needs_it(world: Told) -> None:
    short(world)
    world.minutes(12)
    [entry] = world.bus.told
    assert (entry["Source"], entry["DetailType"]) == ("lowtide", "Lowtide Pool Shortage")
    [event] = world.events()
    assert (event["stack"], event["pool"], event["since"]) == ("Lowtide", "cpu", "2026-01-05T09:00:00.000000Z")
    assert (event["class"], event["code"]) == ("capacity", "InsufficientInstanceCapacity")
    assert (event["desired"], event["there"], event["command"]) == (2, 0, "lowtide why cpu")
    assert event["previous_code"] is None


def test_another_first_reason_is_told_once_with_what_it_was_before(world: Told) -> None:
    short(world)
    world.minutes(15)
    world.refuse(DENIED)
    world.minutes(45)
    assert [(each["status"], each["class"]) for each in world.events()] == [
        ("lasts", "capacity"),
        ("reason-changed", "permission"),
    ]
    assert world.events()[1]["previous_code"] == "InsufficientInstanceCapacity"
    assert "Until now: capacity, InsufficientInstanceCapacity." in world.sns.published[1]["Message"]


def test_a_call_that_is_throttled_in_between_is_no_news(world: Told) -> None:
    short(world)
    world.minutes(12)
    throttled = aws_error("CreateFleet", "RequestLimitExceeded", "slow down", status=503)
    world.ec2.hook = FailNext({"ec2.create_fleet": [throttled]})
    seen: set[str] = set()
    for _ in range(30):
        world.minutes(1)
        seen |= {code for _, code in world.reasons()}
    assert "RequestLimitExceeded" in seen
    assert len(world.events()) == 1


def test_a_pool_that_joins_later_is_told_by_itself(world: Told) -> None:
    short(world)
    world.minutes(15)
    world.apply(pool("other"))
    world.enqueue(1, "other")
    world.minutes(15, "other")
    assert [each["pool"] for each in world.events()] == ["cpu", "other"]
    assert world.subjects()[1] == "Lowtide: pool other lacks 1 instance: capacity"


def test_an_owner_who_wants_no_alarm_gets_none(world: Told) -> None:
    short(world, unfulfilled_alarm_after=None)
    world.minutes(60)
    assert world.events() == []


@pytest.mark.parametrize("changes", [{"max_hourly_cost": Decimal("0.01")}, {"max_instances": 1}, {"paused": True}])
def test_what_the_owner_set_wakes_nobody_and_is_no_alarm(world: Told, changes: dict[str, Any]) -> None:
    world.apply(pool(**changes))
    world.enqueue(2)
    world.minutes(30)
    assert world.reasons(), "there is something to say, to whoever looks"
    assert "unfulfilled_alarm_at" not in world.state()["summary"]
    assert world.events() == []


def test_a_pool_that_is_paused_while_it_is_told_of_is_told_to_be_over(world: Told) -> None:
    short(world)
    world.minutes(12)
    world.apply(pool(paused=True))
    world.minutes(5)
    assert [each["status"] for each in world.events()] == ["lasts", "ended"]


def test_a_pool_that_is_removed_while_it_is_told_of_is_told_to_be_over(world: Told) -> None:
    short(world)
    world.minutes(12)
    world.table.delete(keys.pool("cpu"), keys.STATE)
    world.read_stream()
    assert world.sns.published[-1]["Message"].startswith("The shortage of pool cpu of stack Lowtide is over")
    assert "The pool is no more." in world.sns.published[-1]["Message"]


def test_the_command_names_a_stack_that_has_another_name() -> None:
    world = Told(stack="Night")
    short(world)
    world.minutes(12)
    assert world.events()[0]["command"] == "lowtide why cpu --stack Night"
    assert world.subjects() == ["Night: pool cpu lacks 2 instances: capacity"]


def test_so_does_every_command_of_the_remedy() -> None:
    world = Told(stack="Night")
    short(world, ("InvalidParameterValue", "Value (7) for parameter x is invalid."))
    world.minutes(12)
    typed = "`lowtide pools apply FILE --stack Night`"
    assert typed in world.events()[0]["remedy"]
    assert typed in world.sns.published[0]["Message"]


def test_a_topic_that_does_not_answer_has_the_stream_read_again_from_there(world: Told) -> None:
    short(world)
    world.minutes(12)
    sorry = aws_error("Publish", "InternalError", "sorry", status=500)
    sns = FakeSNS(hook=FailNext({"sns.publish": [sorry]}))
    notifier = Notifier(topic=Topic(sns, "arn"), stack="s")  # type: ignore[arg-type]
    [lasting] = [r for r in world.records if names.ATTRIBUTE_ALARMED in r["dynamodb"]["NewImage"]][:1]
    answer = notifier.tell(world.records)
    assert answer == {"batchItemFailures": [{"itemIdentifier": lasting["dynamodb"]["SequenceNumber"]}]}
    assert notifier.tell([lasting]) == {"batchItemFailures": []}
    assert len(sns.published) == 1


def test_sns_takes_no_subject_of_more_than_a_hundred_characters() -> None:
    with pytest.raises(ClientError, match="Subject"):
        FakeSNS().publish(TopicArn="arn", Subject="x" * 101, Message="m")
    world = Told(stack="N" * 60)
    world.refuse(EMPTY)
    world.apply(pool("p" * 63))
    world.enqueue(1, "p" * 63)
    world.minutes(12, "p" * 63)
    assert len(world.subjects()[0]) == 100


# --- what a pool remembers of its shortages ---


def past(world: World) -> list[list[Any]]:
    return world.state().get("past_shortages", [])


def test_a_shortage_that_ended_because_capacity_came_is_remembered_with_its_length(world: Told) -> None:
    short(world)
    world.minutes(12)
    world.refuse(None)
    world.minutes(20)
    [[reason_class, code, seconds]] = past(world)
    assert (reason_class, code) == ("capacity", "InsufficientInstanceCapacity")
    assert timedelta(minutes=12) <= timedelta(seconds=int(seconds)) <= timedelta(minutes=30)


def test_one_that_ended_because_nobody_wanted_more_is_not(world: Told) -> None:
    short(world)
    world.minutes(12)
    world.clear_queue()
    world.minutes(5)
    assert past(world) == []
    assert [each["status"] for each in world.events()] == ["lasts", "ended"]
