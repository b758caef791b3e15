"""A working deployment is broken on purpose, each time for one pool: what `lowtide why` says of it must be what was
broken, and what it says to do must mend it, where the local AWS can do it.

Everything that keeps one pool alone from its capacity is broken at once; what touches all of them (prices aside, the
account's request rate) comes by itself. `pytest -s` prints what `why` said, as docs/operations.md shows it.
"""

import json
import shlex
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError

from lambdas import names
from lambdas.domain.jobs.job_record import POISON_INSTANCES
from lambdas.domain.jobs.jobs import JobState
from lowtide.local import spot_role
from lowtide.local.contract import upstream
from lowtide.local.world import utc_now
from tests.world.conftest import SCARCE_TYPE, STEADY_TYPE, Stack, spot, steady, until
from tests.world.said import essence, written

pytestmark = pytest.mark.long

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
ZONE = "us-east-1a"
DEAR_TYPE, DEAR_PRICE = "r7i.large", Decimal("2.00")
GONE = "ami-0badbadbadbadbad0"
POISON = "poison-job"
HUGE_TYPE = "c7i.48xlarge"
"""Has 192 vCPUs, of an on-demand quota of 128."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the first reason must say. A code of several: which of them EC2 words it by is its own chance."""

    reason_class: str
    codes: frozenset[str]
    capacity_type: str | None = None
    instance_type: str | None = None
    zone: str | None = None


def expected(reason_class: str, *codes: str, **offering: str) -> Expected:
    return Expected(reason_class=reason_class, codes=frozenset(codes), **offering)


