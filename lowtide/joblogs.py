"""What a job wrote, read from CloudWatch Logs: one stream for each attempt, `<pool>/<job>/<attempt>`."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

POLL_SECONDS = 1.0
LATE_LOOKS = 2
"""Looks after the attempt has ended that find nothing new, before its log is believed to be whole."""


def stream_name(pool: str, job_id: str, attempt: int) -> str:
    """As the worker names it: CloudWatch takes no `:` in a name, and a job id has no `%`."""
    return f"{pool}/{job_id.replace(':', '%3A')}/{attempt}"


class JobLogs:
    def __init__(
        self, client: "CloudWatchLogsClient", group: str, *, pause: Callable[[float], object] = time.sleep
    ) -> None:
        self._client = client
        self._group = group
        self._pause = pause

    def lines(self, pool: str, job_id: str, attempt: int) -> Iterator[str]:
        """What is there now, oldest first; nothing when the attempt has written nothing yet."""
        return self.follow(pool, job_id, attempt, running=lambda: False, looks=1)

    def follow(
        self, pool: str, job_id: str, attempt: int, *, running: Callable[[], bool], looks: int = LATE_LOOKS
    ) -> Iterator[str]:
        """What is there, then what comes, until the attempt is not `running` and nothing has come for some looks."""
        stream, token, quiet = stream_name(pool, job_id, attempt), None, 0
        while True:
            alive = running()
            messages, token = self._page(stream, token)
            yield from messages
            if messages:
                quiet = 0
                continue
            quiet += not alive
            if quiet >= looks:
                return
            self._pause(POLL_SECONDS)

    def _page(self, stream: str, token: str | None) -> tuple[list[str], str | None]:
        """CloudWatch may answer with an empty page before the end; its token then differs from the one given."""
        while True:
            given: dict[str, Any] = {"nextToken": token} if token else {"startFromHead": True}
            try:
                answer = self._client.get_log_events(logGroupName=self._group, logStreamName=stream, **given)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") == "ResourceNotFoundException":
                    return [], token
                raise
            messages = [event.get("message", "") for event in answer["events"]]
            before, token = token, answer["nextForwardToken"]
            if messages or token == before:
                return messages, token
