"""What each function's start costs: its zip, and the CPU time of its imports beside making its AWS clients alone."""

import io
import os
import subprocess
import zipfile
from pathlib import Path
from statistics import median

from infra.bundling import build_functions, build_worker
from lowtide.bench.results import ROOT, Result
from lowtide.local.deploy import RuntimeTarget
from lowtide.local.world import RUNTIME_PYTHON

RUNS = 5
CLIENTS = {
    "intake": ("dynamodb", "sqs"),
    "reconcile": ("dynamodb", "sqs", "ec2", "ssm"),
    "tick": ("dynamodb", "sqs", "ec2"),
    "news": ("dynamodb", "sqs"),
    "worker_api": ("dynamodb", "sqs", "sts"),
    "catalogue": ("dynamodb", "ec2", "pricing"),
    "job_events": ("events",),
    "notices": ("sns",),
    "teardown": ("dynamodb", "ec2"),
}
"""The AWS clients that each function makes for its work."""
_MEASURE = """import time, sys
began = time.process_time()
import boto3
for service in sys.argv[2:]:
    boto3.client(service)
clients = time.process_time()
__import__(sys.argv[1])
print(clients - began, time.process_time() - began)
"""
"""Both figures of one process, so that a machine that slows down slows both. What a client has loaded already costs the
function's own imports nothing, in this order as in the other."""


def functions() -> Result:
    target = RuntimeTarget.of_host()
    bundle = build_functions(ROOT, python=target.python, arch=target.arch).path
    size = f"{_zip_bytes(bundle) / 2**20:.2f}"
    worker = build_worker(ROOT).path.stat().st_size
    return Result(
        name="functions",
        title="What a function's start costs",
        about=f"CPU time in AWS's own runtime packages, median of {RUNS} processes. The ratio is to a handler that "
        "only makes the same AWS clients; the aim is at most 1.15. All functions share one zip. "
        f"The worker, which an instance fetches at its boot, is one zip of {worker / 1024:.0f} KiB for every "
        "architecture.",
        columns=("function", "zip MiB", "clients alone, CPU ms", "with the function, CPU ms", "ratio"),
        rows=tuple(_row(bundle, name, clients, size) for name, clients in CLIENTS.items()),
    )


def _row(bundle: Path, name: str, clients: tuple[str, ...], size: str) -> tuple[str, ...]:
    runs = [_seconds(bundle, f"lambdas.handlers.{name}", clients) for _ in range(RUNS)]
    alone, whole = (median(figures) for figures in zip(*runs, strict=True))
    ratio = median(whole / alone for alone, whole in runs)
    return name.replace("_", " "), size, f"{alone * 1000:.0f}", f"{whole * 1000:.0f}", f"{ratio:.2f}"


def _seconds(bundle: Path, module: str, clients: tuple[str, ...]) -> tuple[float, float]:
    """CPU seconds of making the clients, and of that with the function's module."""
    done = subprocess.run(
        [str(RUNTIME_PYTHON), "-B", "-c", _MEASURE, module, *clients],
        cwd=bundle,
        env={"PATH": os.defpath, "AWS_DEFAULT_REGION": "us-east-1"},
        capture_output=True,
        text=True,
        check=True,
    )
    alone, whole = map(float, done.stdout.split())
    return alone, whole


def _zip_bytes(directory: Path) -> int:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in directory.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(directory))
    return len(buffer.getvalue())