EXPECTED: Mapping[str, Expected] = {
    "role": expected("permission", "AuthFailure.ServiceLinkedRoleCreationNotPermitted", capacity_type="spot"),
    "quota": expected("quota", "VcpuLimitExceeded", capacity_type="on-demand"),
    "price": expected("price", "SpotMaxPriceTooLow", "PriceAboveLimit", capacity_type="spot", instance_type=DEAR_TYPE),
    "zone": expected(
        "capacity",
        *("InsufficientInstanceCapacity", "UnfulfillableCapacity"),
        capacity_type="on-demand",
        instance_type=SCARCE_TYPE,
        zone=ZONE,
    ),
    "image": expected("configuration", "InvalidAMIID.NotFound", capacity_type="on-demand"),
    "subnet": expected("capacity", "InsufficientFreeAddressesInSubnet", capacity_type="on-demand", zone=ZONE),
    "boot": expected("configuration", "InstancesNeverReport"),
    "paused": expected("paused", "PoolPaused"),
    "throttling": expected("throttling", "RequestLimitExceeded", "RequestRateShared"),
    "poison-job": expected("configuration", "JobStoppedEarly"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """The pools as they were applied, broken; a job or more waits in each."""

    stack: Stack
    pools: Mapping[str, Mapping[str, Any]]
    jobs: dict[str, list[str]]
    texts: dict[str, str]

    def why(self, name: str) -> dict[str, Any]:
        """As JSON, once its first reason is of the class that was broken."""
        wanted = EXPECTED[name].reason_class

        def asked() -> dict[str, Any]:
            done = self.stack.lowtide("why", name, "--json")
            return json.loads(done.stdout) if done.returncode == 0 else {"reasons": [], "error": done.stderr}

        found = until(f"{name}: {wanted}", asked, lambda seen: [r["class"] for r in seen["reasons"][:1]] == [wanted])
        if name not in self.texts:
            self.texts[name] = self.stack.lowtide("why", name).stdout
        return found

    def mended(self, name: str) -> None:
        """The jobs that waited have run."""
        for job_id in self.jobs[name]:
            assert self.stack.ended(job_id).state is JobState.SUCCEEDED


def check(name: str, found: Mapping[str, Any]) -> None:
    wanted, first = EXPECTED[name], found["reasons"][0]
    assert first["class"] == wanted.reason_class
    assert first["code"] in wanted.codes
    for key, value in (
        ("capacity_type", wanted.capacity_type),
        ("instance_type", wanted.instance_type),
        ("availability_zone", wanted.zone),
    ):
        assert value in (None, first[key]), key
    assert name in found["sentence"]


# --- breaking ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broken(stack: Stack) -> Iterator[Broken]:
    """Everything that breaks one pool alone. What was broken for all is whole again at the end."""
    stack.aws.market.set_price(DEAR_TYPE, "*", DEAR_PRICE)
    stack.aws.market.set_capacity(DEAR_TYPE, "*", 40, lifecycle=None)
    full = _full_subnet(stack)
    none = {"min_instances": 0, "max_instances": 1, "max_idle_agent_period": "2s"}
    pools: dict[str, dict[str, Any]] = {
        "role": spot(pool_name="role"),
        "quota": steady(**{**none, "pool_name": "quota", "instance_type": HUGE_TYPE}),
        "price": spot(pool_name="price", instance_type=DEAR_TYPE, spot_max_price="0.05"),
        "zone": steady(
            **{**none, "pool_name": "zone", "instance_type": SCARCE_TYPE, "subnet_ids": [_stacks_subnet(stack)]}
        ),
        "image": steady(**{**none, "pool_name": "image"}),
        "subnet": steady(**{**none, "pool_name": "subnet", "subnet_ids": [full]}),
        "boot": steady(**{**none, "pool_name": "boot", "max_instances": 3, "max_agent_starting_period": "12s"}),
        "paused": steady(**{**none, "pool_name": "paused"}),
        "throttling": steady(**{**none, "pool_name": "throttling"}),
    }
    jobs: dict[str, list[str]] = {}
    stack.apply(*pools.values())
    _take_its_image(stack, "image")
    assert stack.lowtide("pools", "pause", "paused").returncode == 0
    with _without_spot_role(stack), _dumb_instances(stack):
        for name in pools.keys() - {"price", "throttling"}:
            count = 3 if name == "boot" else 1
            jobs[name] = [stack.send({"pool": name, "command": "true"}) for _ in range(count)]
        made = Broken(stack=stack, pools=pools, jobs=jobs, texts={})
        yield made
    stack.aws.world.client("ec2").delete_subnet(SubnetId=full)
    print()
    for name, text in made.texts.items():
        print(f"```text why {name}\n{text.rstrip()}\n```\n")


def _stacks_subnet(stack: Stack) -> str:
    subnets: dict[str, str] = json.loads(
        stack.function("ControlReconcile")["Environment"]["Variables"][names.ENV_SUBNETS]
    )
    return subnets[ZONE]


def _take_its_image(stack: Stack, name: str) -> None:
    """The image that the owner named was there when the pool was applied, and is not any more."""
    pool = stack.pools().pool(name)
    assert pool is not None
    gone = replace(pool, image_id=GONE, images=tuple((kind, GONE) for kind, _ in pool.images))
    stack.pools().put_pool(gone, pool.version, now=utc_now())


def _full_subnet(stack: Stack) -> str:
    """One of the owner's, in the stack's network, that others have filled."""
    ec2 = stack.aws.world.client("ec2")
    vpc = ec2.describe_subnets(SubnetIds=[_stacks_subnet(stack)])["Subnets"][0]["VpcId"]
    made = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.250.0/28", AvailabilityZone=ZONE)["Subnet"]["SubnetId"]
    ec2.create_tags(Resources=[made], Tags=[{"Key": names.TAG_STACK, "Value": names.STACK}])
    with upstream("core.responses").request_scope(stack.aws.world.account, stack.aws.world.region):
        upstream("services.ec2")._subnets[made]["AvailableIpAddressCount"] = 0
    return made


@contextmanager
def _without_spot_role(stack: Stack) -> Iterator[None]:
    iam = stack.aws.world.client("iam")
    iam.delete_role(RoleName=spot_role.ROLE)
    try:
        yield
    finally:
        try:
            iam.get_role(RoleName=spot_role.ROLE)
        except ClientError:
            spot_role.create(stack.aws.world.account, stack.aws.world.region)


@contextmanager
def _dumb_instances(stack: Stack) -> Iterator[None]:
    """The role of instances lost what it needs to fetch its worker and to call: what boots says nothing."""
    attach = _worker_policy(stack)
    stack.aws.world.client("iam").detach_role_policy(**attach)
    try:
        yield
    finally:
        stack.aws.world.client("iam").attach_role_policy(**attach)


def _worker_policy(stack: Stack) -> dict[str, str]:
    roles = json.loads(stack.function("WorkerApi")["Environment"]["Variables"][names.ENV_WORKER_ROLES])
    return {"RoleName": roles[0], "PolicyArn": stack.outputs[names.OUTPUT_WORKER_POLICY_ARN]}


@contextmanager
def _noisy_neighbour(stack: Stack) -> Iterator[None]:
    """Somebody else in the account calls EC2 as fast as EC2 lets them: the bucket of launches stays empty."""
    given = stack.aws.world.environment()
    session: Any = boto3.session.Session(given["AWS_ACCESS_KEY_ID"], given["AWS_SECRET_ACCESS_KEY"])
    ec2 = session.client(
        "ec2",
        region_name=stack.aws.world.region,
        endpoint_url=stack.aws.world.endpoint,
        config=Config(retries={"total_max_attempts": 1}),
    )
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            with pytest.raises(ClientError):
                ec2.run_instances(ImageId="ami-1", InstanceType=STEADY_TYPE, MinCount=1, MaxCount=1, DryRun=True)

    callers = [threading.Thread(target=call, daemon=True) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        yield
    finally:
        over.set()
        for caller in callers:
            caller.join()


# --- mending ----------------------------------------------------------------------------------------------------------


def aws(stack: Stack, command: str) -> None:
    """A command of the AWS CLI, made as the call that it stands for."""
    _, service, verb, *words = shlex.split(command)
    client: Any = stack.aws.world.client(service)
    operation = verb.replace("-", "_")
    shape = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation]).input_shape
    spelled = {f"--{xform_name(member, '-')}": member for member in shape.members}
    given = {spelled[option]: value for option, value in zip(words[::2], words[1::2], strict=True)}
    getattr(client, operation)(**given)


def apply_again(broken: Broken, found: Mapping[str, Any], **change: Any) -> None:
    """`lowtide pools apply FILE`, as printed, with the file changed as was said. None takes a key away."""
    assert found["command"] == "lowtide pools apply FILE" or "lowtide pools apply FILE" in found["reasons"][0]["remedy"]
    pool = {**broken.pools[found["name"]], **change}
    broken.stack.apply({key: value for key, value in pool.items() if value is not None})


# --- what is said, and that it helps ----------------------------------------------------------------------------------


ALONE = ["role", "quota", "zone", "image", "subnet", "boot", "paused"]


@pytest.mark.parametrize("name", ALONE)
def test_the_first_reason_is_what_was_broken(broken: Broken, name: str) -> None:
    check(name, broken.why(name))


def test_spot_runs_again_once_the_printed_command_has_made_its_role(broken: Broken) -> None:
    command = broken.why("role")["command"]
    assert command == "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
    broken.stack.aws.world.client("iam").attach_role_policy(**_worker_policy(broken.stack))
    aws(broken.stack, command)
    broken.mended("role")


def test_a_paused_pool_runs_again_once_the_printed_command_has_resumed_it(broken: Broken) -> None:
    _, *words = shlex.split(broken.why("paused")["command"])
    assert words == ["pools", "resume", "paused"]
    assert broken.stack.lowtide(*words).returncode == 0
    broken.mended("paused")


MENDS: Mapping[str, Mapping[str, Any]] = {
    "zone": {"instance_type": None, "instance_types": [SCARCE_TYPE, STEADY_TYPE]},
    "image": {},
    "subnet": {"subnet_ids": None},
    "boot": {"max_agent_starting_period": "25s"},
}
"""What is changed in the pool file, None taking a key away; the image was never in that file."""


@pytest.mark.parametrize("name", MENDS)
def test_what_the_pool_file_asked_for_in_vain_runs_once_it_is_mended_as_was_said(broken: Broken, name: str) -> None:
    broken.stack.aws.world.client("iam").attach_role_policy(**_worker_policy(broken.stack))
    apply_again(broken, broken.why(name), **MENDS[name])
    broken.mended(name)


def test_the_printed_command_asks_for_the_quota_that_was_in_the_way(broken: Broken) -> None:
    found = broken.why("quota")
    command, _, vcpus = found["command"].rpartition(" ")
    assert command == (
        "aws service-quotas request-service-quota-increase --service-code ec2 --quota-code L-1216C47A --desired-value"
    )
    assert int(vcpus) > 192, "for the other pools too"
    assert "is 128" in found["reasons"][0]["message"]


def test_a_price_above_the_limit_is_told_with_the_limit_that_would_do(broken: Broken) -> None:
    broken.jobs["price"] = [broken.stack.send({"pool": "price", "command": "true"})]
    found = broken.why("price")
    check("price", found)
    edit = yaml.safe_load(found["edit"])
    assert Decimal(str(edit["spot_max_price"])) > DEAR_PRICE
    apply_again(broken, found, spot_max_price=str(edit["spot_max_price"]))
    broken.mended("price")


def test_a_job_that_fails_wherever_it_begins_is_stopped_early_and_runs_once_its_cause_is_mended(broken: Broken) -> None:
    """An input that somebody forgot to upload."""
    stack = broken.stack
    bucket, key = stack.outputs[names.OUTPUT_BUCKET_NAME], f"{names.PREFIX_INPUTS}forgotten.txt"
    stack.apply(steady(pool_name="poison", min_instances=POISON_INSTANCES, max_instances=POISON_INSTANCES))
    forgotten = {"s3": f"s3://{bucket}/{key}", "path": "forgotten.txt"}
    stack.send(
        {"pool": "poison", "id": POISON, "command": "cat forgotten.txt", "inputs": [forgotten], "max_attempts": 100}
    )
    assert stack.ended(POISON).state is JobState.FAILED
    found = broken.why(POISON)
    check(POISON, found)
    stack.aws.world.client("s3").put_object(Bucket=bucket, Key=key, Body=b"here")
    command, *words = shlex.split(found["command"])
    assert (command, words) == ("lowtide", ["jobs", "retry", POISON])
    assert stack.lowtide(*words).returncode == 0
    assert stack.ended(POISON).state is JobState.SUCCEEDED
    stack.apply(steady(pool_name="poison", min_instances=0))


def test_throttling_is_told_and_passes_by_itself(broken: Broken) -> None:
    with _noisy_neighbour(broken.stack):
        broken.jobs["throttling"] = [broken.stack.send({"pool": "throttling", "command": "true"})]
        check("throttling", broken.why("throttling"))
    broken.mended("throttling")


def test_the_runbook_shows_what_why_says(broken: Broken) -> None:
    """Where EC2 chose the other of two codes this time, another example would be as true."""
    shown = {name: essence(text) for name, text in written(OPERATIONS.read_text(encoding="utf-8")).items()}
    said = {name: essence(text) for name, text in broken.texts.items()}
    assert set(shown) == set(EXPECTED)
    assert all(said[name] == shown[name] for name in said if said[name][0] == shown[name][0])
