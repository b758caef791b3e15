"""Jobs with a role of their owner's, its secrets, and a container's image: all of the way, with IAM enforced."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lambdas import names
from lambdas.domain.jobs import JobState
from tests.world.conftest import JOB_ROLE, Stack, steady

POOL = "with-role"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """What the owner made: a role that may read one parameter and one secret."""

    arn: str
    token: str
    password: str
    hidden: str
    """A parameter that it may not read."""


@pytest.fixture(scope="module")
def owned(stack: Stack) -> Iterator[Owned]:
    client = stack.aws.world.client
    trust = {
        "Effect": "Allow",
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Principal": {"AWS": stack.outputs[names.OUTPUT_JOB_ROLE_PRINCIPAL_ARN]},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = client("iam").create_role(RoleName=JOB_ROLE, AssumeRolePolicyDocument=document)["Role"]
    for name in ("token", "hidden"):
        client("ssm").put_parameter(Name=f"/jobs/{name}", Value=f"value-of-{name}", Type="SecureString")
    token, hidden = (
        client("ssm").get_parameter(Name=f"/jobs/{name}")["Parameter"]["ARN"] for name in ("token", "hidden")
    )
    password = client("secretsmanager").create_secret(Name="password", SecretString="two\nlines")["ARN"]
    allowed = [
        {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": token},
        {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": password},
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": allowed})
    client("iam").put_role_policy(RoleName=JOB_ROLE, PolicyName="secrets", PolicyDocument=policy)
    stack.apply(steady(pool_name=POOL, min_instances=0, job_role_arn=role["Arn"]))
    yield Owned(arn=role["Arn"], token=token, password=password, hidden=hidden)
    stack.lowtide("pools", "delete", POOL, "--drain", "--yes")


ASK = 'test "$TOKEN" = value-of-token && test "$PASSWORD" = "$(printf \'two\\nlines\')" && test -n "$AWS_REGION"'


@pytest.mark.parametrize("image", [None, "registry.example/train:1"])
def test_a_job_has_its_secrets_and_its_pools_role_on_the_host_and_in_a_container(
    stack: Stack, owned: Owned, image: str | None
) -> None:
    secrets = {"TOKEN": owned.token, "PASSWORD": owned.password}
    job_id = stack.send({"pool": POOL, "command": ASK, "secrets": secrets, "image": image})
    job = stack.ended(job_id)
    assert (job.state, job.reason) == (JobState.SUCCEEDED, None)


def test_a_secret_that_the_role_may_not_read_fails_the_job_by_its_name(stack: Stack, owned: Owned) -> None:
    job = stack.ended(stack.send({"pool": POOL, "command": "true", "secrets": {"HIDDEN": owned.hidden}}))
    assert job.state is JobState.FAILED
    assert (job.reason or "").startswith(f"secret HIDDEN: {owned.hidden}: AccessDenied")


def test_a_role_that_was_not_named_at_deploy_is_refused_when_the_pool_is_applied(stack: Stack, owned: Owned) -> None:
    file = stack.pool_file(steady(pool_name=POOL, job_role_arn=f"{owned.arn}-other"))
    done = stack.lowtide("pools", "apply", file, "--yes")
    assert done.returncode != 0
    assert "deploy it with -c job_roles=" in done.stderr + done.stdout
