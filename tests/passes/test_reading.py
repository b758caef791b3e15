from datetime import timedelta
from decimal import Decimal

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from lambdas.adapters import keys
from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.pool_table import QUEUE_LOOK, PoolTable
from lambdas.adapters.ssm import image_parameter
from lambdas.adapters.table import Conflict
from lowtide.sim.calls import FailNext, Recorder, aws_error
from tests.passes.world import World, changed, facts, pool


def test_a_pool_is_stored_as_it_was_given_with_the_next_version() -> None:
    world = World()
    wanted = pool(types=(facts(), facts("m7i.large", on_demand_price=None)), image_id="ami-own")
    stored = world.apply(wanted)
    assert stored.version == 1
    assert world.config.pool("cpu") == stored == changed(wanted, version=1, applied_at=world.clock())
    assert world.apply(changed(wanted, max_instances=7)).version == 2
    assert [p.max_instances for p in world.config.history("cpu")] == [7, 3]
    assert [p.name for p in world.config.pools()] == ["cpu"]


def test_the_second_of_two_appliers_is_told_and_changes_nothing() -> None:
    world = World()
    first = world.apply(pool())
    world.config.put_pool(changed(first, max_instances=4), 1, now=world.clock())
    with pytest.raises(Conflict):
        world.config.put_pool(changed(first, max_instances=9), 1, now=world.clock())
    with pytest.raises(Conflict):
        world.config.put_pool(pool(), None, now=world.clock())
    found = world.config.pool("cpu")
    assert found is not None
    assert (found.version, found.max_instances) == (2, 4)
    assert len(list(PoolConfig(world.table).history("cpu"))) == 2


def test_the_queue_is_read_in_rank_order_over_all_its_shards() -> None:
    world = World()
    applied = world.apply(pool())
    for priority in (0, 5, -5, 100):
        world.enqueue(10, priority=priority)
        world.advance(1)
    queue, complete = PoolTable(world.table).queue_head(applied, 1000)
    assert complete
    assert [job.priority for job in queue] == [100] * 10 + [5] * 10 + [0] * 10 + [-5] * 10
    assert len({keys.shard(job.job_id) for job in queue}) > 1


def test_reading_the_queue_costs_what_the_pool_is_big_and_not_what_the_backlog_is_long() -> None:
    world, recorder = World(), Recorder()
    applied = world.apply(pool(max_instances=2))
    world.enqueue(1000)
    world.hook(recorder)
    queue, complete = PoolTable(world.table).queue_head(applied, 2)
    assert not complete
    assert len(queue) == QUEUE_LOOK
    assert len(recorder.calls) <= 2 * keys.QUEUE_SHARDS


def test_the_queue_is_read_as_far_as_the_pool_could_fill_its_slots() -> None:
    world = World()
    applied = world.apply(pool(types=(facts("g5.48xlarge", slots=8, gpus=8),), max_instances=50))
    world.enqueue(500)
    queue, _ = PoolTable(world.table).queue_head(applied, 400)
    assert len(queue) == 401


def test_a_pass_over_a_quiet_pool_makes_few_calls() -> None:
    world, recorder = World(), Recorder()
    world.apply(pool())
    world.run()
    world.hook(recorder)
    world.run()
    assert len(recorder.calls) <= 4 + keys.QUEUE_SHARDS
    assert not any(call.startswith(("ec2.", "ssm.")) for call in recorder.calls)


def test_images_are_resolved_once_a_day() -> None:
    world = World()
    world.apply(pool())
    world.enqueue(1)
    world.run()
    world.run()
    assert len(world.ssm.asked) == 1
    world.advance(25 * 3600)
    world.enqueue(1)
    world.run()
    assert len(world.ssm.asked) == 2


