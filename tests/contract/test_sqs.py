"""What the adapters rely on of SQS, claimed once and checked on every implementation."""

import json
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lowtide.sim.clock import VirtualClock
from lowtide.sim.sqs import FakeSQS


def pass_time(sqs: Any, seconds: float) -> None:
    """Moves the fake's clock; on a server there is no way but to wait."""
    if isinstance(sqs, FakeSQS):
        assert isinstance(sqs.clock, VirtualClock)
        sqs.clock.advance(timedelta(seconds=seconds))
    else:
        time.sleep(seconds)


def queue(sqs: Any, *, fifo: bool = False, **attributes: str) -> str:
    name = f"q-{uuid.uuid4().hex[:12]}" + (".fifo" if fifo else "")
    given = {**({"FifoQueue": "true"} if fifo else {}), **attributes}
    return sqs.create_queue(QueueName=name, Attributes=given)["QueueUrl"]


def receive(sqs: Any, url: str, **more: Any) -> list[dict[str, Any]]:
    return sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, **more).get("Messages", [])


def send(sqs: Any, url: str, body: str, group: str, key: str) -> str:
    answer = sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=key)
    return answer["MessageId"]


def bodies(messages: list[dict[str, Any]]) -> list[str]:
    return sorted(message["Body"] for message in messages)


def test_a_message_sent_is_received_and_when_deleted_gone(sqs: Any) -> None:
    url = queue(sqs, VisibilityTimeout="1")
    number = sqs.send_message(QueueUrl=url, MessageBody="hello")["MessageId"]
    (message,) = receive(sqs, url)
    assert (message["Body"], message["MessageId"]) == ("hello", number)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    pass_time(sqs, 1.2)
    assert receive(sqs, url) == []


def test_a_message_in_flight_is_hidden_until_its_visibility_ends(sqs: Any) -> None:
    url = queue(sqs, VisibilityTimeout="1")
    sqs.send_message(QueueUrl=url, MessageBody="hello")
    first, second = receive(sqs, url), receive(sqs, url)
    pass_time(sqs, 1.2)
    third = receive(sqs, url, AttributeNames=["ApproximateReceiveCount"])
    assert (bodies(first), second, bodies(third)) == (["hello"], [], ["hello"])
    assert third[0]["Attributes"]["ApproximateReceiveCount"] == "2"


def test_a_batch_is_sent_whole(sqs: Any) -> None:
    url = queue(sqs)
    entries = [{"Id": str(n), "MessageBody": f"body-{n}"} for n in range(10)]
    answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
    found = [*receive(sqs, url), *receive(sqs, url)]
    assert (len(answer["Successful"]), bodies(found)) == (10, [f"body-{n}" for n in range(10)])


BAD_BATCHES: list[list[dict[str, str]]] = [
    [],
    [{"Id": str(n), "MessageBody": "x"} for n in range(11)],
    [{"Id": "a", "MessageBody": "x"}, {"Id": "a", "MessageBody": "y"}],
    [{"Id": "a", "MessageBody": "x" * 600_000}, {"Id": "b", "MessageBody": "y" * 600_000}],
]


@pytest.mark.parametrize("entries", BAD_BATCHES, ids=["empty", "eleven", "one id twice", "over a megabyte"])
def test_a_bad_batch_is_refused(sqs: Any, entries: list[dict[str, str]]) -> None:
    with pytest.raises(ClientError):
        sqs.send_message_batch(QueueUrl=queue(sqs), Entries=entries)


def test_a_message_over_a_megabyte_is_refused(sqs: Any) -> None:
    with pytest.raises(ClientError):
        sqs.send_message(QueueUrl=queue(sqs), MessageBody="x" * 1_048_577)


def test_a_deduplication_id_is_swallowed_when_it_comes_again(sqs: Any) -> None:
    url = queue(sqs, fifo=True)
    first, second = send(sqs, url, "one", "g", "k"), send(sqs, url, "two", "g", "k")
    assert first == second
    assert bodies(receive(sqs, url)) == ["one"]


def test_a_deduplication_id_is_swallowed_even_when_its_message_is_done(sqs: Any) -> None:
    url = queue(sqs, fifo=True)
    send(sqs, url, "one", "g", "k")
    (message,) = receive(sqs, url)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    send(sqs, url, "two", "g", "k")
    assert receive(sqs, url) == []


def test_a_group_waits_for_its_message_in_flight_and_others_do_not(sqs: Any) -> None:
    url = queue(sqs, fifo=True)
    send(sqs, url, "a1", "a", "1")
    first = receive(sqs, url)
    send(sqs, url, "a2", "a", "2")
    send(sqs, url, "b1", "b", "3")
    second = receive(sqs, url)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first[0]["ReceiptHandle"])
    third = receive(sqs, url)
    assert (bodies(first), bodies(second), bodies(third)) == (["a1"], ["b1"], ["a2"])


def test_a_fifo_message_needs_a_group_and_a_deduplication_id(sqs: Any) -> None:
    with pytest.raises(ClientError):
        sqs.send_message(QueueUrl=queue(sqs, fifo=True), MessageBody="x")


def test_what_is_received_too_often_goes_to_the_dead_letter_queue(sqs: Any) -> None:
    grave = queue(sqs)
    arn = sqs.get_queue_attributes(QueueUrl=grave, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    url = queue(sqs, RedrivePolicy=policy, VisibilityTimeout="0")
    sqs.send_message(QueueUrl=url, MessageBody="poison")
    received = [bodies(receive(sqs, url)) for _ in range(3)]
    assert received == [["poison"], ["poison"], []]
    assert bodies(receive(sqs, grave)) == ["poison"]


def test_an_unknown_queue_is_refused(sqs: Any) -> None:
    with pytest.raises(ClientError) as error:
        sqs.send_message(QueueUrl="https://sqs.us-east-1.amazonaws.com/000000000000/none", MessageBody="x")
    assert "NonExistentQueue" in error.value.response["Error"]["Code"]


def test_a_deduplication_id_is_free_again_after_five_minutes() -> None:
    sqs = FakeSQS(VirtualClock())
    url = queue(sqs, fifo=True)
    send(sqs, url, "one", "g", "k")
    pass_time(sqs, 300)
    send(sqs, url, "two", "h", "k")
    assert bodies(receive(sqs, url)) == ["one", "two"]
