"""Each role may do what it must and nothing else; what is missing is a reason that names it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from lambdas import names
from lambdas.domain.jobs.jobs import JobState
from tests.world.conftest import STEADY_TYPE, Stack, steady, until

LAUNCHING = [
    *(("MakeTagged", action) for action in ("ec2:CreateFleet", "ec2:RunInstances")),
    *(("LaunchFrom", action) for action in ("ec2:CreateFleet", "ec2:RunInstances")),
    *(("TagAtLaunch", "ec2:CreateTags"), ("GiveInstancesTheirRole", "iam:PassRole")),
    ("FindImages", "ssm:GetParameters"),
]
"""Every statement that a launch rests on, by action."""


@pytest.fixture(scope="module")
def waiting(stack: Stack) -> dict[str, str]:
    """A new pool for each case (one that launched before knows its image); its job, once there is one."""
    stack.apply(
        *(steady(pool_name=_pool(n), min_instances=0, max_idle_agent_period="1s") for n in range(len(LAUNCHING)))
    )
    return {}


def _pool(number: int) -> str:
    return f"denied-{number}"


@contextmanager
def without(stack: Stack, part: str, sid: str, action: str) -> Iterator[None]:
    """The role's inline policy loses one action of one statement, then gets it back."""
    iam, role = stack.aws.world.client("iam"), stack.role_of(part)
    (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    poorer = json.loads(json.dumps(document))
    (statement,) = (s for s in poorer["Statement"] if s.get("Sid") == sid)
    actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
    statement["Action"] = [a for a in actions if a != action]
    assert len(statement["Action"]) == len(actions) - 1
    if not statement["Action"]:
        poorer["Statement"].remove(statement)
    iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(poorer))
    try:
        yield
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))


@pytest.mark.parametrize(("number", "sid", "action"), [(n, *case) for n, case in enumerate(LAUNCHING)])
def test_a_permission_that_a_launch_lacks_is_a_reason_that_names_it(
    stack: Stack, waiting: dict[str, str], number: int, sid: str, action: str
) -> None:
    pool = _pool(number)
    with without(stack, "ControlReconcile", sid, action):
        waiting[pool] = stack.send({"pool": pool, "command": "true"})
        reasons = until(
            f"a reason of {pool} that names {action}",
            lambda: stack.reasons(pool),
            lambda found: any(r["class"] == "permission" and action in r["message"] for r in found),
        )
    assert reasons[0]["class"] == "permission", "the first reason is the one to act on"
    assert action in reasons[0]["remedy"]


def test_once_the_permission_is_there_each_job_runs_by_itself(stack: Stack, waiting: dict[str, str]) -> None:
    for job_id in waiting.values():
        assert stack.ended(job_id).state is JobState.SUCCEEDED


# --- ending ---


@pytest.mark.parametrize("part", ["ControlTick", "ControlReconcile", "TeardownFunction"])
def test_only_what_carries_the_stacks_tag_can_be_ended(stack: Stack, part: str) -> None:
    ec2 = as_role(stack, stack.role_of(part), "function")("ec2")
    stranger = a_stranger(stack)
    ours = running(stack)
    assert refusal(lambda: ec2.terminate_instances(InstanceIds=[ours], DryRun=True)) == "DryRunOperation"
    assert refusal(lambda: ec2.terminate_instances(InstanceIds=[stranger], DryRun=True)) == "UnauthorizedOperation"
    stack.aws.world.client("ec2").terminate_instances(InstanceIds=[stranger])


def as_role(stack: Stack, role: str, session: str) -> Callable[[str], Any]:
    """Makes clients that sign as this session of the role."""
    given = stack.aws.world.role_credentials(role, session)
    return lambda service: boto3.client(
        service,
        region_name=stack.aws.world.region,
        endpoint_url=stack.aws.world.endpoint,
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["Token"],
    )


def refusal(call: Callable[[], Any]) -> str:
    """The code that AWS refuses with; "" when it does not."""
    try:
        call()
    except ClientError as error:
        return error.response["Error"]["Code"]
    return ""


def a_stranger(stack: Stack) -> str:
    """An instance that somebody else launched in the same account, once EC2 lists it."""
    ec2 = stack.aws.world.client("ec2")
    found = ec2.describe_instances(InstanceIds=[running(stack)])["Reservations"][0]["Instances"][0]
    launched = ec2.run_instances(
        ImageId=found["ImageId"], InstanceType=STEADY_TYPE, SubnetId=found["SubnetId"], MinCount=1, MaxCount=1
    )
    instance_id = launched["Instances"][0]["InstanceId"]
    until(
        f"EC2 to list {instance_id}", lambda: refusal(lambda: ec2.describe_instances(InstanceIds=[instance_id])) == ""
    )
    return instance_id


def running(stack: Stack) -> str:
    """A running instance of the stack that has called the worker API."""
    return until(
        "a running instance",
        lambda: [i.instance_id for i in stack.instances("steady") if i.heartbeat_at and i.ends_at is None],
    )[0]


# --- an instance's own rights ---


@pytest.fixture
def worker_role(stack: Stack) -> str:
    roles = json.loads(stack.function("WorkerApi")["Environment"]["Variables"][names.ENV_WORKER_ROLES])
    return roles[0]


