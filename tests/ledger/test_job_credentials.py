"""Credentials of a pool's job role: for who holds the job, and nobody else."""

from datetime import timedelta
from typing import Any

import pytest

from lambdas import names
from lambdas.control.caller import NotAWorker, calling_instance
from lambdas.control.job_credentials import session_name
from lambdas.domain.instants import to_text
from lowtide.sim.calls import aws_error
from tests.ledger.world import ACCOUNT, JOB_ROLE, ROLE, World, event, pool


@pytest.fixture
def world() -> World:
    made = World(pools=[pool("gpu", job_role_arn=JOB_ROLE)])
    made.job("train:7", secrets=(("TOKEN", "arn:aws:ssm:us-west-2:123456789012:parameter/x"),))
    return made


def ask(world: World, instance: str, job_id: str = "train:7", fence: int = 1) -> tuple[int, dict[str, Any]]:
    return world.post(names.API_JOB_CREDENTIALS, instance, {"job_id": job_id, "fence": fence})


def test_a_lease_says_that_its_job_has_a_role_and_which_secrets_it_wants(world: World) -> None:
    (lease,) = world.claim(world.instance())["leases"]
    assert (lease["job_role"], list(lease["secrets"])) == (True, ["TOKEN"])
    assert JOB_ROLE not in str(lease)


def test_the_holder_of_a_job_gets_an_hour_of_its_pools_role_tagged_with_pool_and_job(world: World) -> None:
    instance = world.instance()
    world.claim(instance)
    status, answer = ask(world, instance)
    assert (status, answer) == (
        200,
        {
            **{"access_key": "ASIA1", "secret_key": "secret", "token": "token"},
            "expires_at": to_text(world.clock() + timedelta(hours=1)),
        },
    )
    (asked,) = world.sts.asked
    assert (asked["RoleArn"], asked["RoleSessionName"]) == (JOB_ROLE, "job-train-7")
    assert {tag["Key"]: tag["Value"] for tag in asked["Tags"]} == {"pool": "gpu", "job": "train:7"}


@pytest.mark.parametrize(
    ("job_id", "fence", "error"),
    [("train:7", 2, "not-yours"), ("other", 1, "not-yours"), ("never", 1, "not-yours"), ("train:7", 1, "not-yours")],
)
def test_who_does_not_hold_the_lease_gets_nothing(world: World, job_id: str, fence: int, error: str) -> None:
    mine, others = world.instance(1), world.instance(2)
    world.claim(mine)
    world.job("other")
    world.claim(others, "r-2")
    asking = others if (job_id, fence) == ("train:7", 1) else mine
    status, answer = ask(world, asking, job_id, fence)
    assert (status, answer["error"], world.sts.asked) == (403, error, [])


def test_a_lease_that_is_over_gives_no_more(world: World) -> None:
    instance = world.instance()
    world.claim(instance)
    world.finish(instance, "train:7")
    assert ask(world, instance)[0] == 409
    assert world.sts.asked == []


def test_a_pool_without_a_role_lends_none() -> None:
    world = World()
    world.job()
    instance = world.instance()
    world.claim(instance)
    status, answer = ask(world, instance, "job")
    assert (status, answer["error"]) == (403, "no-job-role")
    assert "job_role_arn" in answer["remedy"]


def test_a_role_that_was_not_given_at_deploy_is_never_taken() -> None:
    world = World(pools=[pool("gpu", job_role_arn=f"arn:aws:iam::{ACCOUNT}:role/Admin")])
    world.job()
    instance = world.instance()
    world.claim(instance)
    status, answer = ask(world, instance, "job")
    assert (status, answer["error"]) == (403, "no-job-role")
    assert f"-c job_roles=arn:aws:iam::{ACCOUNT}:role/Admin" in answer["remedy"]
    assert world.sts.asked == []


def test_a_role_that_does_not_let_the_stack_in_says_what_its_trust_policy_lacks(world: World) -> None:
    instance = world.instance()
    world.claim(instance)
    world.sts.failing = aws_error("AssumeRole", "AccessDenied", "not authorized")
    status, answer = ask(world, instance)
    assert (status, answer["error"]) == (403, "no-job-role")
    assert "sts:TagSession" in answer["remedy"]
    assert names.OUTPUT_JOB_ROLE_PRINCIPAL_ARN in answer["remedy"]


def test_sts_throttling_is_a_503(world: World) -> None:
    instance = world.instance()
    world.claim(instance)
    world.sts.failing = aws_error("AssumeRole", "Throttling", "slow down")
    assert ask(world, instance)[0] == 503


@pytest.mark.parametrize("job_id", ["i-0123456789abcdef0", "a:b", "x" * 128])
def test_a_jobs_session_is_never_taken_for_a_worker(job_id: str) -> None:
    name = session_name(job_id)
    assert 2 <= len(name) <= 64
    with pytest.raises(NotAWorker):
        calling_instance(event("/v1/hello", name, {}), roles={ROLE}, account=ACCOUNT)
