import json
import logging
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters import keys
from lambdas.adapters.queues import Doorbell
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.instants import from_text
from lambdas.domain.plan.plan import Plan, plan
from tests.passes.world import World, changed, facts, pool

PLENTY = timedelta(seconds=100)


def body(name: str) -> str:
    return json.dumps({"pool": name, "cause": "test"})


def test_an_error_in_one_pool_leaves_the_others_alone_and_is_looked_at_again() -> None:
    world = World()
    for name in ("bad", "good"):
        world.apply(pool(name))
        world.enqueue(1, name)

    def stumbles(snapshot: Snapshot, now: datetime) -> Plan:
        if snapshot.pool.name == "bad":
            raise ZeroDivisionError("a bug")
        return plan(snapshot, now)

    passes = world.passes(stumbles)
    passes.take(body("bad"), lambda: PLENTY)
    passes.take(body("good"), lambda: PLENTY)
    assert len(world.instances("good")) == 1
    assert from_text(world.state("bad")["gsk"]) > world.clock()
    assert world.metrics.of(names.METRIC_PASSES_FAILED) == [1]


@pytest.mark.parametrize("text", ["", "{", "[]", '"cpu"', "{}", '{"pool": 3}', '{"pool": ""}'])
def test_a_message_that_names_no_pool_is_dropped(text: str) -> None:
    world = World()
    world.passes().take(text, lambda: PLENTY)
    assert world.dynamodb.everything("t") == []


def test_a_pool_that_does_not_exist_leaves_nothing_behind() -> None:
    world = World()
    Doorbell(world.table, world.sqs, world.queue, world.clock).ring("nobody", "test")
    world.passes().take(body("nobody"), lambda: PLENTY)
    assert world.dynamodb.everything("t") == []


def test_a_deleted_pool_with_nothing_left_is_removed() -> None:
    world = World()
    applied = world.apply(pool())
    world.apply(changed(applied, deleted=True))
    world.run()
    assert world.dynamodb.everything("t") == []


def test_a_deleted_pool_keeps_its_record_until_its_instances_are_gone() -> None:
    world = World()
    applied = world.apply(pool(max_instances=1))
    world.enqueue(1)
    world.run()
    world.clear_queue()
    world.apply(changed(applied, deleted=True))
    world.run()
    assert world.config.pool("cpu") is not None
    for _ in range(10):
        world.advance(60)
        world.observe()
        world.run()
        if world.config.pool("cpu") is None:
            break
    assert world.ec2.running() == []
    assert world.config.pool("cpu") is None


def test_news_during_a_pass_keeps_the_pool_due_at_once() -> None:
    world = World()
    world.apply(pool())

    def interrupted(snapshot: Snapshot, now: datetime) -> Plan:
        Doorbell(world.table, world.sqs, world.queue, world.clock).ring("cpu", "news")
        return plan(snapshot, now)

    world.run(decide=interrupted)
    state = world.state()
    assert state["dirty"] == "news"
    assert from_text(state["gsk"]) <= world.clock()
    world.run()
    assert "dirty" not in world.state()
    assert "gsk" not in world.state(), "at rest"


def test_a_pass_that_dies_leaves_its_pool_due() -> None:
    world = World()
    world.apply(pool())

    def dies(snapshot: Snapshot, now: datetime) -> Plan:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.run(decide=dies)
    assert from_text(world.state()["gsk"]) <= world.clock()
    assert world.state()["gpk"] == keys.DUE


def test_without_time_left_no_call_is_made_and_another_pass_is_asked_for() -> None:
    world = World()
    world.apply(pool())
    world.enqueue(1)
    world.run(left=20)
    assert world.ec2.fleets == []
    assert world.state()["dirty"]
    assert world.sqs.bodies(world.queue)
    assert world.reasons(), "nothing unfulfilled is without a reason"


def test_the_first_pass_at_rest_sends_a_closing_sample_and_the_next_ones_none() -> None:
    world = World()
    world.apply(pool(max_instances=1))
    world.enqueue(1)
    world.run()
    assert world.metrics.of(names.METRIC_LAUNCHING, "cpu") == [1]
    assert world.metrics.of(names.METRIC_LAUNCHED) == [1]
    assert world.metrics.of(names.METRIC_INTERRUPTIONS, "cpu") == [0]
    world.clear_queue()
    for machine in world.ec2.machines.values():
        machine.ended = True
    for _ in range(8):
        world.advance(60)
        world.observe()
        world.run()
    assert world.state()["resting"] is True
    count = len(world.metrics.of(names.METRIC_LAUNCHING, "cpu"))
    assert world.metrics.of(names.METRIC_LAUNCHING, "cpu")[-1] == 0
    world.run()
    assert len(world.metrics.of(names.METRIC_LAUNCHING, "cpu")) == count


