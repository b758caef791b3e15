"""The local AWS as a process of its own: it outlives the command, is found again, and ends with all that it started."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import psutil
import pytest

from lowtide.local import LocalError, Running, down, status, up
from lowtide.local.deploy import DeployFailed, Deployment, stack_context
from lowtide.local.places import Places
from tests.local.conftest import eventually


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    places = Places(tmp_path / "home")
    yield places
    down(places=places)


def bare(places: Places, **settings: int) -> Running:
    return up(deploy=False, pace=30, say=lambda _: None, places=places, **settings)


def test_up_is_found_by_status_refuses_a_second_and_ends_with_down(places: Places) -> None:
    running = bare(places, seed=7)
    found = status(places=places)
    assert found is not None
    assert (found.endpoint, found.pid, found.seed, found.pace) == (running.endpoint, running.pid, 7, 30)
    sts = boto3.client(
        "sts",
        endpoint_url=running.environment["AWS_ENDPOINT_URL"],
        region_name=running.environment["AWS_DEFAULT_REGION"],
        aws_access_key_id=running.environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=running.environment["AWS_SECRET_ACCESS_KEY"],
    )
    assert sts.get_caller_identity()["Arn"].endswith(":root")
    assert (places.state.stat().st_mode & 0o077) == 0, "it holds the secret"
    with pytest.raises(LocalError, match="runs already"):
        bare(places)
    assert down(places=places)
    assert not psutil.pid_exists(running.pid)
    assert status(places=places) is None
    assert not places.run.exists()
    assert not down(places=places)


def test_up_on_a_port_in_use_says_so_and_leaves_nothing(places: Places) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalError, match=f"port {port} on 127.0.0.1 cannot be had"):
            bare(places, port=port)
    assert status(places=places) is None
    assert not places.state.exists()


def test_down_ends_what_a_killed_server_left_running(places: Places) -> None:
    running = bare(places)
    (places.run / "functions").mkdir(exist_ok=True)
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], cwd=places.run / "functions")
    os.kill(running.pid, signal.SIGKILL)
    assert eventually(lambda: status(places=places) is None)
    assert down(places=places)
    assert left.wait(timeout=5) == -signal.SIGKILL
    assert bare(places).pid != running.pid


def test_a_state_file_of_a_reused_process_id_is_not_believed(places: Places) -> None:
    running = bare(places)
    state = places.state.read_text().replace(f'"pid": {running.pid}', f'"pid": {os.getpid()}')
    down(places=places)
    places.home.mkdir(exist_ok=True)
    places.state.write_text(state)
    assert status(places=places) is None
    assert not down(places=places)


def test_a_failed_deploy_shows_what_the_cdk_said(tmp_path: Path) -> None:
    (tmp_path / "cdk.json").write_text('{"app": "echo the app is broken >&2; exit 1"}')
    deployment = Deployment(
        root=tmp_path,
        context=stack_context("S", 10, {}),
        environment={},
        account="000000000000",
        region="us-east-1",
        work_dir=tmp_path / "work",
        log=tmp_path / "deploy.log",
    )
    with pytest.raises(DeployFailed, match="the app is broken"):
        deployment.synth()


def test_the_printed_command_can_be_pasted(tmp_path: Path) -> None:
    deployment = Deployment(
        root=tmp_path,
        context={"stack": "Night", "settings": '{"lease": 30.0}'},
        environment={},
        account="000000000000",
        region="us-east-1",
        work_dir=tmp_path,
        log=tmp_path / "deploy.log",
    )
    assert deployment.command().endswith(
        "node_modules/.bin/cdk deploy --require-approval never -c stack=Night -c 'settings={\"lease\": 30.0}'"
    )


def test_two_processes_that_want_one_assembly_make_it_once(tmp_path: Path) -> None:
    """Tests side by side, or `local up` beside a test run: the second waits for what the first makes."""
    stack = {"type": "aws:cloudformation:stack", "environment": "aws://1/us-east-1"}
    manifest = {"version": "50.0.0", "artifacts": {"S": {**stack, "properties": {"templateFile": "S.json"}}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "S.json").write_text("{}")
    app = 'sleep 1; printf . >> made; mkdir -p "$CDK_OUTDIR"; cp manifest.json S.json "$CDK_OUTDIR"'
    (tmp_path / "cdk.json").write_text(json.dumps({"app": app}))
    deployment = Deployment(
        root=tmp_path,
        context={},
        environment={},
        account="000000000000",
        region="us-east-1",
        work_dir=tmp_path / "work",
        log=tmp_path / "deploy.log",
    )
    with ThreadPoolExecutor(max_workers=3) as pool:
        made = [pool.submit(deployment.synth) for _ in range(3)]
    assert {(one.result() / "manifest.json").exists() for one in made} == {True}
    assert (tmp_path / "made").read_text() == "."
