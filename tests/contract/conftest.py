"""Every contract test runs on the in-memory fake and on ministack: a server of its own on a free loopback port."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from lowtide.sim.dynamodb import SCHEMA, FakeDynamoDB
from lowtide.sim.sqs import FakeSQS


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a running ministack, with nothing of the caller's environment."""
    place = tmp_path_factory.mktemp("ministack")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **{"PATH": os.environ.get("PATH", ""), "HOME": str(place), "TMPDIR": str(place), "LOG_LEVEL": "ERROR"},
        **{"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0"},
    }
    log = Path(place, "server.log")
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "ministack"], env=environment, cwd=place, stdout=output, stderr=output
        )
    try:
        _await_answer(f"http://127.0.0.1:{port}/_ministack/health", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=20)


def _await_answer(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"ministack did not start: {log.read_text()[-2000:]}")


def _client(service: str, endpoint: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, max_pool_connections=32),
    )


@pytest.fixture(params=["memory", "ministack"])
def dynamodb(request: pytest.FixtureRequest) -> Any:
    if request.param == "memory":
        return FakeDynamoDB()
    return _client("dynamodb", request.getfixturevalue("ministack"))


@pytest.fixture
def table(dynamodb: Any) -> str:
    """The name of a new table with the deployment's schema."""
    name = f"contract-{uuid.uuid4().hex[:12]}"
    dynamodb.create_table(TableName=name, **SCHEMA)
    return name


@pytest.fixture(params=["memory", "ministack"])
def sqs(request: pytest.FixtureRequest) -> Any:
    if request.param == "memory":
        return FakeSQS()
    return _client("sqs", request.getfixturevalue("ministack"))
