import threading
from datetime import datetime, timedelta
from decimal import Decimal

from botocore.exceptions import ReadTimeoutError

from lambdas import names
from lambdas.adapters import keys
from lambdas.adapters.launch_table import LaunchTable
from lambdas.adapters.pool_table import PoolTable
from lambdas.domain.fleet.fleet import Instance, InstanceState, Intention, LaunchRequest, Override
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.instants import from_text
from lambdas.domain.plan.plan import Plan, plan
from lambdas.domain.pools.pools import CapacityType
from lowtide.sim.calls import FailNext, aws_error
from lowtide.sim.clock import START
from tests.passes.world import World, facts, pool


def lost() -> FailNext:
    return FailNext(lost={"ec2.create_fleet": [ReadTimeoutError(endpoint_url="https://ec2")]})


def refused(code: str, message: str = "no", status: int = 400) -> FailNext:
    return FailNext(errors={"ec2.create_fleet": [aws_error("CreateFleet", code, message, status=status)]})


def test_waiting_jobs_bring_instances_up_to_the_maximum() -> None:
    world = World()
    world.apply(pool(max_instances=3))
    world.enqueue(10)
    world.run()
    assert len(world.ec2.running()) == 3
    assert set(world.instances()) == set(world.ec2.machines)
    assert world.under(keys.INTENT_PREFIX) == []


def test_every_override_of_a_spot_request_carries_the_limit_and_the_request_no_total() -> None:
    world = World()
    world.apply(pool(types=(facts("c7i.large"), facts("m7i.large"))))
    world.enqueue(1)
    world.run()
    (request,) = world.ec2.fleets
    overrides = request["LaunchTemplateConfigs"][0]["Overrides"]
    assert {(o["InstanceType"], o["SubnetId"]) for o in overrides} == {
        (kind, subnet) for kind in ("c7i.large", "m7i.large") for subnet in ("subnet-a", "subnet-b")
    }
    assert {o["MaxPrice"] for o in overrides} == {"0.05"}
    assert {o["ImageId"] for o in overrides} == {"ami-x86"}
    assert "MaxTotalPrice" not in request["SpotOptions"]
    assert request["Type"] == "instant"


def test_whatever_a_fleets_request_may_tag_is_tagged_with_stack_pool_and_decision() -> None:
    world = World()
    world.apply(pool())
    world.enqueue(1)
    world.run()
    (request,) = world.ec2.fleets
    assert {s["ResourceType"] for s in request["TagSpecifications"]} == {"fleet", "instance", "volume"}
    for specification in request["TagSpecifications"]:
        assert {t["Key"]: t["Value"] for t in specification["Tags"]} == {
            names.TAG_STACK: "Lowtide",
            names.TAG_POOL: "cpu",
            names.TAG_DECISION: request["ClientToken"],
        }
    (instance,) = world.instances().values()
    assert instance.decision == request["ClientToken"]
    assert instance.price_limit == Decimal("0.05")


