"""SQS in memory: the methods of boto3's client that the adapters and the simulator use, under a virtual clock.

Standard and FIFO queues, five-minute deduplication, groups that wait for what is in flight, visibility timeouts,
dead-letter queues. Thread safe. A receive never waits: what is not there now is not there.
"""

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from lowtide.sim.calls import Hook, Request, Response, SimClient, aws_error
from lowtide.sim.clock import VirtualClock

LARGEST = 1_048_576
"""Bytes in one message, and in one batch."""
DEDUPLICATION = timedelta(minutes=5)
VISIBILITY = timedelta(seconds=30)
"""SQS's default visibility timeout."""
_ACCOUNT = "000000000000"
_REGION = "us-east-1"


@dataclass
class Message:
    message_id: str
    body: str
    sent_at: datetime
    visible_at: datetime
    group: str | None = None
    sequence: int = 0
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])
    receives: int = 0
    receipt: str = ""


@dataclass
class Queue:
    name: str
    visibility: timedelta
    dead_letter: str | None
    """Name of the queue that takes what was received `most_receives` times."""
    most_receives: int
    messages: list[Message] = field(default_factory=list[Message])
    sent: dict[str, tuple[datetime, str]] = field(default_factory=dict[str, tuple[datetime, str]])
    """Deduplication id -> when, and as which message."""

    @property
    def fifo(self) -> bool:
        return self.name.endswith(".fifo")

    @property
    def url(self) -> str:
        return f"https://sqs.{_REGION}.amazonaws.com/{_ACCOUNT}/{self.name}"

    @property
    def arn(self) -> str:
        return f"arn:aws:sqs:{_REGION}:{_ACCOUNT}:{self.name}"


