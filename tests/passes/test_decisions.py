"""Every decision is kept, once, with what it takes to make it again."""

import hashlib
import json
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from lambdas.adapters import decisions as stored
from lambdas.adapters import keys
from lambdas.adapters.decisions import Decisions, packed_snapshot, unpacked_snapshot
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.plan.decision import Decision
from lambdas.domain.plan.plan import Plan, plan
from lambdas.domain.settings import Settings
from lowtide.sim.calls import FailNext, aws_error
from tests.domain import build
from tests.passes.world import World, facts, pool

MINUTE = 60.0


def kept(world: World) -> list[Decision]:
    """Oldest first."""
    return [*Decisions(world.table).newest_first("cpu", limit=1000)][::-1]


def waiting_for_capacity() -> World:
    world = World(capacity=0)
    world.ec2.errors.update(
        {("c7i.large", subnet): ("InsufficientInstanceCapacity", "no capacity") for subnet in ("subnet-a", "subnet-b")}
    )
    world.apply(pool(max_instances=1, types=(facts(),)))
    world.enqueue(1)
    return world


def test_a_decision_is_kept_for_as_long_as_the_settings_say() -> None:
    world = World()
    world.apply(pool(max_instances=1))
    world.enqueue(1)
    world.run()
    (item,) = world.table.query(keys.decisions("cpu"))
    assert item["expires_at"] == int((world.clock() + Settings().decisions_kept).timestamp())
    assert Settings().decisions_kept == timedelta(days=35), "unless a deploy option says otherwise"


def test_a_decision_has_what_was_done_and_why_and_the_numbers() -> None:
    world = World()
    world.apply(pool(max_instances=1))
    world.enqueue(1)
    world.run()
    (decision,) = kept(world)
    (action,) = decision.actions
    assert (action["action"], action["why"], action["result"]) == ("launch", "for 1 queued job", "done")
    assert (decision.summary["desired"], decision.summary["launching"], decision.pool_version) == (1, 1, 1)
    assert [reason.code for reason in decision.reasons] == ["InstancesLaunching"]


def test_a_kept_decision_is_made_again_from_its_snapshot() -> None:
    world = World()
    world.apply(pool(max_instances=2))
    world.enqueue(5)
    made: list[tuple[Snapshot, Plan]] = []

    def watched(snapshot: Snapshot, now: datetime) -> Plan:
        made.append((snapshot, plan(snapshot, now)))
        return made[-1][1]

    world.run(decide=watched)
    (decision,) = kept(world)
    assert decision.snapshot == made[0][0]
    assert plan(decision.snapshot, decision.at) == made[0][1]


def test_an_hour_in_which_nothing_changes_is_kept_once_a_try() -> None:
    world = World()
    refusal = ("SpotMaxPriceTooLow", "Your Spot request price of 0.01 is lower than the minimum required of 0.04.")
    world.ec2.errors.update({("c7i.large", subnet): refusal for subnet in ("subnet-a", "subnet-b")})
    world.ec2.prices.update({("c7i.large", f"us-west-2{zone}"): Decimal("0.04") for zone in "ab"})
    world.apply(pool(max_instances=1, spot_max_price=Decimal("0.01")))
    world.enqueue(1)
    for _ in range(60):
        world.run()
        world.advance(MINUTE)
    tries = len(world.ec2.fleets)
    assert 2 <= tries <= 5
    assert len(kept(world)) <= 3 * tries


def test_a_shortage_that_lasts_is_kept_when_something_is_tried_and_not_in_between() -> None:
    world = waiting_for_capacity()
    world.run()
    world.advance(1)
    world.run()
    before = len(kept(world))
    for _ in range(2):
        world.advance(15)
        world.run()
    assert len(kept(world)) == before
    world.advance(MINUTE)
    world.run()
    assert len(kept(world)) > before


def test_a_reason_that_changes_is_a_decision() -> None:
    world = waiting_for_capacity()
    world.run()
    world.apply(pool(max_instances=1, paused=True))
    world.run()
    assert [d.reasons[0].code for d in kept(world)][-1] == "PoolPaused"


def test_jobs_that_come_and_go_are_kept_once_a_minute() -> None:
    world = World()
    world.apply(pool(max_instances=1))
    world.enqueue(2)
    world.run()
    world.run()
    before = len(kept(world))
    for _ in range(10):
        world.enqueue(1)
        world.advance(5)
        world.run()
    assert len(kept(world)) == before
    world.advance(MINUTE)
    world.enqueue(1)
    world.run()
    assert len(kept(world)) == before + 1


