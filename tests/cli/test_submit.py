"""`lowtide submit`: one job, a file, a pipe; checked first, sent once."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lambdas.domain.jobs.jobs import JobSpec, JobState
from lowtide.jobfile import Job
from lowtide.sending import BYTES_A_CALL, NotTaken, batches, send
from tests.cli.deployment import Deployed
from tests.passes.world import pool


@pytest.fixture
def ready(deployed: Deployed) -> Deployed:
    deployed.apply(pool())
    return deployed


def lines(*jobs: Any) -> str:
    return "".join(json.dumps(job) + "\n" for job in jobs)


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., str]:
    def write(*jobs: Any) -> str:
        path = tmp_path / "jobs.jsonl"
        path.write_text(lines(*jobs))
        return str(path)

    return write


def test_one_job_is_sent_and_its_id_printed(ready: Deployed) -> None:
    said = ready.say("submit", "--pool", "cpu", "--env", "SEED=1", "--", "python3", "train.py")
    [body] = ready.jobs_sent()
    assert (said.code, said.out.strip()) == (0, body["id"])
    assert body == {"id": body["id"], "pool": "cpu", "command": ["python3", "train.py"], "env": {"SEED": "1"}}


def test_the_same_job_again_is_not_sent_and_said_to_be_there(ready: Deployed) -> None:
    first = ready.say("submit", "--pool", "cpu", "--", "true")
    ready.take_in()
    again = ready.say("submit", "--pool", "cpu", "--", "true")
    assert ready.jobs_sent() == []
    assert again.out == first.out
    assert "submitted before, and queued: --again" in again.err


def test_a_job_that_is_still_on_the_queue_is_one_job_too(ready: Deployed) -> None:
    for _ in range(2):
        ready.say("submit", "--pool", "cpu", "--", "true")
    ready.take_in()
    assert len(list(ready.jobs.jobs("cpu"))) == 1


def test_once_more_on_purpose_is_a_new_job(ready: Deployed) -> None:
    first = ready.say("submit", "--pool", "cpu", "--", "true")
    ready.take_in()
    again = ready.say("submit", "--pool", "cpu", "--again", "--", "true")
    assert again.out != first.out
    assert len(ready.jobs_sent()) == 1


def test_another_command_pool_or_variable_is_another_job(ready: Deployed) -> None:
    ready.apply(pool("other"))
    said = [
        ready.say("submit", "--pool", "cpu", "--", "true").out,
        ready.say("submit", "--pool", "other", "--", "true").out,
        ready.say("submit", "--pool", "cpu", "--", "false").out,
        ready.say("submit", "--pool", "cpu", "--env", "A=1", "--", "true").out,
    ]
    assert len(set(said)) == 4


def test_what_failed_is_told_with_the_way_to_run_it_again(ready: Deployed) -> None:
    job_id = ready.say("submit", "--pool", "cpu", "--", "true").out.strip()
    ready.take_in()
    assert ready.jobs.fail_queued(job_id, "no luck", ready.clock())
    assert f"`lowtide jobs retry {job_id}`" in ready.say("submit", "--pool", "cpu", "--", "true").err


def test_every_line_of_a_file_is_a_job_with_an_id_that_stays(ready: Deployed, written: Callable[..., str]) -> None:
    path = written({"command": ["a"]}, {"command": ["b"], "id": "mine"}, {"command": ["a"]})
    said = ready.say("submit", "--pool", "cpu", "--file", path)
    sent = ready.jobs_sent()
    assert said.out.split() == [body["id"] for body in sent]
    assert sent[1]["id"] == "mine"
    assert len({body["id"] for body in sent}) == 3, "equal lines are jobs of their own"
    ready.take_in()
    again = ready.say("submit", "--pool", "cpu", "--file", path)
    assert (ready.jobs_sent(), again.out) == ([], said.out)
    assert "0 submitted, 3 were there already" in again.err


def test_a_file_that_grew_submits_what_is_new(ready: Deployed, written: Callable[..., str]) -> None:
    ready.say("submit", "--pool", "cpu", "-f", written({"command": ["a"]}))
    ready.take_in()
    said = ready.say("submit", "--pool", "cpu", "-f", written({"command": ["a"]}, {"command": ["b"]}))
    assert [body["command"] for body in ready.jobs_sent()] == [["b"]]
    assert "1 submitted, 1 were there already" in said.err


def test_a_line_may_name_its_own_pool_and_options_fill_in_the_rest(
    ready: Deployed, written: Callable[..., str]
) -> None:
    ready.apply(pool("other"))
    path = written({"command": "x", "pool": "other"}, {"command": "y", "priority": 3})
    ready.say("submit", "--pool", "cpu", "--priority", "7", "-f", path)
    assert [(body["pool"], body["priority"]) for body in ready.jobs_sent()] == [("other", 7), ("cpu", 3)]


def test_a_pipe_is_read_like_a_file(ready: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines({"command": ["a"], "pool": "cpu"}) + "\n\n"))
    assert ready.say("submit", "-f", "-").code == 0
    assert len(ready.jobs_sent()) == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("not JSON", "line 2: not JSON"),
        ("[1]", "line 2: not a JSON object"),
        (
            '{"pool": "cpu", "command": ["x"], "slot": 1}',
            "did you mean slots?",
        ),
        ('{"pool": "nobody", "command": ["x"]}', 'line 2: pool "nobody" does not exist'),
        ('{"pool": "cpu", "command": ["x"], "id": "one"}', "line 2: id 'one' is that of line 1 too"),
    ],
)
def test_one_wrong_line_submits_nothing_and_is_named(ready: Deployed, tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_text(lines({"pool": "cpu", "command": ["x"], "id": "one"}) + line + "\n")
    ended = ready.say("submit", "-f", str(path))
    assert (ended.code, ready.jobs_sent()) == (2, [])
    assert said in ended.err.replace("\n", " ")
    assert "nothing was submitted" in ended.err


def test_many_wrong_lines_are_told_ten_at_a_time(ready: Deployed, written: Callable[..., str]) -> None:
    ended = ready.say("submit", "-f", written(*[{"pool": "cpu"}] * 25))
    assert "line 10: command is missing" in ended.err
    assert "line 11" not in ended.err
    assert "15 lines more" in ended.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["submit", "--pool", "cpu"], "give a command after --, or jobs with --file"),
        (["submit", "--", "true"], "name one with --pool"),
        (["submit", "-f", "x", "--id", "mine"], "--id and --again are for one job"),
        (["submit", "-f", "/nowhere/jobs.jsonl"], "cannot be read: No such file"),
        (["submit", "--pool", "cpu", "--env", "SEED", "--", "true"], "is not NAME=VALUE"),
    ],
)
def test_wrong_use_says_what_to_write(ready: Deployed, words: list[str], said: str) -> None:
    ended = ready.say(*words)
    assert ended.code == 2
    assert said in ended.err
    assert ready.jobs_sent() == []


def test_an_id_of_a_job_with_other_content_is_refused_here(ready: Deployed) -> None:
    ready.say("submit", "--pool", "cpu", "--id", "mine", "--", "true")
    ready.take_in()
    ended = ready.say("submit", "--pool", "cpu", "--id", "mine", "--", "false")
    assert (ended.code, ready.jobs_sent()) == (2, [])
    assert "id mine is that of a job with other content" in ended.err


def test_a_directory_is_uploaded_once_for_all_lines(
    ready: Deployed, written: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.py").write_text("print(1)")
    path = written({"command": ["a"]}, {"command": ["b"]})
    assert ready.say("submit", "--pool", "cpu", "--workdir", str(folder), "-f", path).code == 0
    one, other = ready.jobs_sent()
    assert one["inputs"] == other["inputs"]
    assert one["inputs"][0]["s3"].startswith("s3://bucket/inputs/")
    assert ready.say("submit", "--pool", "cpu", "--workdir", str(folder), "-f", path).out.split() == [
        one["id"],
        other["id"],
    ]


def test_waiting_for_a_file_of_jobs_ends_when_the_last_has(
    ready: Deployed, written: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lowtide.cli import waiting

    looks: list[float] = []

    def a_while(seconds: float) -> None:
        looks.append(seconds)
        ready.take_in()
        for job in list(ready.jobs.jobs("cpu", state=JobState.QUEUED))[:1]:
            ready.jobs.cancel(job, ready.clock())

    monkeypatch.setattr(waiting.time, "sleep", a_while)
    ended = ready.say("submit", "--pool", "cpu", "--wait", "-f", written({"command": "a"}, {"command": "b"}))
    assert ended.code == 1
    assert ended.out.count("cancelled: cancelled") == 2
    assert len(looks) == 2


# --- sending ---


class Picky:
    """Takes only what it is told to."""

    def __init__(self, *refused: list[dict[str, Any]]) -> None:
        self.calls: list[list[str]] = []
        self._refused = list(refused)

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        self.calls.append([entry["MessageBody"] for entry in Entries])
        return {"Failed": self._refused.pop(0) if self._refused else []}


def job(body: str) -> Job:
    spec = JobSpec(job_id="-", pool="cpu", command=("true",))
    return Job(job_id=body[:9], body=body, content="", spec=spec)


def test_ten_go_in_a_call_and_large_ones_fewer() -> None:
    assert [len(batch) for batch in batches([job(str(n)) for n in range(23)])] == [10, 10, 3]
    large = "x" * (BYTES_A_CALL // 2)
    assert [len(batch) for batch in batches([job(large)] * 3 + [job("s")] * 2)] == [2, 3]
    assert [len(batch) for batch in batches([job("x" * BYTES_A_CALL)] * 2)] == [1, 1]


def test_what_was_not_taken_is_sent_again_after_a_pause_and_nothing_else() -> None:
    queue = Picky([{"Id": "1", "Code": "InternalError", "SenderFault": False}])
    counts: list[int] = []
    pauses: list[float] = []
    send(queue, "url", [job("a"), job("b"), job("c")], sent=counts.append, pause=pauses.append)  # type: ignore[arg-type]
    assert queue.calls == [["a", "b", "c"], ["b"]]
    assert (counts, pauses) == ([3], [0.2])


def test_a_queue_that_goes_on_refusing_is_told() -> None:
    refused = [{"Id": "0", "Code": "InternalError", "SenderFault": False}]
    queue = Picky(*[refused] * 5)
    with pytest.raises(NotTaken, match="did not take 1 messages in 5 tries"):
        send(queue, "url", [job("a")], sent=lambda _: None, pause=lambda _: None)  # type: ignore[arg-type]
    assert len(queue.calls) == 5


def test_a_message_that_is_wrong_is_not_tried_again() -> None:
    queue = Picky([{"Id": "0", "Code": "InvalidMessageContents", "Message": "bad", "SenderFault": True}])
    with pytest.raises(NotTaken, match="bad"):
        send(queue, "url", [job("a")], sent=lambda _: None, pause=lambda _: None)  # type: ignore[arg-type]
    assert len(queue.calls) == 1