class FakeSQS(SimClient):
    service = "sqs"

    def __init__(self, clock: Callable[[], datetime] | None = None, *, hook: Hook | None = None) -> None:
        super().__init__(hook)
        self.clock = clock or VirtualClock()
        self.queues: dict[str, Queue] = {}
        """By URL."""
        self._count = 0
        self._lock = threading.RLock()

    # --- the client's methods ---

    def create_queue(self, **request: Any) -> Response:
        return self._call("create_queue", request, frozenset({"QueueName", "Attributes"}), self._create_queue)

    def get_queue_attributes(self, **request: Any) -> Response:
        known = frozenset({"QueueUrl", "AttributeNames"})
        return self._call("get_queue_attributes", request, known, self._get_queue_attributes)

    def send_message(self, **request: Any) -> Response:
        return self._call("send_message", request, _SEND | {"QueueUrl"}, self._send_message)

    def send_message_batch(self, **request: Any) -> Response:
        return self._call("send_message_batch", request, _ENTRIES, self._send_message_batch)

    def receive_message(self, **request: Any) -> Response:
        known = {"QueueUrl", "MaxNumberOfMessages", "VisibilityTimeout", "WaitTimeSeconds", "AttributeNames"}
        known |= {"MessageSystemAttributeNames", "MessageAttributeNames"}
        return self._call("receive_message", request, frozenset(known), self._receive_message)

    def delete_message(self, **request: Any) -> Response:
        return self._call("delete_message", request, _RECEIPT, self._delete_message)

    def delete_message_batch(self, **request: Any) -> Response:
        return self._call("delete_message_batch", request, _ENTRIES, self._delete_message_batch)

    def change_message_visibility(self, **request: Any) -> Response:
        known = _RECEIPT | {"VisibilityTimeout"}
        return self._call("change_message_visibility", request, known, self._change_message_visibility)

    # --- what tests ask beside the client ---

    def bodies(self, url: str) -> list[str]:
        """Bodies of everything in a queue, in flight or not, oldest first."""
        with self._lock:
            return [message.body for message in self.queues[url].messages]

    # --- effects ---

    def _create_queue(self, request: Request) -> Response:
        given = request.get("Attributes", {})
        redrive = json.loads(given.get("RedrivePolicy", "{}"))
        queue = Queue(
            name=request["QueueName"],
            visibility=timedelta(seconds=int(given.get("VisibilityTimeout", VISIBILITY.total_seconds()))),
            dead_letter=redrive.get("deadLetterTargetArn", "").rpartition(":")[2] or None,
            most_receives=int(redrive.get("maxReceiveCount", 0)),
        )
        if queue.fifo != (given.get("FifoQueue") == "true"):
            raise aws_error("CreateQueue", "InvalidParameterValue", "A FIFO queue's name ends with .fifo")
        with self._lock:
            self.queues.setdefault(queue.url, queue)
        return {"QueueUrl": queue.url}

    def _get_queue_attributes(self, request: Request) -> Response:
        with self._lock:
            queue, now = self._queue("GetQueueAttributes", request), self.clock()
            hidden = sum(message.visible_at > now and message.receives > 0 for message in queue.messages)
            delayed = sum(message.visible_at > now and message.receives == 0 for message in queue.messages)
            return {
                "Attributes": {
                    "QueueArn": queue.arn,
                    "ApproximateNumberOfMessages": str(len(queue.messages) - hidden - delayed),
                    "ApproximateNumberOfMessagesNotVisible": str(hidden),
                    "ApproximateNumberOfMessagesDelayed": str(delayed),
                }
            }

    def _send_message(self, request: Request) -> Response:
        with self._lock:
            queue = self._queue("SendMessage", request)
            if _length(request) > LARGEST:
                message = f"One or more parameters are invalid. Reason: Message must be shorter than {LARGEST} bytes."
                raise aws_error("SendMessage", "InvalidParameterValue", message)
            return {"MessageId": self._put("SendMessage", queue, request), "MD5OfMessageBody": _md5(request)}

    def _send_message_batch(self, request: Request) -> Response:
        entries: list[dict[str, Any]] = list(request["Entries"])
        _check_entries("SendMessageBatch", entries)
        if sum(_length(entry) for entry in entries) > LARGEST:
            message = f"Batch requests cannot be longer than {LARGEST} bytes."
            raise aws_error("SendMessageBatch", "AWS.SimpleQueueService.BatchRequestTooLong", message)
        with self._lock:
            queue = self._queue("SendMessageBatch", request)
            sent = [(entry, self._put("SendMessageBatch", queue, entry)) for entry in entries]
        done = [{"Id": entry["Id"], "MessageId": number, "MD5OfMessageBody": _md5(entry)} for entry, number in sent]
        return {"Successful": done, "Failed": []}

    def _put(self, operation: str, queue: Queue, entry: Request) -> str:
        """The id of the message that now stands for this entry: a new one, or the one it repeats."""
        now, key = self.clock(), entry.get("MessageDeduplicationId")
        if queue.fifo and not (entry.get("MessageGroupId") and key):
            message = "The queue is FIFO: MessageGroupId and MessageDeduplicationId are required"
            raise aws_error(operation, "InvalidParameterValue", message)
        if queue.fifo and entry.get("DelaySeconds"):
            raise aws_error(
                operation, "InvalidParameterValue", "DelaySeconds is not valid for a message of a FIFO queue"
            )
        if queue.fifo and (earlier := queue.sent.get(str(key))) and earlier[0] + DEDUPLICATION > now:
            return earlier[1]
        self._count += 1
        message = Message(
            message_id=f"00000000-0000-4000-8000-{self._count:012d}",
            body=entry["MessageBody"],
            sent_at=now,
            visible_at=now + timedelta(seconds=int(entry.get("DelaySeconds", 0))),
            group=entry.get("MessageGroupId"),
            sequence=self._count,
            attributes=dict(entry.get("MessageAttributes", {})),
        )
        queue.messages.append(message)
        if queue.fifo:
            queue.sent[str(key)] = (now, message.message_id)
        return message.message_id

    def _receive_message(self, request: Request) -> Response:
        most = request.get("MaxNumberOfMessages", 1)
        if not 1 <= most <= 10:
            message = "Value for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10."
            raise aws_error("ReceiveMessage", "InvalidParameterValue", message)
        with self._lock:
            queue, now = self._queue("ReceiveMessage", request), self.clock()
            self._bury(queue, now)
            period = timedelta(seconds=request.get("VisibilityTimeout", queue.visibility.total_seconds()))
            return {"Messages": [self._hand_out(message, now + period) for message in _ready(queue, now)[:most]]}

    def _hand_out(self, message: Message, visible_at: datetime) -> dict[str, Any]:
        self._count += 1
        message.receives += 1
        message.receipt = f"{message.message_id}#{self._count}"
        message.visible_at = visible_at
        attributes = {
            "ApproximateReceiveCount": str(message.receives),
            "SentTimestamp": str(int(message.sent_at.timestamp() * 1000)),
        }
        if message.group is not None:
            attributes |= {"MessageGroupId": message.group, "SequenceNumber": f"{message.sequence:020d}"}
        return {
            **{"MessageId": message.message_id, "ReceiptHandle": message.receipt, "Body": message.body},
            **{"MD5OfBody": _md5({"MessageBody": message.body}), "Attributes": attributes},
            **({"MessageAttributes": message.attributes} if message.attributes else {}),
        }

    def _bury(self, queue: Queue, now: datetime) -> None:
        """Moves what was received too often to the dead-letter queue."""
        if queue.dead_letter is None:
            return
        over = [m for m in queue.messages if m.visible_at <= now and m.receives >= queue.most_receives]
        grave = next(q for q in self.queues.values() if q.name == queue.dead_letter)
        for message in over:
            queue.messages.remove(message)
            grave.messages.append(message)

    def _delete_message(self, request: Request) -> Response:
        with self._lock:
            queue = self._queue("DeleteMessage", request)
            queue.messages = [m for m in queue.messages if m.receipt != request["ReceiptHandle"]]
        return {}

    def _delete_message_batch(self, request: Request) -> Response:
        _check_entries("DeleteMessageBatch", list(request["Entries"]))
        for entry in request["Entries"]:
            self._delete_message({"QueueUrl": request["QueueUrl"], "ReceiptHandle": entry["ReceiptHandle"]})
        return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]], "Failed": []}

    def _change_message_visibility(self, request: Request) -> Response:
        with self._lock:
            queue = self._queue("ChangeMessageVisibility", request)
            for message in queue.messages:
                if message.receipt == request["ReceiptHandle"]:
                    message.visible_at = self.clock() + timedelta(seconds=request["VisibilityTimeout"])
        return {}

    def _queue(self, operation: str, request: Request) -> Queue:
        if (queue := self.queues.get(request["QueueUrl"])) is None:
            code = "AWS.SimpleQueueService.NonExistentQueue"
            raise aws_error(operation, code, "The specified queue does not exist.")
        return queue