def test_what_was_done_is_kept_although_a_later_pass_has_begun() -> None:
    world = World()
    world.apply(pool(max_instances=1))
    world.enqueue(1)
    reconciler = world.reconciler()
    make = reconciler.launcher.ec2.create_fleet

    def overtaken(*given: object, **named: object) -> object:
        reconciler.pools.begin("cpu", world.clock())
        return make(*given, **named)  # type: ignore[arg-type]

    reconciler.launcher.ec2.create_fleet = overtaken  # type: ignore[method-assign]
    reconciler.reconcile("cpu", lambda: timedelta(seconds=100))
    assert kept(world)[0].actions[0]["launched"]


def test_a_decision_that_cannot_be_kept_fails_no_pass_and_the_next_is_kept() -> None:
    world = World()
    world.apply(pool())
    refused = aws_error("PutItem", "ThrottlingException", "slow down")
    world.dynamodb.hook = FailNext(errors={"dynamodb.put_item": [refused]})
    world.run()
    assert world.state()["resting"]
    assert kept(world) == []
    world.run()
    assert len(kept(world)) == 1


def test_the_decision_in_force_is_the_last_one_before() -> None:
    world = World()
    world.apply(pool(max_instances=1))
    world.run()
    world.advance(MINUTE)
    world.enqueue(1)
    world.run()
    store, now = Decisions(world.table), world.clock()
    first, second = kept(world)
    assert store.in_force("cpu", now) == second
    assert store.in_force("cpu", now - timedelta(seconds=30)) == first
    assert store.in_force("cpu", now - timedelta(days=1)) is None


def test_the_decision_that_launched_an_instance_is_found_by_its_tag() -> None:
    world = World()
    world.apply(pool(max_instances=1))
    world.enqueue(1)
    world.run()
    (instance,) = world.instances().values()
    found = Decisions(world.table).that_launched("cpu", instance.decision, instance.launched_at)
    assert found
    assert found.actions[0]["decision"] == instance.decision


def fleet(count: int, jobs: int, queued: int) -> Snapshot:
    """As it is in life: ids that repeat nothing, times that differ."""
    ids = iter(range(10**9))

    def name(prefix: str) -> str:
        return f"{prefix}-{hashlib.sha256(str(next(ids)).encode()).hexdigest()[:32]}"

    instances = tuple(
        build.instance(name("i"), decision=name("d"), launched_at=build.ago(600 + number / 7))
        for number in range(count)
    )
    leases = tuple(
        build.lease(name("j"), each.instance_id, slots=1, request_id=name("r"))
        for each in instances
        for _ in range(jobs)
    )
    queue = tuple(build.job(1, job_id=name("j"), submitted_at=build.ago(number)) for number in range(queued))
    return build.snapshot(pool=build.pool(max_instances=count), instances=instances, leases=leases, queue=queue)


def test_a_pool_of_a_thousand_instances_is_kept_whole() -> None:
    snapshot = fleet(1000, jobs=1, queued=200)
    packed = packed_snapshot(snapshot)
    assert packed.note is None
    assert packed.data
    assert len(packed.data) <= stored.SNAPSHOT_MOST
    assert len(unpacked_snapshot(packed.data).instances) == 1000


def test_a_queue_too_long_to_keep_is_cut_at_its_end_and_said_so() -> None:
    packed = packed_snapshot(fleet(1000, jobs=4, queued=9000))
    assert packed.data
    assert len(packed.data) <= stored.SNAPSHOT_MOST
    left = unpacked_snapshot(packed.data)
    assert not left.queue_complete
    assert packed.note == f"the kept snapshot leaves out the last {9000 - len(left.queue)} queued jobs"


def test_a_snapshot_that_is_too_large_without_its_queue_is_not_kept_and_said_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stored, "SNAPSHOT_MOST", 100)
    packed = packed_snapshot(fleet(3, jobs=1, queued=1))
    assert packed.data is None
    assert packed.note
    assert "not kept" in packed.note


def test_the_largest_decision_fits_an_item() -> None:
    world = World()
    world.apply(pool())
    world.run()
    (decision,) = kept(world)
    large = replace(decision, snapshot=fleet(1000, jobs=8, queued=9000), epoch=decision.epoch + 1)
    Decisions(world.table).put(large, kept=timedelta(days=1))
    assert json.dumps(kept(world)[-1].notes)
