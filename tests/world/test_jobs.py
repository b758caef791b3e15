"""A job's way, from a message to its result, and what the command line says of it."""

from pathlib import Path
from uuid import uuid4

import pytest

from lambdas.domain.jobs.jobs import JobState
from tests.world.conftest import STEADY_TYPE, Stack

SHOWN = {
    *("id", "pool", "state", "slots", "resources", "priority", "submitted_at", "started_at", "finished_at"),
    *("attempts", "interruptions", "exit_code", "reason", "position", "cost_usd", "on_demand_cost_usd"),
}
ATTEMPT = {
    *("n", "instance_id", "instance_type", "availability_zone", "lifecycle", "started_at", "ended_at", "outcome"),
    *("exit_code", "cost_usd"),
}


def test_a_plain_message_becomes_a_job_that_an_instance_runs(stack: Stack) -> None:
    job_id = stack.send({"pool": "steady", "command": ["/bin/sh", "-c", 'test "$LOWTIDE_ATTEMPT" = 1']})
    assert stack.ended(job_id).state is JobState.SUCCEEDED
    shown = stack.shown(job_id)
    assert shown.keys() >= SHOWN
    assert (shown["id"], shown["pool"], shown["state"], shown["slots"]) == (job_id, "steady", "succeeded", 1)
    (attempt,) = shown["attempts"]
    assert attempt.keys() >= ATTEMPT
    assert (attempt["n"], attempt["instance_type"], attempt["lifecycle"]) == (1, STEADY_TYPE, "on-demand")
    assert (attempt["outcome"], attempt["exit_code"], shown["exit_code"]) == ("succeeded", 0, 0)
    assert shown["submitted_at"] <= attempt["started_at"] <= attempt["ended_at"] <= shown["finished_at"]
    assert attempt["instance_id"] in {instance.instance_id for instance in stack.instances("steady")}


def test_waiting_for_jobs_tells_each_end_and_exits_0_only_if_all_succeeded(stack: Stack) -> None:
    good = stack.send({"pool": "steady", "command": "true"})
    bad = stack.send({"pool": "steady", "command": "exit 7"})
    assert stack.lowtide("jobs", "wait", good, "--timeout", "60").returncode == 0
    waited = stack.lowtide("jobs", "wait", good, bad, "--timeout", "60")
    assert waited.returncode == 1, waited.stderr
    assert set(waited.stdout.splitlines()) == {f"{good} succeeded", f"{bad} failed: exit 7"}


def test_a_failing_jobs_exit_code_is_kept(stack: Stack) -> None:
    job_id = stack.send({"pool": "steady", "command": "exit 7", "max_attempts": 2})
    stack.ended(job_id)
    shown = stack.shown(job_id)
    assert (shown["state"], shown["exit_code"], shown["reason"]) == ("failed", 7, "exit 7")
    assert [(a["n"], a["outcome"], a["exit_code"]) for a in shown["attempts"]] == [(1, "failed", 7), (2, "failed", 7)]


def test_a_job_ends_when_its_time_is_over(stack: Stack) -> None:
    job_id = stack.send({"pool": "steady", "command": ["sleep", "600"], "timeout": "1s"})
    ended = stack.ended(job_id)
    assert (ended.state, ended.reason) == (JobState.FAILED, "timeout")
    assert [attempt["outcome"] for attempt in stack.shown(job_id)["attempts"]] == ["timeout"]


def test_a_submitted_directory_is_where_the_job_starts(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "words.txt").write_text("low tide\n")
    job_id = f"workdir-{uuid4().hex[:8]}"
    done = stack.lowtide(
        *("submit", "--pool", "steady", "--id", job_id, "--workdir", str(tmp_path), "--wait"),
        *("--", "grep", "-q", "low tide", "data/words.txt"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [job_id, f"{job_id} succeeded"]
    assert "stack Lowtide" in done.stderr, "the target is told before it is changed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--pool", "nowhere"), "nowhere"), (("--pool", "steady", "--slots", "-1"), "slots")],
)
def test_what_would_be_parked_is_refused_before_it_is_sent(stack: Stack, arguments: tuple[str, ...], said: str) -> None:
    refused = stack.lowtide("submit", *arguments, "--", "true")
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_job_that_nobody_knows_is_told_in_a_sentence(stack: Stack) -> None:
    unknown = stack.lowtide("jobs", "show", "no-such-job", "--json")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "there is no job no-such-job" in unknown.stderr
