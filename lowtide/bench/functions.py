"""What each function's cold start and first answer cost, beside a handler that only makes the same boto3 clients."""

import io
import json
import re
import subprocess
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from infra.bundling import build_functions, build_worker
from lambdas import names
from lambdas.adapters import items, keys
from lambdas.adapters.attributes import encode
from lambdas.domain.fleet.fleet import Instance, InstanceState
from lambdas.domain.pools.pools import CapacityType
from lambdas.domain.reasons import ReasonClass
from lambdas.domain.refusals.shortages import Alarmed
from lowtide.bench.results import ROOT, Result
from lowtide.bench.runtime_api import RuntimeApi, Started
from lowtide.bench.stage import INSTANCE_TYPE, Stage
from lowtide.local.deploy import RuntimeTarget
from lowtide.local.world import RUNTIME_PYTHON

RUNS = 7
AIM, AIM_WITH_EC2 = 1.15, 1.25
_POOL = "functions"
_CLIENTS_ALONE = """import boto3
clients = [boto3.client(service) for service in {services}]
def handler(event, context):
    return None
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One of the stack's functions as it is called most often."""

    module: str
    services: tuple[str, ...]
    """AWS services whose clients it makes for its work."""
    event: Callable[["_Bench"], Mapping[str, Any]]


def functions(stage: Stage) -> tuple[Result, Result]:
    with RuntimeApi() as api, _asleep(stage), switched_off(stage):
        bench = _Bench(stage, api)
        rows = tuple(bench.row(function) for function in FUNCTIONS)
    worker = build_worker(ROOT).path.stat().st_size
    started = Result(
        name="functions",
        title="Cold starts",
        about="CPU time and peak resident memory of AWS's own runtime client from its start until the function has "
        f"answered once, median of {RUNS} pairs of processes; the answers of AWS come from the local AWS. Beside it "
        "a handler that makes the same boto3 clients and does nothing: it calls nothing, so that every call of the "
        f"first answer counts for the function. The aim is at most {AIM_WITH_EC2} for functions that call EC2 and "
        f"{AIM} for the others, and a zip of at most 5 MB. All functions share one zip, which holds descriptions of "
        "only those operations that they call, and they take botocore's clients without boto3: a ratio below 1 is "
        "what that saves. With boto3's clients of whole descriptions, imports alone were at 1.19 to 1.34 of the "
        "clients in functions that call EC2 and at 1.27 to 1.35 in the others. The worker, which an instance "
        f"fetches at its boot, is one zip of {worker / 1024:.0f} KiB for every architecture.",
        columns=("function", "zip MiB", "clients alone, CPU ms", "first answer, CPU ms", "ratio", "peak MiB", "beside"),
        rows=rows,
    )
    return started, _imports(bench.bundle)


