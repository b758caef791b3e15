"""Jobs with a role of their owner's, its secrets, and a container's image: all of the way, with IAM enforced."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from lambdas import names
from lambdas.domain.jobs.jobs import JobState
from tests.world.conftest import JOB_ROLE, Stack, steady, until

pytestmark = pytest.mark.long

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
    stack.apply(steady(pool_name=POOL, min_instances=0, max_idle_agent_period="10m", job_role_arn=role["Arn"]))
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


# --- what a job is given stays with it --------------------------------------------------------------------------------

VALUES = ("hunter2-of-the-environment", "value-of-token", "hunter2-of-a-parked-message")
"""An environment's value, a secret's (`owned`), and one of a message that is no job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Everything that the stack wrote or says, by where."""

    texts: dict[str, str]
    job_ids: list[str]


@pytest.fixture(scope="module")
def told(stack: Stack, owned: Owned) -> Told:
    """What is written and said of jobs that succeed, fail twice, run in a container, are denied a secret, wait, and of
    a message that is no job."""
    events = _event_queue(stack)
    given = {"env": {"PASSWORD": VALUES[0]}, "secrets": {"TOKEN": owned.token}, "pool": POOL}
    used = f'test "$TOKEN" = value-of-token && test "$PASSWORD" = {VALUES[0]}'
    ended = [
        stack.send({**given, "command": ["/bin/sh", "-c", 'test -n "$TOKEN$PASSWORD"'], "tags": {"team": "a"}}),
        stack.send({**given, "command": 'test -n "$TOKEN$PASSWORD" && exit 3', "max_attempts": 2}),
        stack.send({**given, "command": 'test -n "$TOKEN$PASSWORD"', "image": "registry.example/train:1"}),
        stack.send({**given, "command": used, "secrets": {"HIDDEN": owned.hidden}}),
    ]
    waiting = stack.send({"env": given["env"], "command": "true", "pool": "scarce"})
    wrong = stack.send({**given, "command": "true", "env": {"PASSWORD": {"of": VALUES[2]}}})
    assert [stack.ended(job_id).state for job_id in ended] == [
        *(JobState.SUCCEEDED, JobState.FAILED, JobState.SUCCEEDED, JobState.FAILED)
    ]
    stack.in_state(waiting, JobState.QUEUED)
    stack.parked_as("the message that is no job", lambda parked: parked.parked_id.endswith(f"#{wrong}"))
    texts = {**_logs(stack), **_listings(stack, [*ended, waiting]), "events": _events(stack, events, ended)}
    texts |= {
        f"console {each.instance_id}": stack.aws.hosts.console(each.instance_id) for each in stack.instances(POOL)
    }
    stack.lowtide("jobs", "cancel", waiting, "--yes")
    return Told(texts=texts, job_ids=ended)


def _logs(stack: Stack) -> dict[str, str]:
    """Every log group's events, the functions' and the jobs'."""
    logs = stack.aws.world.client("logs")
    groups = [
        group["logGroupName"]
        for page in logs.get_paginator("describe_log_groups").paginate()
        for group in page["logGroups"]
    ]
    found: dict[str, str] = {}
    for group in groups:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        found[f"log {group}"] = "\n".join(event["message"] for page in pages for event in page["events"])
    return found


def _listings(stack: Stack, job_ids: Sequence[str]) -> dict[str, str]:
    """What the command line says without being asked for a message's own body."""
    instances = [each.instance_id for each in stack.instances(POOL)][:1]
    asked = [
        *(("jobs", "list", "--pool", POOL), ("parked", "list"), ("status",), ("why", POOL), ("instances", "list")),
        *(("costs", "--tag", "team"),),
        *(("jobs", "show", job_id) for job_id in job_ids),
        *(("why", job_ids[-1]),),
        *(("instances", "show", instance_id) for instance_id in instances),
    ]
    found: dict[str, str] = {}
    for words in asked:
        done = stack.lowtide(*words, "--json")
        assert done.returncode == 0, (words, done.stderr)
        found[" ".join(words)] = done.stdout + done.stderr
    found["jobs list"] = stack.lowtide("jobs", "list", "--pool", POOL).stdout
    return found


def _event_queue(stack: Stack) -> str:
    """A queue that gets every event of the stack's from now on."""
    sqs, events = stack.aws.world.client("sqs"), stack.aws.world.client("events")
    url = sqs.create_queue(QueueName="every-event")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="every-event", EventPattern=json.dumps({"source": [names.EVENT_SOURCE]}))
    events.put_targets(Rule="every-event", Targets=[{"Id": "queue", "Arn": arn}])
    return url


def _events(stack: Stack, url: str, ended: Sequence[str]) -> str:
    """Until each of these jobs' ends was told."""
    sqs, bodies = stack.aws.world.client("sqs"), list[str]()

    def missing() -> set[str]:
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            bodies.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        details = [json.loads(body)["detail"] for body in bodies]
        return {*ended} - {each["job_id"] for each in details if each["state"] in ("succeeded", "failed")}

    until("an event of each end", missing, lambda seen: not seen)
    return "\n".join(bodies)


@pytest.mark.parametrize("value", VALUES)
def test_no_value_that_a_job_is_given_is_in_a_log_an_event_or_a_listing(told: Told, value: str) -> None:
    assert [place for place, text in told.texts.items() if value in text] == []


def test_the_search_for_values_sees_what_there_is(told: Told) -> None:
    """Jobs are named in the functions' logs, their events and their listings."""
    ran = told.job_ids[0]
    assert ran in told.texts["events"]
    assert ran in told.texts[f"jobs list --pool {POOL}"]
    assert ran in told.texts[f"jobs show {ran}"]
    named = {place for place, text in told.texts.items() if place.startswith(("log ", "console ")) and ran in text}
    assert named, "the worker's own lines name it"
