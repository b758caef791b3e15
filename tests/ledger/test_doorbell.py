"""One mark and one message for a pool that changed; whatever is lost half-way, the pool stays marked and due."""

from datetime import timedelta

import pytest

from lambdas.adapters import keys
from lambdas.adapters.faults import Unavailable
from lambdas.domain.instants import to_text
from lowtide.sim.calls import FailNext, KillAt, Killed, aws_error
from tests.ledger.world import World


def state(world: World) -> dict[str, object]:
    return world.table.get(keys.pool("gpu"), keys.STATE) or {}


def test_a_clean_pool_is_marked_and_one_message_sent(world: World) -> None:
    world.doorbell.ring("gpu", "event-1")
    assert (state(world)["dirty"], state(world)["gpk"], state(world)["gsk"]) == (
        *("event-1", keys.DUE),
        to_text(world.clock()),
    )
    assert world.rung() == [{"pool": "gpu", "cause": "event-1"}]


def test_a_dirty_pool_is_left_alone(world: World) -> None:
    world.doorbell.ring("gpu", "event-1")
    world.doorbell.ring("gpu", "event-2")
    assert (state(world)["dirty"], len(world.rung())) == ("event-1", 1)


def test_a_pool_whose_pass_has_begun_is_told_again(world: World) -> None:
    world.doorbell.ring("gpu", "event-1")
    world.clean()
    world.doorbell.ring("gpu", "event-2")
    assert [rung["cause"] for rung in world.rung()] == ["event-1", "event-2"]


def test_two_causes_within_five_minutes_are_never_one(world: World) -> None:
    for n in range(3):
        world.doorbell.ring("gpu", f"event-{n}")
        world.clean()
    assert len(world.rung()) == 3


def test_a_dirty_pool_that_is_due_later_becomes_due_now(world: World) -> None:
    world.doorbell.ring("gpu", "event-1")
    later = to_text(world.clock() + timedelta(hours=1))
    world.table.update(keys.pool("gpu"), keys.STATE, "SET gsk = :later", values={":later": later})
    world.doorbell.ring("gpu", "event-2")
    assert state(world)["gsk"] == to_text(world.clock())


def test_a_pool_due_earlier_stays_so(world: World) -> None:
    world.doorbell.ring("gpu", "event-1")
    first = state(world)["gsk"]
    world.clock.advance(timedelta(seconds=30))
    world.doorbell.ring("gpu", "event-2")
    assert state(world)["gsk"] == first


def test_a_ring_killed_before_its_message_is_completed_by_its_repetition(world: World) -> None:
    world.sqs.hook = KillAt(call=1, after_effect=False)
    with pytest.raises(Killed):
        world.doorbell.ring("gpu", "event-1")
    world.sqs.hook = None
    world.doorbell.ring("gpu", "event-1")
    assert world.rung() == [{"pool": "gpu", "cause": "event-1"}]


def test_a_ring_repeated_is_one_message(world: World) -> None:
    world.doorbell.ring("gpu", "event-1")
    world.doorbell.ring("gpu", "event-1")
    assert len(world.rung()) == 1


def test_a_ring_waits_for_another_transaction(world: World) -> None:
    busy = aws_error("UpdateItem", "TransactionConflictException", "busy")
    world.dynamodb.hook = FailNext(errors={"dynamodb.update_item": [busy, busy]})
    world.doorbell.ring("gpu", "event-1")
    assert len(world.rung()) == 1


def test_a_table_that_stays_busy_is_a_fault_and_not_a_dirty_pool(world: World) -> None:
    busy = aws_error("UpdateItem", "TransactionConflictException", "busy")
    world.dynamodb.hook = FailNext(errors={"dynamodb.update_item": [busy] * 5})
    with pytest.raises(Unavailable):
        world.doorbell.ring("gpu", "event-1")