class _Bench:
    def __init__(self, stage: Stage, api: RuntimeApi) -> None:
        self.stage, self.api = stage, api
        target = RuntimeTarget.of_host()
        self.bundle = build_functions(ROOT, python=target.python, arch=target.arch).path
        self.size = f"{_zip_bytes(self.bundle) / 2**20:.2f}"
        stage.apply_pool(_POOL, most=1_000)
        listed = stage.world.client("lambda").get_paginator("list_functions").paginate()
        self._deployed = {each["Handler"]: each for page in listed for each in page["Functions"]}

    def row(self, function: Function) -> tuple[str, ...]:
        pairs = [(self._alone(function), self._whole(function)) for _ in range(RUNS)]
        alone, whole = (median(each.cpu_seconds for each in side) * 1000 for side in zip(*pairs, strict=True))
        ratio = median(whole.cpu_seconds / alone.cpu_seconds for alone, whole in pairs)
        beside, peak = (median(each.peak_mib for each in side) for side in zip(*pairs, strict=True))
        name = function.module.replace("_", " ")
        return name, self.size, f"{alone:.0f}", f"{whole:.0f}", f"{ratio:.2f}", f"{peak:.0f}", f"{beside:.0f}"

    def _alone(self, function: Function) -> Started:
        place = self.stage.world.data_dir / "clients-alone" / function.module
        place.mkdir(parents=True, exist_ok=True)
        (place / "app.py").write_text(_CLIENTS_ALONE.format(services=repr(function.services)), encoding="utf-8")
        return self.api.run(place, "app.handler", {}, self.stage.world.environment())

    def _whole(self, function: Function) -> Started:
        handler = f"lambdas.handlers.{function.module}.handler"
        event, variables = function.event(self), self._environment(function.module)
        return self.api.run(self.bundle, handler, event, variables, arn=self._deployed[handler]["FunctionArn"])

    def _environment(self, module: str) -> dict[str, str]:
        given = self.stage.world.environment()
        return {**given, "AWS_REGION": self.stage.world.region, **self.variables(module)}

    def variables(self, module: str) -> dict[str, str]:
        """The function's own."""
        return self._deployed[f"lambdas.handlers.{module}.handler"]["Environment"]["Variables"]

    def _accepted(self) -> str:
        """The id of a new job."""
        message = self.job_message()
        self.api.run(self.bundle, "lambdas.handlers.intake.handler", message, self._environment("intake"))
        return str(json.loads(message["Records"][0]["body"])["id"])

    # --- events -------------------------------------------------------------------------------------------------------

    def job_message(self) -> Mapping[str, Any]:
        body = json.dumps({"pool": _POOL, "command": ["true"], "id": f"job-{uuid.uuid4().hex}"})
        sent = str(int(datetime.now(UTC).timestamp() * 1000))
        record = {"messageId": uuid.uuid4().hex, "body": body, "attributes": {"SentTimestamp": sent}}
        return {"Records": [record]}

    def ring(self) -> Mapping[str, Any]:
        """After a job, so that the pass has something to launch."""
        self._accepted()
        return {"Records": [{"body": json.dumps({"pool": _POOL, "cause": "bench"})}]}

    def poll(self) -> Mapping[str, Any]:
        """A claim by an instance that has run nothing yet."""
        instance = Instance(
            instance_id=f"i-{uuid.uuid4().hex[:17]}",
            pool=_POOL,
            decision="d-1",
            instance_type=INSTANCE_TYPE,
            zone="us-east-1a",
            state=InstanceState.RUNNING,
            reported_at=datetime.now(UTC),
            idle_since=datetime.now(UTC),
            slots=1,
            launched_at=datetime.now(UTC),
            capacity_type=CapacityType.SPOT,
        )
        self.stage.table.put(items.instance_item(instance))
        role = json.loads(self.variables("worker_api")[names.ENV_WORKER_ROLES])[0]
        caller = f"arn:aws:sts::{self.stage.world.account}:assumed-role/{role}/{instance.instance_id}"
        asked = {"request_id": uuid.uuid4().hex, "free_slots": 1, "free_aux_slots": 0, "most": 1}
        return {
            "rawPath": names.API_CLAIM,
            "requestContext": {"authorizer": {"iam": {"userArn": caller}}},
            "body": json.dumps(asked),
        }

    def state_change(self) -> Mapping[str, Any]:
        """Of an instance that is not the stack's, as most are."""
        return {
            **{"id": uuid.uuid4().hex, "source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification"},
            "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "detail": {"instance-id": f"i-{uuid.uuid4().hex[:17]}", "state": "shutting-down"},
        }

    def job_change(self) -> Mapping[str, Any]:
        place = keys.job(self._accepted())
        return _stream_record(place, keys.JOB, self.stage.table.get(place, keys.JOB) or {})

    def shortage(self) -> Mapping[str, Any]:
        told = Alarmed(since=datetime.now(UTC), reason_class=ReasonClass.CAPACITY, code="InsufficientInstanceCapacity")
        state = {names.ATTRIBUTE_ALARMED: items.alarmed_document(told), "summary": {"desired": 1}}
        return _stream_record(keys.pool(_POOL), keys.STATE, state)

    def tick(self) -> Mapping[str, Any]:
        return {"id": uuid.uuid4().hex}

    def creation(self) -> Mapping[str, Any]:
        ids = dict.fromkeys(("StackId", "RequestId", "LogicalResourceId"), "bench")
        return {"RequestType": "Create", "ResponseURL": f"http://{self.api.address}/answer", **ids}


def _stream_record(pk: str, sk: str, item: Mapping[str, Any]) -> Mapping[str, Any]:
    place = {names.TABLE_PK: pk, names.TABLE_SK: sk}
    change = {
        "Keys": encode(place),
        "NewImage": encode({**item, **place}),
        "SequenceNumber": "1",
        "ApproximateCreationDateTime": datetime.now(UTC).timestamp(),
    }
    return {"Records": [{"eventName": "INSERT", "dynamodb": change}]}


