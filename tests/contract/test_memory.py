"""What only the in-memory AWS does: hooks, late indexes, refusals of what it does not know."""

from datetime import timedelta
from typing import Any

import pytest

from lambdas.adapters.attributes import encode
from lowtide.sim.calls import FailNext, KillAt, Killed, NotModelled, Recorder, aws_error
from lowtide.sim.clock import VirtualClock
from lowtide.sim.dynamodb import SCHEMA, FakeDynamoDB


@pytest.fixture
def memory() -> FakeDynamoDB:
    client = FakeDynamoDB(VirtualClock())
    client.create_table(TableName="t", **SCHEMA)
    return client


def put(client: FakeDynamoDB, **attributes: Any) -> None:
    client.put_item(TableName="t", Item=encode({"pk": "A", "sk": "1", **attributes}))


def there(client: FakeDynamoDB) -> bool:
    return bool(client.everything("t"))


def test_a_recorder_sees_every_call(memory: FakeDynamoDB) -> None:
    memory.hook = recorder = Recorder()
    put(memory)
    memory.get_item(TableName="t", Key=encode({"pk": "A", "sk": "1"}))
    assert recorder.calls == ["dynamodb.put_item", "dynamodb.get_item"]


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_before_a_call_undoes_it_and_one_after_does_not(memory: FakeDynamoDB, after: bool) -> None:
    memory.hook = KillAt(call=1, after_effect=after)
    with pytest.raises(Killed):
        put(memory)
    assert there(memory) is after


def test_a_kill_can_come_after_a_refused_call(memory: FakeDynamoDB) -> None:
    put(memory)
    memory.hook = KillAt(call=1, after_effect=True)
    with pytest.raises(Killed):
        memory.put_item(
            TableName="t", Item=encode({"pk": "A", "sk": "1"}), ConditionExpression="attribute_not_exists(pk)"
        )


def test_a_planned_error_comes_once_and_instead_of_the_effect(memory: FakeDynamoDB) -> None:
    error = aws_error("PutItem", "ThrottlingException", "slow down")
    memory.hook = FailNext(errors={"dynamodb.put_item": [error]})
    with pytest.raises(type(error)):
        put(memory)
    assert not there(memory)
    put(memory)
    assert there(memory)


def test_a_lost_answer_comes_after_the_effect(memory: FakeDynamoDB) -> None:
    memory.hook = FailNext(lost={"dynamodb.put_item": [TimeoutError()]})
    with pytest.raises(TimeoutError):
        put(memory)
    assert there(memory)


def test_a_parameter_that_is_not_honoured_is_refused(memory: FakeDynamoDB) -> None:
    with pytest.raises(NotModelled, match="ReturnConsumedCapacity"):
        memory.get_item(TableName="t", Key=encode({"pk": "A", "sk": "1"}), ReturnConsumedCapacity="TOTAL")


def test_an_index_can_be_late() -> None:
    clock = VirtualClock()
    client = FakeDynamoDB(clock, index_delay=timedelta(seconds=1))
    client.create_table(TableName="t", **SCHEMA)
    put(client, gpk="DUE", gsk="1")

    def listed() -> int:
        return client.query(
            TableName="t",
            IndexName="by_kind",
            KeyConditionExpression="gpk = :k",
            ExpressionAttributeValues=encode({":k": "DUE"}),
        )["Count"]

    before = listed()
    clock.advance(timedelta(seconds=1))
    assert (before, listed()) == (0, 1)


def test_time_goes_forward_only() -> None:
    with pytest.raises(ValueError, match="back"):
        VirtualClock().advance(timedelta(seconds=-1))
