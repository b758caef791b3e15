"""Who asks for a job that was parked as it came, by its id, is told so: it is in state `parked`, with the reason."""

import json
from typing import Any

import pytest

from tests.cli.deployment import Deployed
from tests.passes.world import pool


def sent(deployed: Deployed, **body: Any) -> str:
    """Sent and taken in; the message's id."""
    answer = deployed.sqs.send_message(QueueUrl=deployed.jobs_url, MessageBody=json.dumps(body))
    deployed.take_in()
    return answer["MessageId"]


@pytest.fixture
def parked(deployed: Deployed) -> Deployed:
    deployed.apply(pool())
    sent(deployed, id="mine", pool="nope", command=["true"])
    return deployed


def shown(of: Deployed, job_id: str) -> dict[str, Any]:
    said = of.say("jobs", "show", job_id, "--json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_it_is_shown_with_every_name_of_the_contract(parked: Deployed) -> None:
    sent(parked, id="good", pool="cpu", command=["true"])
    document = shown(parked, "mine")
    assert set(document) == set(shown(parked, "good"))
    assert (document["id"], document["state"], document["attempts"]) == ("mine", "parked", [])
    assert document["reason"].startswith('pool "nope" does not exist')
    assert "lowtide parked list --job mine" in parked.say("jobs", "show", "mine").out


def test_without_an_id_of_its_own_it_has_its_messages(parked: Deployed) -> None:
    message_id = sent(parked, command=["true"])
    assert shown(parked, message_id)["reason"].startswith("pool is missing")


def test_why_says_so_too(parked: Deployed) -> None:
    assert 'mine parked: pool "nope" does not exist' in parked.say("why", "mine").out


def test_waiting_for_it_ends_at_once_as_a_failure(parked: Deployed) -> None:
    said = parked.say("jobs", "wait", "mine", "--timeout", "0")
    assert (said.code, said.err) == (1, "")
    assert said.out.startswith("mine parked: ")


def test_a_job_that_is_sent_anew_is_not_the_message_that_was_parked(parked: Deployed) -> None:
    parked.advance(60)
    sent(parked, id="mine", pool="cpu", command=["true"])
    assert shown(parked, "mine")["state"] == "queued"


def test_submitting_under_its_id_waits_for_the_new_job(parked: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    def pause(_: float) -> None:
        parked.take_in()
        (job,) = parked.jobs.jobs("cpu")
        parked.jobs.cancel(job, parked.clock())

    parked.advance(60)
    monkeypatch.setattr("lowtide.cli.waiting.time.sleep", pause)
    said = parked.say("submit", "--pool", "cpu", "--id", "mine", "--wait", "--", "true")
    assert said.out.splitlines() == ["mine", "mine cancelled: cancelled"]


def test_of_an_id_that_nobody_sent_the_parked_list_is_named_as_well(parked: Deployed) -> None:
    assert "see `lowtide parked list --job none`" in parked.say("jobs", "show", "none").err
