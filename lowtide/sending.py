"""Many messages to the job queue: ten a call, in order, what SQS did not take sent again."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lowtide.jobfile import Job

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MESSAGES_A_CALL = 10
"""SendMessageBatch's limit."""
BYTES_A_CALL = 256 * 1024
"""What SQS took in one call for years; a job is at most that large, so every one fits."""
TRIES = 5


class NotTaken(Exception):
    """SQS went on refusing messages; those before them were taken."""


def send(
    client: "SQSClient",
    url: str,
    jobs: Sequence[Job],
    *,
    sent: Callable[[int], object],
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Sends every job; `sent` hears how many were taken. Raises NotTaken."""
    for batch in batches(jobs):
        _send_batch(client, url, batch, pause)
        sent(len(batch))


def batches(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    batch: list[Job] = []
    size = 0
    for job in jobs:
        length = len(job.body.encode())
        if batch and (len(batch) == MESSAGES_A_CALL or size + length > BYTES_A_CALL):
            yield batch
            batch, size = [], 0
        batch.append(job)
        size += length
    if batch:
        yield batch


def _send_batch(client: "SQSClient", url: str, batch: list[Job], pause: Callable[[float], object]) -> None:
    rest = {str(n): job for n, job in enumerate(batch)}
    for attempt in range(TRIES):
        entries: Any = [{"Id": key, "MessageBody": job.body} for key, job in rest.items()]
        failed = client.send_message_batch(QueueUrl=url, Entries=entries).get("Failed", [])
        rest = {each["Id"]: rest[each["Id"]] for each in failed}
        if not rest:
            return
        if any(each.get("SenderFault") for each in failed):
            raise NotTaken(f"SQS refused {len(rest)} messages: {failed[0].get('Message') or failed[0].get('Code')}")
        pause(0.2 * 2**attempt)
    raise NotTaken(f"SQS did not take {len(rest)} messages in {TRIES} tries")
