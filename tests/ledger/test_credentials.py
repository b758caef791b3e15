"""The data role's credentials: for the caller's own pool, and nobody else's."""

from datetime import timedelta

from lambdas import names
from lambdas.domain.instants import to_text
from lowtide.sim.calls import aws_error
from tests.ledger.world import World, pool


def test_a_worker_gets_an_hour_of_the_data_role_tagged_with_its_pool_and_itself(world: World) -> None:
    instance = world.instance()
    answer = world.call(names.API_CREDENTIALS, instance, {})
    assert answer == {
        **{"access_key": "ASIA1", "secret_key": "secret", "token": "token", "bucket": "bucket", "log_group": "logs"},
        "expires_at": to_text(world.clock() + timedelta(hours=1)),
    }
    (asked,) = world.sts.asked
    assert asked["RoleSessionName"] == instance
    assert {tag["Key"]: tag["Value"] for tag in asked["Tags"]} == {"pool": "gpu", "instance": instance}


def test_the_pool_in_a_body_says_nothing() -> None:
    world = World(pools=[pool("gpu"), pool("cpu")])
    world.call(names.API_CREDENTIALS, world.instance(), {"pool": "cpu"})
    assert {"Key": "pool", "Value": "gpu"} in world.sts.asked[0]["Tags"]


def test_an_unknown_instance_gets_none(world: World) -> None:
    status, answer = world.post(names.API_CREDENTIALS, f"i-{9:017x}", {})
    assert (status, answer["error"]) == (403, "unknown-instance")
    assert world.sts.asked == []


def test_sts_throttling_is_a_503(world: World) -> None:
    world.sts.failing = aws_error("AssumeRole", "Throttling", "slow down")
    assert world.post(names.API_CREDENTIALS, world.instance(), {})[0] == 503
