"""A bucket and a log group in memory, which fail when told to."""

import threading
from collections.abc import Callable
from typing import Any

from worker import aws


class MemoryStore:
    """`before` is called with the operation and the key, and may raise OSError."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.puts: list[str] = []
        self.before: Callable[[str, str], None] = lambda _operation, _key: None
        self._lock = threading.Lock()

    def put(self, key: str, body: bytes) -> None:
        self.before("put", key)
        with self._lock:
            self.objects[key] = body
            self.puts.append(key)

    def get(self, key: str) -> bytes | None:
        self.before("get", key)
        return self.objects.get(key)

    def delete(self, key: str) -> None:
        self.before("delete", key)
        with self._lock:
            self.objects.pop(key, None)

    def keys(self, prefix: str) -> list[str]:
        self.before("list", prefix)
        with self._lock:
            return sorted(key for key in self.objects if key.startswith(prefix))


class FakeLogs:
    """Checks PutLogEvents' limits as CloudWatch does."""

    def __init__(self) -> None:
        self.streams: dict[str, list[dict[str, Any]]] = {}
        self.batches: list[int] = []
        self.before: Callable[[str], None] = lambda _operation: None

    def call(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        self.before(operation)
        stream = body["logStreamName"]
        if operation == "CreateLogStream":
            if stream in self.streams:
                raise aws.Refusal(400, "ResourceAlreadyExistsException", "it is there")
            self.streams[stream] = []
            return {}
        if stream not in self.streams:
            raise aws.Refusal(400, "ResourceNotFoundException", "no such stream")
        events = body["logEvents"]
        sizes = [len(event["message"].encode()) + 26 for event in events]
        stamps = [event["timestamp"] for event in events]
        if not 0 < len(events) <= 10_000 or sum(sizes) > 1_048_576 or max(sizes) > 262_144 or min(sizes) == 26:
            raise aws.Refusal(400, "InvalidParameterException", "a limit is passed")
        if stamps != sorted(stamps):
            raise aws.Refusal(400, "InvalidParameterException", "not in order")
        self.batches.append(len(events))
        self.streams[stream] += events
        return {}

    def text(self, stream: str) -> str:
        return "\n".join(event["message"] for event in self.streams.get(stream, []))