FUNCTIONS = (
    Function(module="intake", services=("dynamodb", "sqs"), event=_Bench.job_message),
    Function(module="reconcile", services=("dynamodb", "sqs", "ec2", "ssm"), event=_Bench.ring),
    Function(module="tick", services=("dynamodb", "sqs", "ec2"), event=_Bench.tick),
    Function(module="news", services=("dynamodb", "sqs"), event=_Bench.state_change),
    Function(module="worker_api", services=("dynamodb", "sqs", "sts"), event=_Bench.poll),
    Function(module="job_events", services=("events",), event=_Bench.job_change),
    Function(module="notices", services=("sns",), event=_Bench.shortage),
    Function(module="catalogue", services=("dynamodb", "ec2", "pricing"), event=_Bench.tick),
    Function(module="teardown", services=("dynamodb", "ec2", "s3"), event=_Bench.creation),
)


@contextmanager
def _asleep(stage: Stage) -> Generator[None]:
    """No instance boots while functions are measured."""
    stage.hosts.asleep = True
    try:
        yield
    finally:
        stage.hosts.asleep = False


@contextmanager
def switched_off(stage: Stage) -> Generator[None]:
    """Functions take nothing from queues and streams inside."""
    functions = stage.world.client("lambda")
    mappings = [
        each["UUID"]
        for page in functions.get_paginator("list_event_source_mappings").paginate()
        for each in page["EventSourceMappings"]
        if each["State"] == "Enabled"
    ]
    for mapping in mappings:
        functions.update_event_source_mapping(UUID=mapping, Enabled=False)
    try:
        yield
    finally:
        for mapping in mappings:
            functions.update_event_source_mapping(UUID=mapping, Enabled=True)


# --- what each import costs -------------------------------------------------------------------------------------------

_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(\S+)")
_GROUPS = ("botocore", "lambdas.domain", "lambdas.adapters", "lambdas.control", "lambdas.handlers")
_OTHER = "the rest of Python"


def _imports(bundle: Path) -> Result:
    rows = tuple(_import_row(bundle, function.module) for function in FUNCTIONS)
    return Result(
        name="imports",
        benchmark="functions",
        title="What each import costs",
        about="Per cent of the time that a function's imports take, by Python's own `-X importtime`; median of "
        f"{RUNS}. What making a frozen dataclass costs, half a millisecond, is most of a module of the domain.",
        columns=("function", *_GROUPS, _OTHER, "the three dearest of our own"),
        rows=rows,
    )


def _import_row(bundle: Path, module: str) -> tuple[str, ...]:
    runs = [_import_times(bundle, module) for _ in range(RUNS)]
    groups = [Counter[str]() for _ in runs]
    for grouped, run in zip(groups, runs, strict=True):
        for name, microseconds in run.items():
            grouped[_group(name)] += microseconds
    figures = [f"{median(_percent(each, group) for each in groups):.0f}" for group in (*_GROUPS, _OTHER)]
    ours = {name: median(_percent(run, name) for run in runs) for name in runs[0] if name.startswith("lambdas.")}
    dearest = sorted(ours, key=lambda name: -ours[name])[:3]
    told = ", ".join(f"{name.removeprefix('lambdas.')} {ours[name]:.1f}" for name in dearest)
    return (module.replace("_", " "), *figures, told)


def _percent(times: Mapping[str, int], name: str) -> float:
    return 100 * times.get(name, 0) / sum(times.values())


def _import_times(bundle: Path, module: str) -> dict[str, int]:
    """Module -> microseconds of its own import, without those that it imports."""
    done = subprocess.run(
        [str(RUNTIME_PYTHON), "-B", "-X", "importtime", "-c", f"import lambdas.handlers.{module}"],
        cwd=bundle,
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    return {name: int(own) for own, name in _LINE.findall(done.stderr)}


def _group(module: str) -> str:
    return next((group for group in _GROUPS if module == group or module.startswith(f"{group}.")), _OTHER)


def _zip_bytes(directory: Path) -> int:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in directory.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(directory))
    return len(buffer.getvalue())
