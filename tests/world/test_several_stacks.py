"""A second stack in the same account: deployed from an older version, upgraded while its jobs run, then destroyed.

The older version is the last commit on the first-parent history in which something that is deployed differs from this
checkout, or the one that LOWTIDE_UPGRADE_FROM names. A checkout without history (an export, a shallow clone) cannot
tell an older version: the upgrade is skipped, and says so; the second stack is then of this version.
"""

import io
import os
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters.table import Table
from lambdas.domain.jobs.jobs import JobState
from lowtide.local.deploy import SOURCES, Deployment, stack_context
from tests.world.conftest import PACE, Stack, steady, until

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
NAME = "Evening"


def git(*words: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, check=False)


def older_version() -> str | None:
    """A commit, or None where this checkout knows none."""
    if named := os.environ.get("LOWTIDE_UPGRADE_FROM"):
        return named
    try:
        commits = git("log", "--first-parent", "--format=%H", "-n", "50", "--", *SOURCES).stdout.decode().split()
    except FileNotFoundError:
        return None
    return next((c for c in commits if git("diff", "--quiet", c, "--", *SOURCES).returncode == 1), None)


def unpacked(commit: str, place: Path) -> Path:
    """What is deployed, as it was; on this checkout's packages."""
    archive = git("archive", commit, *SOURCES)
    assert archive.returncode == 0, archive.stderr.decode()
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(place, filter="data")
    (place / ".venv").symlink_to(ROOT / ".venv")
    return place


def settings_of(root: Path) -> str:
    """As that version writes them: it refuses those that it does not know."""
    text = f"from lambdas.domain.settings import Settings; print(Settings().paced({PACE}).to_json())"
    return subprocess.run([sys.executable, "-c", text], cwd=root, capture_output=True, text=True, check=True).stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The second stack."""

    stack: Stack
    new: Deployment
    old_commit: str | None

    def lowtide(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.stack.lowtide(*arguments, "--stack", NAME)


@pytest.fixture(scope="module")
def beside(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Beside:
    world, commit = stack.aws.world, older_version()
    root = ROOT if commit is None else unpacked(commit, tmp_path_factory.mktemp("older"))

    def deployment(root: Path) -> Deployment:
        more = {"retention": "delete", "settings": settings_of(root).strip()}
        return world.deployment(root=root, context=stack_context(NAME, PACE, more))

    new, old = deployment(ROOT), deployment(root)
    with ThreadPoolExecutor() as pool:
        later = pool.submit(new.synth)
        outputs = old.deploy(NAME)
        later.result()
    table = Table(world.client("dynamodb"), outputs[names.OUTPUT_TABLE_NAME])
    second = replace(stack, outputs=outputs, table=table, folder=tmp_path_factory.mktemp("evening"))
    given = Beside(stack=second, new=new, old_commit=commit)
    done = given.lowtide("pools", "apply", second.pool_file(steady(max_instances=1)), "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    return given


@pytest.fixture
def gate() -> Iterator[socket.socket]:
    """Jobs that try its port wait until it listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield closed


@pytest.mark.timeout(600)
def test_jobs_of_an_older_version_finish_when_this_one_is_deployed_over_it(beside: Beside, gate: socket.socket) -> None:
    if beside.old_commit is None:
        pytest.skip("this checkout has no history with an older version of what is deployed: nothing to upgrade from")
    stack, place = beside.stack, f"/dev/tcp/127.0.0.1/{gate.getsockname()[1]}"
    waiting = {"pool": "steady", "command": ["bash", "-c", f"until (: <{place}) 2>/dev/null; do sleep 0.2; done"]}
    running = stack.send(waiting)
    instance_id = stack.in_state(running, JobState.RUNNING).instance_id
    assert instance_id is not None
    until("the job's process", lambda: stack.aws.hosts.busy(instance_id))
    queued = stack.send(waiting)
    stack.in_state(queued, JobState.QUEUED)
    before = template(stack)
    with ThreadPoolExecutor() as pool:
        deployed = pool.submit(beside.new.deploy_assembly, beside.new.synth(), NAME)
        meanwhile = stack.send({"pool": "steady", "command": "true"})
        outputs = deployed.result()
    afterwards = stack.send({"pool": "steady", "command": "true"})
    gate.listen(64)
    for job_id in (running, queued, meanwhile, afterwards):
        assert stack.ended(job_id).state is JobState.SUCCEEDED
    assert template(stack) != before, "this version is there now"
    assert stack.outputs.items() <= outputs.items(), "nothing that people hold has another name now"
    job = stack.job(running)
    assert job is not None
    assert (job.attempts, job.interruptions, job.instance_id) == (1, 0, instance_id), "the upgrade stopped no job"


def template(stack: Stack) -> Any:
    return stack.aws.world.client("cloudformation").get_template(StackName=NAME)["TemplateBody"]


def test_two_stacks_of_one_account_keep_to_their_own_and_go_one_by_one(stack: Stack, beside: Beside) -> None:
    job_id = stack.send({"pool": "steady", "command": "true"})
    other_id = beside.stack.send({"pool": "steady", "command": "true"})
    assert stack.ended(job_id).state is JobState.SUCCEEDED
    assert beside.stack.ended(other_id).state is JobState.SUCCEEDED
    assert stack.job(other_id) is None
    assert beside.stack.job(job_id) is None
    mine, others = ({i.instance_id for i in each.instances("steady")} for each in (stack, beside.stack))
    assert mine
    assert others
    assert not mine & others
    beside.new.destroy(NAME)
    left = {i.instance_id for i in stack.aws.market.instances()}
    assert not others & left
    after = stack.send({"pool": "steady", "command": "true"})
    assert stack.ended(after).state is JobState.SUCCEEDED