def test_an_unknown_error_code_is_counted_for_the_alarm() -> None:
    world = World(errors={("c7i.large", subnet): ("BrandNewCode", "?") for subnet in ("subnet-a", "subnet-b")})
    world.apply(pool())
    world.enqueue(1)
    world.run()
    assert world.metrics.of(names.METRIC_UNKNOWN_ERRORS) == [1]
    assert ("transient", "BrandNewCode") in world.reasons()


def test_the_summary_tells_the_tick_what_it_needs_for_the_alarms() -> None:
    world = World(
        errors={("c7i.large", subnet): ("UnauthorizedOperation", "no") for subnet in ("subnet-a", "subnet-b")}
    )
    applied = world.apply(pool(unfulfilled_alarm_after=timedelta(minutes=10)))
    world.enqueue(2)
    world.run()
    summary = world.state()["summary"]
    assert summary["blocked"] is True
    assert from_text(summary["unfulfilled_alarm_at"]) == world.clock() + timedelta(minutes=10)
    assert summary["reason"]["class"] == "permission"
    assert (summary["queued_jobs"], summary["unfulfilled"], summary["desired"]) == (2, 2, 2)
    assert applied.version == 1


def test_the_hourly_cost_adds_spot_at_the_market_with_its_volumes_and_addresses() -> None:
    world = World()
    world.ec2.prices = {("c7i.large", "us-west-2a"): 0.031, ("c7i.large", "us-west-2b"): 0.04}
    world.apply(pool(max_instances=2))
    world.enqueue(2)
    world.run()
    world.run()
    summary = world.state()["summary"]
    beside = Decimal("0.08") * 200 / 730 + Decimal("0.005")
    assert Decimal(summary["hourly_cost_usd"]) == 2 * (Decimal("0.031") + beside)
    assert Decimal(summary["on_demand_equivalent_hourly_usd"]) == 2 * (Decimal("0.10") + beside)
    assert 0 < Decimal(summary["price_of_limit"]) < 1
    assert summary["on_demand_hourly_cost_usd"] == "0"


def test_an_on_demand_instance_costs_the_list_price_until_ec2_has_ended_it() -> None:
    world = World()
    world.apply(pool(max_instances=1, spot=False, spot_max_price=None))
    world.enqueue(1)
    world.run()
    world.run()
    beside = Decimal("0.08") * 200 / 730 + Decimal("0.005")
    summary = world.state()["summary"]
    assert Decimal(summary["hourly_cost_usd"]) == Decimal("0.10") + beside
    assert summary["on_demand_hourly_cost_usd"] == summary["hourly_cost_usd"]
    world.clear_queue()
    (machine,) = world.ec2.machines.values()
    machine.ended = True
    world.observe()
    world.run()
    assert world.state()["summary"]["hourly_cost_usd"] == "0"


def test_one_canonical_log_line_tells_the_pass(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.apply(pool(max_instances=1))
    world.enqueue(1)
    with caplog.at_level(logging.INFO):
        world.run()
    (line,) = [record for record in caplog.records if record.message == "pass"]
    told: dict[str, Any] = line.__dict__
    assert told["pool"] == "cpu"
    assert told["read"]["queue"] == 1
    (action,) = told["actions"]
    assert (action["action"], action["result"], len(action["launched"])) == ("launch", "done", 1)
    assert action["why"]
    json.dumps({name: told[name] for name in ("read", "summary", "actions", "notes", "due")}, default=str)


def test_a_pool_of_two_architectures_gets_the_image_of_each() -> None:
    world = World()
    world.apply(pool(types=(facts("c7i.large"), facts("c7g.large", architecture="arm64"))))
    world.enqueue(1)
    world.run()
    overrides = world.ec2.fleets[0]["LaunchTemplateConfigs"][0]["Overrides"]
    assert {(o["InstanceType"], o["ImageId"]) for o in overrides} <= {
        ("c7i.large", "ami-x86"),
        ("c7g.large", "ami-arm"),
    }
