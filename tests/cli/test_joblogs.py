"""Reading a job's log: pages, followed until the attempt is over."""

from typing import Any

from botocore.exceptions import ClientError

from lowtide.joblogs import LATE_LOOKS, JobLogs, stream_name
from worker.joblog import stream_name as workers_stream_name


class FakeLogs:
    """Answers like CloudWatch: a token of its own for every page, the same one again at the end."""

    def __init__(self, pages: list[list[str]] | None) -> None:
        self.pages = pages
        self.streams: list[str] = []

    def get_log_events(self, **given: Any) -> dict[str, Any]:
        self.streams.append(given["logStreamName"])
        if self.pages is None:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "GetLogEvents")
        number = int(given.get("nextToken", "0"))
        found = self.pages[number] if number < len(self.pages) else []
        token = str(min(number + 1, len(self.pages)))
        return {"events": [{"message": text} for text in found], "nextForwardToken": token}


def reader(client: FakeLogs) -> JobLogs:
    return JobLogs(client, "group", pause=lambda _: None)  # type: ignore[arg-type]


def test_every_page_is_read_in_order_empty_ones_too() -> None:
    assert list(reader(FakeLogs([["a", "b"], [], ["c"]])).lines("gpu", "job", 1)) == ["a", "b", "c"]


def test_an_attempt_that_wrote_nothing_has_no_stream_and_no_lines() -> None:
    assert list(reader(FakeLogs(None)).lines("gpu", "job", 1)) == []


def test_following_goes_on_until_the_attempt_is_over_and_its_last_lines_are_there() -> None:
    logs = FakeLogs([["a"]])
    looks = [0]

    def running() -> bool:
        looks[0] += 1
        if looks[0] == 4:
            assert logs.pages is not None
            logs.pages.append(["late"])
        return looks[0] < 4

    assert list(reader(logs).follow("gpu", "job", 1, running=running)) == ["a", "late"]
    assert looks[0] == 4 + LATE_LOOKS


def test_the_worker_writes_where_the_command_reads() -> None:
    for job_id in ("a:b.c", "plain", "a%3Ab"):
        assert stream_name("gpu", job_id, 2) == workers_stream_name("gpu", job_id, 2)
