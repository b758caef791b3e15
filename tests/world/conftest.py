"""One Lowtide, deployed once by the real CDK CLI into an unkind local AWS, for all tests here.

Prices and capacity of the types that the tests use are held, so that only what a test does moves them; everything else
(late Describe, failing boots, strangers' warnings, doubled events) stays as it is.
Everything goes through a user's doors.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest

from lambdas import names
from lambdas.adapters import keys
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.parked import Parked, ParkedMessage
from lambdas.adapters.pool_config import PoolConfig
from lambdas.adapters.pool_table import PoolTable
from lambdas.adapters.table import Table
from lambdas.domain.fleet.fleet import Instance
from lambdas.domain.jobs.job_record import JobRecord
from lambdas.domain.jobs.jobs import JobState
from lambdas.domain.settings import Settings
from lowtide.local.complete import LocalAws
from lowtide.market.instances import Happening

PACE = 20.0
"""A minute of AWS lasts three seconds; a two-minute notice six."""
CHECKPOINT = timedelta(seconds=60) / PACE
"""A running job is saved this often, more often than a deployment's default, so that jobs of seconds see several."""
RESERVE = timedelta(seconds=3)
"""For the last save and for saying so, before an announced end; a twentieth of the default is nothing to a machine that
has other things to do."""
SPOT_TYPE, STEADY_TYPE, SCARCE_TYPE = "m7i.large", "c7i.large", "m6i.large"
LAST = "test_the_end.py"
JOB_ROLE = "world-jobs"
"""The one role that pools may name for their jobs."""
SPOT_PRICE = Decimal("0.02")
PATIENCE = 120.0
"""Seconds until a condition counts as missed: some ten times what it takes on a free machine."""
ENDED = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.PARKED}

T = TypeVar("T")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """One process has the world: its first test deploys it, and the one that destroys it comes last."""
    items.sort(key=lambda item: item.path.name == LAST)
    mine = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in mine:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("world"))
            item.add_marker(pytest.mark.world)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(300))
    yield
    if "PYTEST_XDIST_WORKER" in os.environ and not all(item.nodeid.endswith("@world") for item in mine):
        raise pytest.UsageError("these tests take one process: run them with --dist loadgroup, or without -n")


