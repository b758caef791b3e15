"""`lowtide parked`: what was no job is listed with its reason, sent again when it can be one, or forgotten."""

import json

import pytest

from lambdas.domain.jobs.jobs import JobState
from tests.cli.deployment import Deployed
from tests.passes.world import pool


@pytest.fixture
def parked(deployed: Deployed) -> Deployed:
    """A message to a pool that does not exist yet, and one that is not JSON."""
    deployed.apply(pool())
    for body in (
        json.dumps({"pool": "late", "command": ["true"]}),
        "not JSON",
        '{"pool": "cpu", "command": 7, "id": "x"}',
    ):
        deployed.sqs.send_message(QueueUrl=deployed.jobs_url, MessageBody=body)
        deployed.take_in()
        deployed.advance(1)
    return deployed


def listed(of: Deployed, *words: str) -> list[dict[str, object]]:
    return json.loads(of.say("parked", "list", "--json", *words).out)


def test_the_list_says_which_and_why_last_first(parked: Deployed) -> None:
    rows = listed(parked)
    assert [row["field"] for row in rows] == ["command", None, "pool"]
    assert "does not exist" in str(rows[2]["reason"])
    assert [row["pool"] for row in listed(parked, "--pool", "late")] == ["late"]
    assert [row["job_id"] for row in listed(parked, "--job", "x")] == ["x"]
    assert len(listed(parked, "--limit", "1")) == 1
    assert "not JSON" in parked.say("parked", "list").out


def test_one_is_shown_with_its_body(parked: Deployed) -> None:
    row = listed(parked)[1]
    shown = json.loads(parked.say("parked", "show", str(row["id"]), "--json").out)
    assert (shown["body"], shown["reason"]) == ("not JSON", row["reason"])
    assert "not JSON" in parked.say("parked", "show", str(row["id"])).out


def test_what_can_be_a_job_now_is_sent_once_and_forgotten(parked: Deployed) -> None:
    parked_id = str(listed(parked)[2]["id"])
    parked.apply(pool("late"))
    assert parked.say("parked", "redrive", parked_id).code == 0
    [body] = parked.jobs_sent()
    assert body == {"id": parked_id.partition("#")[2], "pool": "late", "command": ["true"]}
    parked.take_in()
    assert [job.state for job in parked.jobs.jobs("late")] == [JobState.QUEUED]
    assert len(listed(parked)) == 2
    assert "nothing is parked under" in parked.say("parked", "redrive", parked_id).err


def test_what_would_only_be_parked_again_stays_and_says_why(parked: Deployed) -> None:
    ended = parked.say("parked", "redrive", "--all", "--yes")
    assert ended.code == 1
    assert ended.err.count("would be parked again") == 3
    assert (parked.jobs_sent(), len(listed(parked))) == ([], 3)


def test_a_job_that_its_pools_end_parked_waits_again_under_its_id(parked: Deployed) -> None:
    parked.sqs.send_message(QueueUrl=parked.jobs_url, MessageBody='{"pool": "cpu", "command": ["true"], "id": "mine"}')
    parked.take_in()
    assert parked.jobs.park_queued("cpu", "the pool is deleted", parked.clock()) == 1
    [row] = listed(parked, "--pool", "cpu", "--job", "mine")
    assert parked.say("parked", "redrive", str(row["id"])).code == 0
    parked.take_in()
    job = parked.jobs.job("mine")
    assert job is not None
    assert job.state is JobState.QUEUED


def test_deleting_forgets_for_good(parked: Deployed) -> None:
    first = str(listed(parked)[0]["id"])
    assert parked.say("parked", "delete", first).code == 0
    assert len(listed(parked)) == 2
    assert parked.say("parked", "delete", "--all", "--pool", "late").code == 0
    assert len(listed(parked)) == 1
    assert parked.say("parked", "delete", "--all").code == 0
    assert "Nothing is parked." in parked.say("parked", "list").out
    assert "Nothing is parked." in parked.say("parked", "delete", "--all").out


@pytest.mark.parametrize("words", [["redrive"], ["delete"], ["delete", "x", "--all"], ["redrive", "--pool", "cpu"]])
def test_nothing_is_chosen_by_accident(parked: Deployed, words: list[str]) -> None:
    ended = parked.say("parked", *words)
    assert ended.code == 2
    assert "or give --all" in ended.err
    assert len(listed(parked)) == 3


def test_one_that_is_gone_keeps_no_other_from_being_deleted(parked: Deployed) -> None:
    first, second = (str(row["id"]) for row in listed(parked)[:2])
    ended = parked.say("parked", "delete", first, "gone", second, "--yes")
    assert (ended.code, len(listed(parked))) == (1, 1)
    assert "nothing is parked under gone" in ended.err