def test_an_instance_may_touch_nothing_but_the_worker_api(stack: Stack, worker_role: str) -> None:
    bucket, instance_id = stack.outputs[names.OUTPUT_BUCKET_NAME], running(stack)
    root = stack.aws.world.client("s3")
    for key in (f"{names.PREFIX_INPUTS}mine", "other/thing"):
        root.put_object(Bucket=bucket, Key=key, Body=b"x")
    client = as_role(stack, worker_role, instance_id)
    tick = stack.function("ControlTick")["FunctionName"]
    role_arn = stack.aws.world.client("iam").get_role(RoleName=worker_role)["Role"]["Arn"]
    key = {"pk": {"S": "STACK"}, "sk": {"S": "CONTROL"}}
    refused = {
        "inputs": refusal(lambda: client("s3").get_object(Bucket=bucket, Key=f"{names.PREFIX_INPUTS}mine")),
        "describe": refusal(lambda: client("ec2").describe_instances()),
        "terminate": refusal(lambda: client("ec2").terminate_instances(InstanceIds=[instance_id])),
        "table": refusal(
            lambda: client("dynamodb").get_item(TableName=stack.outputs[names.OUTPUT_TABLE_NAME], Key=key)
        ),
        "queue": refusal(
            lambda: client("sqs").send_message(QueueUrl=stack.outputs[names.OUTPUT_JOB_QUEUE_URL], MessageBody="{}")
        ),
        "other object": refusal(lambda: client("s3").get_object(Bucket=bucket, Key="other/thing")),
        "write": refusal(lambda: client("s3").put_object(Bucket=bucket, Key=f"{names.PREFIX_INPUTS}x", Body=b"x")),
        "function": refusal(lambda: client("lambda").invoke(FunctionName=tick)),
        "session name": refusal(lambda: client("sts").assume_role(RoleArn=role_arn, RoleSessionName="i-another")),
    }
    assert {what: code for what, code in refused.items() if "Denied" not in code and "Unauthorized" not in code} == {}


def test_what_the_worker_api_hands_out_reads_inputs_and_keeps_the_own_pools_data_alone(
    stack: Stack, worker_role: str
) -> None:
    bucket, instance_id = stack.outputs[names.OUTPUT_BUCKET_NAME], running(stack)
    root = stack.aws.world.client("s3")
    for key in (f"{names.PREFIX_INPUTS}mine", f"{names.PREFIX_CHECKPOINTS}other/job/x", "other/thing"):
        root.put_object(Bucket=bucket, Key=key, Body=b"x")
    status, given = call_api(stack, worker_role, instance_id, names.API_CREDENTIALS, {})
    assert status == 200
    s3 = boto3.client(
        "s3",
        region_name=stack.aws.world.region,
        endpoint_url=stack.aws.world.endpoint,
        aws_access_key_id=given["access_key"],
        aws_secret_access_key=given["secret_key"],
        aws_session_token=given["token"],
    )
    own, others = (f"{names.PREFIX_CHECKPOINTS}{pool}/job/x" for pool in ("steady", "other"))
    assert refusal(lambda: s3.get_object(Bucket=bucket, Key=f"{names.PREFIX_INPUTS}mine")) == ""
    assert refusal(lambda: s3.put_object(Bucket=bucket, Key=own, Body=b"x")) == ""
    assert refusal(lambda: s3.get_object(Bucket=bucket, Key=others)) == "AccessDenied"
    assert refusal(lambda: s3.put_object(Bucket=bucket, Key=others, Body=b"x")) == "AccessDenied"
    assert refusal(lambda: s3.get_object(Bucket=bucket, Key="other/thing")) == "AccessDenied"


def call_api(stack: Stack, role: str, session: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and answer of one signed call."""
    given = stack.aws.world.role_credentials(role, session)
    credentials = Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["Token"])
    url = stack.outputs[names.OUTPUT_WORKER_API_URL].rstrip("/") + path
    request = AWSRequest("POST", url, data=json.dumps(body), headers={"Content-Type": "application/json"})
    SigV4Auth(credentials, "lambda", stack.aws.world.region).add_auth(request)
    try:
        with urlopen(
            Request(url, data=json.dumps(body).encode(), headers=dict(request.headers), method="POST")
        ) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")


HELLO = {"boot_id": "b", "worker": "1", "vcpus": 2, "memory_mib": 4096, "gpus": 0}


def test_who_is_no_instance_of_the_stack_gets_nothing_from_the_worker_api(stack: Stack, worker_role: str) -> None:
    instance_id = running(stack)
    assert call_api(stack, worker_role, instance_id, names.API_HELLO, HELLO)[1]["pool"] == "steady"
    assert call_api(stack, worker_role, "somebody", names.API_HELLO, HELLO)[1]["error"] == "not-a-worker"
    unknown = call_api(stack, worker_role, f"i-{0:017x}", names.API_HELLO, HELLO)
    assert (unknown[0], unknown[1]["error"]) == (403, "unknown-instance")
    assert call_api(stack, stack.role_of("ControlTick"), instance_id, names.API_HELLO, HELLO)[0] == 403


def test_an_instance_cannot_end_another_ones_job(stack: Stack, worker_role: str) -> None:
    job_id = stack.send({"pool": "steady", "command": ["sleep", "4"]})
    job = stack.in_state(job_id, JobState.RUNNING)
    stack.apply(steady(min_instances=2))
    other = until(
        "another instance",
        lambda: [
            i.instance_id for i in stack.instances("steady") if i.heartbeat_at and i.instance_id != job.instance_id
        ],
    )[0]
    now = "2026-01-01T00:00:00.000000Z"
    finish = {
        **{"job_id": job_id, "fence": job.fence, "started_at": now, "ended_at": now, "exit_code": 1, "signal": None},
        **{"timed_out": False, "interrupted": False, "done": False, "error": None},
    }
    status, said = call_api(stack, worker_role, other, names.API_FINISH, finish)
    assert (status, said["error"]) == (403, "not-yours")
    assert stack.ended(job_id).state is JobState.SUCCEEDED
