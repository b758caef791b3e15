"""An account of the local AWS without the stack, and a doctor who looks at it with a pool file."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import boto3
import pytest

from lowtide.cli.connection import Deployment
from lowtide.doctor.examination import examine
from lowtide.doctor.findings import Finding
from lowtide.local import ec2
from lowtide.local.world import World
from lowtide.market import catalogue
from lowtide.poolfile.load import PoolFile, read
from tests.market.conftest import PLAIN, RecordingHosts
from tests.market.worlds import Steady

VCPUS = 32
"""Of every quota."""
CPU: Mapping[str, Any] = {"type": "aws", "instance_type": "m7g.large", "spot": True, "max_instances": 4}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    def part(world: Any) -> None:
        unkindness = replace(PLAIN, other_quota=VCPUS)
        ec2.install(world, RecordingHosts(), unkindness=unkindness, conditions=Steady())

    with World(pace=60.0, random=Random(5), on_demand_price=catalogue.on_demand_price, parts=[part]) as world:
        world.client("ssm").put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value="21", Type="String")
        yield world


Look = Callable[..., list[Finding]]
"""(names of checks; none: all, and keys of `provider`) -> what is found."""


def session(world: World, key_id: str | None = None, secret: str | None = None) -> Any:
    """With these keys, else as the root user."""
    told = world.environment()
    return boto3.Session(
        aws_access_key_id=key_id or told["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=secret or told["AWS_SECRET_ACCESS_KEY"],
        region_name=world.region,
    )


@pytest.fixture(scope="module")
def root(world: World) -> Any:
    """One for all tests: it reads the models of services once."""
    return session(world)


@pytest.fixture
def look(world: World, root: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Look:
    """What a doctor finds about a pool of these keys of `provider`, in the account as it is."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", world.endpoint)

    def find(*checks: str, by: Any = root, **provider: Any) -> list[Finding]:
        found = list(examine(Deployment("Lowtide", by), pool_file(tmp_path, **provider)))
        return [each for each in found if each.check in checks] if checks else found

    return find


def pool_file(place: Path, **provider: Any) -> PoolFile:
    path = place / "pools.json"
    pool = {"pool_name": "cpu", "provider": {**CPU, **provider}}
    path.write_text(json.dumps({"resource_pools": [pool]}))
    file = read(path)
    assert not file.problems, file.problems
    return file