def until(what: str, look: Callable[[], T], holds: Callable[[T], Any] = bool, seconds: float = PATIENCE) -> T:
    """The first thing seen that holds; fails with what was seen last."""
    deadline = time.monotonic() + seconds
    while not holds(seen := look()):
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {seconds:.0f} s; last seen: {seen!r}")
        time.sleep(0.1)
    return seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The deployed stack and its world."""

    aws: LocalAws
    outputs: Mapping[str, str]
    folder: Path
    table: Table
    context: Mapping[str, str]
    """The `-c` options that it was deployed with, beside those of every world."""

    # --- what a user does ---

    def lowtide(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A command as typed; its output is text."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment = {**kept, **self.aws.world.environment(), "COLUMNS": "200"}
        command = [sys.executable, "-m", "lowtide", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)

    def apply(self, *pools: Mapping[str, Any]) -> None:
        done = self.lowtide("pools", "apply", self.pool_file(*pools), "--yes")
        assert done.returncode == 0, done.stdout + done.stderr

    def pool_file(self, *pools: Mapping[str, Any]) -> str:
        """`pools`: providers with their `pool_name`."""
        entries = [
            {"pool_name": p["pool_name"], "provider": {k: v for k, v in p.items() if k != "pool_name"}} for p in pools
        ]
        file = self.folder / "pools.json"
        file.write_text(json.dumps({"resource_pools": entries}))
        return str(file)

    def send(self, body: str | Mapping[str, Any]) -> str:
        """A plain message on the job queue; its message id."""
        text = body if isinstance(body, str) else json.dumps(body)
        url = self.outputs[names.OUTPUT_JOB_QUEUE_URL]
        return self.aws.world.client("sqs").send_message(QueueUrl=url, MessageBody=text)["MessageId"]

    # --- what became of it ---

    def job(self, job_id: str) -> JobRecord | None:
        return Ledger(self.table, jobs_kept=Settings().jobs_kept).job(job_id)

    def in_state(self, job_id: str, *states: JobState) -> JobRecord:
        job = until(
            f"job {job_id} to be {' or '.join(states)}",
            lambda: self.job(job_id),
            lambda job: job is not None and job.state in states,
        )
        assert job is not None
        return job

    def ended(self, job_id: str) -> JobRecord:
        return self.in_state(job_id, *ENDED)

    def shown(self, job_id: str) -> dict[str, Any]:
        return json.loads(self.lowtide("jobs", "show", job_id, "--json").stdout)

    def parked(self) -> list[ParkedMessage]:
        return list(Parked(self.table).list())

    def parked_as(self, what: str, wanted: Callable[[ParkedMessage], bool]) -> ParkedMessage:
        """The first record that is as wanted."""
        found = until(what, self.parked, lambda records: any(map(wanted, records)))
        return next(filter(wanted, found))

    def instances(self, pool: str) -> list[Instance]:
        """As the stack's table knows them."""
        records = PoolTable(self.table).records(pool)
        return [] if records is None else list(records.instances)

    def reasons(self, pool: str) -> list[Mapping[str, Any]]:
        return (self.table.get(keys.pool(pool), keys.STATE) or {}).get("reasons", [])

    def pools(self) -> PoolConfig:
        return PoolConfig(self.table)

    def happened(self, what: str, instance_id: str | None = None) -> list[Happening]:
        return [
            line for line in self.aws.market.history() if line.what == what and instance_id in (None, line.instance_id)
        ]

    # --- what AWS does ---

    def function(self, part: str) -> dict[str, Any]:
        """The configuration of the function whose logical id holds `part`."""
        functions = self.aws.world.client("lambda").list_functions()["Functions"]
        (found,) = (f for f in functions if part in f["FunctionName"])
        return found

    def role_of(self, part: str) -> str:
        """The name of that function's role."""
        return self.function(part)["Role"].rsplit("/", 1)[-1]

    def invoke(self, part: str, event: Any) -> Any:
        name = self.function(part)["FunctionName"]
        answer = self.aws.world.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event))
        payload = json.loads(answer["Payload"].read() or "null")
        assert "FunctionError" not in answer, payload
        return payload


def steady(**more: Any) -> dict[str, Any]:
    """On demand, so that the market takes nothing back."""
    return {
        **{"pool_name": "steady", "type": "aws", "instance_type": STEADY_TYPE, "min_instances": 1, "max_instances": 2},
        **{"max_idle_agent_period": "10s", "max_agent_starting_period": "25s", **more},
    }


def spot(**more: Any) -> dict[str, Any]:
    return {
        **{"pool_name": "spot", "type": "aws", "instance_type": SPOT_TYPE, "spot": True, "max_instances": 1},
        **{"max_idle_agent_period": "2s", "max_agent_starting_period": "25s", **more},
    }


def scarce(**more: Any) -> dict[str, Any]:
    """Of a type that there is none of, until a test says otherwise."""
    return spot(**{"pool_name": "scarce", "instance_type": SCARCE_TYPE, **more})


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = replace(
        Settings().paced(PACE),
        idle_power_off=Settings().idle_power_off / 180,
        checkpoint=CHECKPOINT,
        save_reserve_least=RESERVE,
        save_reserve_most=RESERVE * 4 / 3,
    )
    with LocalAws(pace=PACE, random=Random(11)) as aws:
        for instance_type in (SPOT_TYPE, STEADY_TYPE, SCARCE_TYPE):
            aws.market.set_price(instance_type, "*", SPOT_PRICE)
        for instance_type in (SPOT_TYPE, STEADY_TYPE):
            aws.market.set_capacity(instance_type, "*", 40, lifecycle=None)
        aws.market.set_capacity(SCARCE_TYPE, "*", 0, lifecycle=None)
        context = {
            **{"retention": "delete", "settings": settings.to_json()},
            "job_roles": f"arn:aws:iam::{aws.world.account}:role/{JOB_ROLE}",
        }
        outputs = aws.world.deploy(names.STACK, context=context)
        table = Table(aws.world.client("dynamodb"), outputs[names.OUTPUT_TABLE_NAME])
        stack = Stack(aws=aws, outputs=outputs, folder=tmp_path_factory.mktemp("world"), table=table, context=context)
        stack.apply(steady(), spot(), scarce())
        yield stack
