"""What people do to jobs from the command line, on a deployed stack, and what the stack tells of it on EventBridge."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from lambdas import names
from lambdas.domain.jobs.jobs import JobState
from tests.world.conftest import Stack, steady, until


class Heard:
    """What a rule on the stack's events sent to a queue, gathered."""

    def __init__(self, stack: Stack, url: str) -> None:
        self._sqs = stack.aws.world.client("sqs")
        self._url = url
        self._events: list[dict[str, Any]] = []

    def of(self, job_id: str) -> list[str]:
        """The states that were told of a job, repetitions left out."""
        for message in self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages", []):
            self._events.append(json.loads(message["Body"]))
            self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        mine = [each["detail"] for each in self._events if each["detail"]["job_id"] == job_id]
        return list(dict.fromkeys(f"{each['state']} {each['attempt']}" for each in mine))

    def text(self) -> str:
        return json.dumps(self._events)


@pytest.fixture(scope="module")
def heard(stack: Stack) -> Iterator[Heard]:
    sqs, events = stack.aws.world.client("sqs"), stack.aws.world.client("events")
    name = f"heard-{uuid4().hex[:8]}"
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": [names.EVENT_SOURCE], "detail-type": [names.EVENT_JOB_STATE]}
    rule = events.put_rule(Name=name, EventPattern=json.dumps(pattern))["RuleArn"]
    allowed = {
        **{"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage"},
        **{"Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": rule}}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])
    yield Heard(stack, url)
    events.remove_targets(Rule=name, Ids=["queue"])
    events.delete_rule(Name=name)
    sqs.delete_queue(QueueUrl=url)


def submitted(stack: Stack, *words: str) -> str:
    said = stack.lowtide("submit", "--pool", "steady", *words)
    assert said.returncode == 0, said.stderr
    return said.stdout.strip()


def test_every_state_of_a_job_is_an_event_and_its_variables_are_in_none(stack: Stack, heard: Heard) -> None:
    job_id = submitted(
        stack, "--id", f"told-{uuid4().hex[:8]}", "--env", "TOKEN=hunter2", "--", "/bin/sh", "-c", "exit 3"
    )
    assert stack.ended(job_id).state is JobState.FAILED
    until("its events", lambda: heard.of(job_id), lambda told: told == ["queued 0", "running 1", "failed 1"])
    assert "hunter2" not in heard.text()


def test_a_running_job_is_cancelled_its_process_ends_and_it_runs_again_when_told_to(stack: Stack, heard: Heard) -> None:
    job_id = f"stopped-{uuid4().hex[:8]}"
    script = (
        "trap 'echo told to end; exit 0' TERM; echo attempt $LOWTIDE_ATTEMPT; "
        '[ "$LOWTIDE_ATTEMPT" = 2 ] && exit 0; while :; do sleep 0.1; done'
    )
    submitted(stack, "--id", job_id, "--", "/bin/sh", "-c", script)
    until("it to begin", lambda: wrote(stack, job_id), lambda text: "attempt 1" in text)
    said = stack.lowtide("jobs", "cancel", job_id)
    assert said.returncode == 0, said.stderr
    assert "stops it within a heartbeat" in said.stdout
    assert stack.in_state(job_id, JobState.CANCELLED).reason == "cancelled"
    until("its process to be told to end", lambda: wrote(stack, job_id), lambda text: "told to end" in text)
    assert stack.lowtide("jobs", "retry", job_id).returncode == 0
    assert stack.ended(job_id).state is JobState.SUCCEEDED
    assert [each["outcome"] for each in stack.shown(job_id)["attempts"]] == ["cancelled", "succeeded"]
    until("its events", lambda: heard.of(job_id), lambda told: told[-1:] == ["succeeded 2"])
    assert heard.of(job_id) == ["queued 0", "running 1", "cancelled 1", "queued 1", "running 2", "succeeded 2"]


def wrote(stack: Stack, job_id: str) -> str:
    return stack.lowtide("jobs", "logs", job_id, "--attempt", "1").stdout


def test_a_file_of_jobs_is_submitted_once_however_often_it_is(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    mark = uuid4().hex[:8]
    path.write_text("".join(json.dumps({"command": ["true"], "tags": {"n": f"{mark}-{n}"}}) + "\n" for n in range(12)))
    first = stack.lowtide("submit", "--pool", "steady", "--file", str(path), "--wait")
    assert first.returncode == 0, first.stderr
    again = stack.lowtide("submit", "--pool", "steady", "--file", str(path), "--wait")
    assert again.returncode == 0, again.stderr
    assert "0 submitted, 12 were there already" in again.stderr
    ids = first.stdout.splitlines()[:12]
    assert [stack.shown(job_id)["attempts"][-1]["n"] for job_id in ids[:3]] == [1, 1, 1]


def test_a_parked_message_becomes_a_job_once_its_pool_is_there(stack: Stack) -> None:
    job_id = f"late-{uuid4().hex[:8]}"
    stack.send({"id": job_id, "pool": "not-yet", "command": ["true"]})
    record = stack.parked_as("the record", lambda each: each.job_id == job_id)
    refused = stack.lowtide("parked", "redrive", record.parked_id)
    assert refused.returncode == 1
    assert "would be parked again" in refused.stderr
    # As the other pools here: an instance whose boot fails is given up within seconds, not within 20 minutes.
    stack.apply(steady(pool_name="not-yet", min_instances=0, max_instances=1))
    sent = stack.lowtide("parked", "redrive", record.parked_id)
    assert sent.returncode == 0, sent.stderr
    assert stack.ended(job_id).state is JobState.SUCCEEDED
    assert record.parked_id not in stack.lowtide("parked", "list").stdout