_SEND = frozenset({"MessageBody", "DelaySeconds", "MessageAttributes", "MessageGroupId", "MessageDeduplicationId"})
_ENTRIES = frozenset({"QueueUrl", "Entries"})
_RECEIPT = frozenset({"QueueUrl", "ReceiptHandle"})


def lambda_event(messages: list[dict[str, Any]], queue_arn: str) -> dict[str, Any]:
    """What Lambda's event source mapping makes of received messages."""
    return {
        "Records": [
            {
                **{"messageId": m["MessageId"], "receiptHandle": m["ReceiptHandle"], "body": m["Body"]},
                **{"attributes": dict(m["Attributes"]), "messageAttributes": dict(m.get("MessageAttributes", {}))},
                **{"md5OfBody": m["MD5OfBody"], "eventSource": "aws:sqs", "eventSourceARN": queue_arn},
                "awsRegion": _REGION,
            }
            for m in messages
        ]
    }


def _ready(queue: Queue, now: datetime) -> list[Message]:
    """What may be handed out, oldest first; nothing behind a message of its group that is in flight."""
    ready: list[Message] = []
    waiting: set[str] = set()
    for message in queue.messages:
        if message.group is not None and queue.fifo and message.group in waiting:
            continue
        if message.visible_at <= now:
            ready.append(message)
        elif message.group is not None:
            waiting.add(message.group)
    return ready


def _check_entries(operation: str, entries: list[dict[str, Any]]) -> None:
    if not entries:
        raise aws_error(operation, "AWS.SimpleQueueService.EmptyBatchRequest", "There should be at least one entry.")
    if len(entries) > 10:
        code = "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"
        raise aws_error(operation, code, "Maximum number of entries per request are 10.")
    if len({entry["Id"] for entry in entries}) < len(entries):
        code = "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"
        raise aws_error(operation, code, "Two or more batch entries have the same Id in the request.")


def _length(entry: Request) -> int:
    attributes = sum(
        len(name.encode()) + len(value["DataType"].encode()) + len(value.get("StringValue", "").encode())
        for name, value in entry.get("MessageAttributes", {}).items()
    )
    return len(entry["MessageBody"].encode()) + attributes


def _md5(entry: Request) -> str:
    return hashlib.md5(entry["MessageBody"].encode(), usedforsecurity=False).hexdigest()