def test_sixteen_passes_of_one_pool_at_once_launch_no_more_than_the_maximum() -> None:
    world = World()
    world.apply(pool(max_instances=3))
    world.enqueue(20)
    barrier = threading.Barrier(16)

    def one() -> None:
        barrier.wait()
        world.run()

    threads = [threading.Thread(target=one) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.ec2.most_at_once <= 3
    world.run()
    assert len(world.ec2.running()) == 3


def test_a_lost_answer_asked_for_again_brings_the_same_instances() -> None:
    world = World()
    world.apply(pool(max_instances=2))
    world.enqueue(5)
    world.hook(lost())
    world.run()
    assert world.instances() == {}
    assert len(world.under(keys.INTENT_PREFIX)) == 1
    assert world.sqs.bodies(world.queue), "another pass is asked for at once"
    world.run()
    assert set(world.instances()) == set(world.ec2.machines)
    assert len(world.ec2.running()) == 2
    assert world.under(keys.INTENT_PREFIX) == [], "the repeated answer names all that was asked for"


def test_an_unanswered_request_counts_in_full_against_the_maximum() -> None:
    world = World()
    world.apply(pool(max_instances=2))
    world.enqueue(5)
    world.hook(lost())
    world.run()
    assert world.state()["summary"]["launching"] == 2
    world.hook(None)
    world.ec2.capacity = 0
    world.advance(61)
    world.run()
    assert len(world.ec2.fleets) == 1, "too late to repeat, and no room to ask for more"


def test_an_intention_whose_call_never_happened_is_closed_by_two_observations_and_asked_for_anew() -> None:
    world = World()
    world.apply(pool(max_instances=2))
    world.enqueue(5)
    world.hook(FailNext(errors={"ec2.create_fleet": [ReadTimeoutError(endpoint_url="https://ec2")]}))
    world.run()
    assert world.ec2.machines == {}
    world.hook(None)
    world.advance(61)
    for _ in range(2):
        world.advance(61)
        world.run()
        assert world.ec2.machines == {}, "not settled yet"
        world.observe()
    world.run()
    world.run()
    assert len(world.ec2.running()) == 2


def test_a_repeated_call_that_is_refused_leaves_the_first_one_open() -> None:
    world = World()
    world.apply(pool(max_instances=2))
    world.enqueue(5)
    world.hook(lost())
    world.run()
    world.hook(refused("RequestLimitExceeded", status=503))
    world.run()
    (intention,) = world.under(keys.INTENT_PREFIX)
    assert from_text(intention["not_after"]) > world.clock(), "and it may be repeated again"
    assert len(world.ec2.running()) == 2


def intended(world: World, count: int) -> Intention:
    """An open intention of an applied pool's running pass."""
    override = Override(
        instance_type="c7i.large", zone="us-west-2a", subnet_id="subnet-a", image_id="ami-x86", max_price=None
    )
    asked = LaunchRequest(
        capacity_type=CapacityType.SPOT, overrides=(override,), count=count, allocation_strategy="lowest-price"
    )
    now = world.clock()
    intention = Intention(
        intention_id="d1", pool="cpu", request=asked, created_at=now, not_after=now + timedelta(seconds=60)
    )
    LaunchTable(world.table).intend(intention, PoolTable(world.table).begin("cpu", now).epoch)
    return intention


def instance(instance_id: str) -> Instance:
    return Instance(
        instance_id=instance_id,
        pool="cpu",
        decision="d1",
        state=InstanceState.LAUNCHING,
        capacity_type=CapacityType.SPOT,
        instance_type="c7i.large",
        zone="us-west-2a",
        slots=1,
        launched_at=START,
    )


def test_an_answer_that_comes_while_its_call_is_being_repeated_does_not_close_the_intention() -> None:
    world = World()
    intention, table = intended(world, 2), LaunchTable(world.table)
    assert table.mark_repeated(intention, world.clock())
    table.record(intention, [instance("i-1")], [])
    (stored,) = world.under(keys.INTENT_PREFIX)
    assert stored["adopted"] == 1
    assert set(world.instances()) == {"i-1"}


def test_a_repeated_answer_that_names_too_few_keeps_the_rest_in_flight_until_it_is_observed() -> None:
    world = World()
    intention, table = intended(world, 3), LaunchTable(world.table)
    world.advance(10)
    table.record_repeated(intention, [instance("i-1"), instance("i-2")], world.clock())
    (stored,) = world.under(keys.INTENT_PREFIX)
    assert stored["adopted"] == 2
    assert from_text(stored["not_after"]) == world.clock(), "answered: it is not asked for again"


def test_an_instance_that_the_tick_adopted_first_is_counted_once() -> None:
    world = World()
    intention, table = intended(world, 3), LaunchTable(world.table)
    table.record_repeated(intention, [instance("i-1")], world.clock())
    table.record_repeated(intention, [instance("i-1"), instance("i-2")], world.clock())
    (stored,) = world.under(keys.INTENT_PREFIX)
    assert stored["adopted"] == 2
    assert set(world.instances()) == {"i-1", "i-2"}


def test_when_ec2_throttles_one_pool_no_other_calls_at_once() -> None:
    world = World()
    for name in ("one", "two"):
        world.apply(pool(name))
        world.enqueue(1, name)
    world.hook(refused("RequestLimitExceeded", "Request limit exceeded.", status=503))
    world.run("one")
    world.hook(None)
    world.run("two")
    assert world.ec2.fleets == []
    assert world.reasons("two") == [("throttling", "RequestRateShared")]


def test_no_call_is_made_after_an_intention_has_run_out() -> None:
    world = World()
    world.apply(pool())
    world.enqueue(1)

    class Stall:
        """The process stands still for a minute once the intention is written."""

        def before(self, operation: str, request: object) -> None: ...

        def after(self, operation: str, request: object, response: object) -> None:
            if operation == "dynamodb.transact_write_items" and "intention_id" in str(request):
                world.advance(61)
                world.hook(None)

    world.hook(Stall())
    world.run()
    assert world.ec2.fleets == []
    assert len(world.under(keys.INTENT_PREFIX)) == 1


def test_a_stalled_pass_that_wakes_after_its_successor_decides_nothing() -> None:
    world = World()
    world.apply(pool(max_instances=2))
    world.enqueue(5)

    def stalled(snapshot: Snapshot, now: datetime) -> Plan:
        decided = plan(snapshot, now)
        world.run()
        return decided

    world.run(decide=stalled)
    assert len(world.ec2.fleets) == 1
    assert len(world.ec2.running()) == 2
    assert world.state()["summary"]["launching"] == 2, "what the successor concluded stands"


def test_an_unchanged_world_is_not_acted_on_twice() -> None:
    world = World()
    world.apply(pool(max_instances=2))
    world.enqueue(5)
    world.run()
    world.run()
    before = [item for item in world.dynamodb.everything("t") if item["sk"]["S"] != "STATE"]
    world.run()
    world.run()
    assert len(world.ec2.fleets) == 1
    assert [item for item in world.dynamodb.everything("t") if item["sk"]["S"] != "STATE"] == before


def test_a_refused_offering_is_marked_and_told_while_another_is_launched() -> None:
    world = World(errors={("c7i.large", "subnet-a"): ("InsufficientInstanceCapacity", "There is no Spot capacity")})
    world.apply(pool(max_instances=2))
    world.enqueue(5)
    world.run()
    assert len(world.ec2.running()) == 2
    (mark,) = world.under(keys.MARK_PREFIX)
    assert (mark["instance_type"], mark["zone"], mark["code"]) == (
        "c7i.large",
        "us-west-2a",
        "InsufficientInstanceCapacity",
    )
    assert not any(reason_class == "capacity" for reason_class, _ in world.reasons()), "everything wanted came"
    assert world.metrics.of(names.METRIC_LAUNCH_FAILURES, reason="capacity") == [1]


def test_what_cannot_be_had_has_a_reason_a_since_and_a_remedy() -> None:
    message = (
        "Your Spot request price of 0.05 is lower than the minimum required Spot request fulfillment price of 0.08."
    )
    world = World(errors={("c7i.large", s): ("SpotMaxPriceTooLow", message) for s in ("subnet-a", "subnet-b")})
    world.apply(pool())
    world.enqueue(1)
    world.run()
    reason = world.state()["reasons"][0]
    assert (reason["class"], reason["code"]) == ("price", "SpotMaxPriceTooLow")
    assert reason["remedy"]
    assert "unfulfilled_since" in world.state()
    assert world.state()["summary"]["unfulfilled"] == 1
    assert len(world.under(keys.MARK_PREFIX)) == 2
    assert world.under(keys.INTENT_PREFIX) == [], "a refusal is an answer"


def test_a_partial_fulfilment_is_recorded_and_the_rest_asked_for_again() -> None:
    world = World(capacity=1)
    world.apply(pool(max_instances=3))
    world.enqueue(5)
    world.run()
    assert len(world.instances()) == 1
    assert world.state()["summary"]["unfulfilled"] == 2
    assert world.reasons(), "nothing unfulfilled is without a reason"
    world.ec2.capacity = None
    world.advance(60)
    world.run()
    assert len(world.ec2.running()) == 3


def test_spot_that_came_as_on_demand_is_an_error_with_a_name_and_is_ended() -> None:
    world = World(comes_as="on-demand")
    world.apply(pool(max_instances=1))
    world.enqueue(1)
    world.run()
    assert ("configuration", "SpotCameAsOnDemand") in world.reasons()
    assert world.ec2.running() == []
    (instance,) = world.instances().values()
    assert instance.state == "draining"
    assert instance.termination_requested_at is not None


def test_a_throttled_call_marks_no_offering_and_is_not_made_again_at_once() -> None:
    world = World()
    world.apply(pool())
    world.enqueue(1)
    world.hook(refused("RequestLimitExceeded", "Request limit exceeded.", status=503))
    world.run()
    assert world.reasons() == [("throttling", "RequestLimitExceeded")]
    assert world.under(keys.MARK_PREFIX) == []
    assert world.under(keys.INTENT_PREFIX) == [], "EC2 throttles before it does anything: that is an answer"
    world.hook(None)
    world.run()
    assert world.ec2.fleets == []
    world.advance(60)
    world.run()
    assert len(world.ec2.running()) == 1


def test_a_fault_of_ec2_leaves_the_outcome_open() -> None:
    world = World()
    world.apply(pool())
    world.enqueue(1)
    world.hook(refused("InternalError", "An internal error has occurred", status=500))
    world.run()
    assert len(world.under(keys.INTENT_PREFIX)) == 1


def test_nothing_is_launched_once_the_stack_is_closing_even_when_that_came_after_the_snapshot() -> None:
    world = World()
    world.apply(pool())
    world.enqueue(1)

    def closes(snapshot: Snapshot, now: datetime) -> Plan:
        world.table.put({"pk": keys.STACK, "sk": keys.CONTROL, "closing": True})
        return plan(snapshot, now)

    world.run(decide=closes)
    assert world.ec2.fleets == []
    assert world.under(keys.INTENT_PREFIX) == []