def test_the_owners_image_needs_no_lookup() -> None:
    world = World()
    world.apply(pool(image_id="ami-own"))
    world.enqueue(1)
    world.run()
    assert world.ssm.asked == []
    assert world.ec2.fleets[0]["LaunchTemplateConfigs"][0]["Overrides"][0]["ImageId"] == "ami-own"


def test_without_an_image_nothing_is_launched_and_the_reason_says_so() -> None:
    world = World()
    world.ssm.missing = {image_parameter(facts())}
    world.apply(pool())
    world.enqueue(1)
    world.run()
    assert world.ec2.fleets == []
    assert [code for _, code in world.reasons()] == ["NoImage"]
    world.run()
    assert len(world.ssm.asked) == 1, "what the Region lacks is not asked for every minute"


def test_the_missing_right_to_find_images_is_the_reason_to_act_on() -> None:
    world = World()
    world.apply(pool())
    world.enqueue(1)
    said = (
        "User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: ssm:GetParameters on resource: arn "
        "because no identity-based policy allows the ssm:GetParameters action"
    )
    denied = ClientError({"Error": {"Code": "AccessDeniedException", "Message": said}}, "GetParameters")
    world.hook(FailNext(errors={"ssm.get_parameters": [denied]}))
    world.run()
    assert [(str(kind), code) for kind, code in world.reasons()] == [
        ("permission", "AccessDeniedException"),
        ("configuration", "NoImage"),
    ]
    world.run()
    assert "permission" not in {str(kind) for kind, _ in world.reasons()}


def test_the_last_known_images_are_used_while_ssm_does_not_answer() -> None:
    world = World()
    world.apply(pool(max_instances=5))
    world.enqueue(1)
    world.run()
    world.advance(25 * 3600)
    world.enqueue(3)
    world.hook(FailNext(errors={"ssm.get_parameters": [EndpointConnectionError(endpoint_url="https://ssm")]}))
    world.run()
    assert len(world.ec2.fleets) == 2


@pytest.mark.parametrize(
    ("kind", "parameter"),
    [
        (facts(), "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"),
        (facts(architecture="arm64"), "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"),
        (
            facts(gpus=8),
            "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id",
        ),
        (
            facts(gpus=1, architecture="arm64"),
            "/aws/service/deeplearning/ami/arm64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id",
        ),
    ],
)
def test_gpu_types_get_the_deep_learning_image_and_others_al2023(kind: object, parameter: str) -> None:
    assert image_parameter(kind) == parameter  # type: ignore[arg-type]


def test_prices_are_read_once_for_all_pools_and_again_when_they_are_old() -> None:
    world, recorder = World(), Recorder()
    world.ec2.prices = {("c7i.large", "us-west-2a"): Decimal("0.03")}
    for name in ("one", "two"):
        world.apply(pool(name))
        world.enqueue(1, name)
    world.hook(recorder)
    world.run("one")
    world.run("two")
    assert recorder.calls.count("ec2.describe_spot_price_history") == 1
    world.advance(301)
    world.enqueue(1, "one")
    world.run("one")
    assert recorder.calls.count("ec2.describe_spot_price_history") == 2


def test_a_pass_goes_on_with_the_last_prices_when_ec2_does_not_tell_new_ones() -> None:
    world = World()
    world.apply(pool())
    world.enqueue(1)
    denied = aws_error("DescribeSpotPriceHistory", "UnauthorizedOperation", "no", status=403)
    world.hook(FailNext(errors={"ec2.describe_spot_price_history": [denied]}))
    world.run()
    assert len(world.ec2.running()) == 1


def test_a_pool_made_anew_under_an_old_name_never_repeats_an_epoch() -> None:
    world = World()
    pools = PoolTable(world.table)
    first = pools.begin("cpu", world.clock()).epoch
    for _ in range(5):
        pools.begin("cpu", world.clock())
    world.config.forget_unknown("cpu", first + 5)
    world.clock.advance(timedelta(seconds=1))
    assert pools.begin("cpu", world.clock()).epoch > first + 5
