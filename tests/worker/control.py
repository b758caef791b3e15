"""A small control plane over real HTTP: the worker API, S3 and (lowtide.hosts' own) metadata of one instance."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

from lowtide.hosts.metadata import MetadataService

SETTINGS = {
    "heartbeat_seconds": 0.2,
    "notice_poll_seconds": 0.05,
    "checkpoint_seconds": 0.3,
    "reserve_least_seconds": 0.2,
    "reserve_most_seconds": 0.6,
    "idle_power_off_seconds": 60.0,
    "running_power_off_seconds": 60.0,
}
CREDENTIALS = {
    "AccessKeyId": "AKIDEXAMPLE",
    "SecretAccessKey": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "Token": "session-token",
    "Expiration": "2099-01-01T00:00:00Z",
}


DATA = {
    **{"access_key": "AKIDDATA", "secret_key": "secret", "token": "data-token", "expires_at": "2099-01-01T00:00:00Z"},
    **{"bucket": "data-bucket", "log_group": "/lowtide/jobs"},
}


JOB_KEYS = {
    **{"access_key": "ASIAJOB", "secret_key": "job-secret", "token": "job-token"},
    "expires_at": "2099-01-01T00:00:00.000000Z",
}


@dataclass(frozen=True, kw_only=True)
class Instance:
    """What the metadata service and the hosts are told; a structural `Spec`."""

    instance_id: str = "i-0123456789abcdef0"
    instance_type: str = "m5.large"
    zone: str = "us-east-1a"
    image_id: str = "ami-0123456789abcdef0"
    user_data: bytes = b""
    role_name: str | None = "worker-role"
    lifecycle: str = "spot"
    boot_delay: float = 0.0
    boot_fails: bool = False
    gpus: int = 0
    private_ip: str = "10.0.0.1"
    extra: dict[str, str] = field(default_factory=dict)


def lease(job_id: str = "job-1", fence: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "fence": fence,
        "attempt": 1,
        "pool": "cpu",
        "slots": 1,
        "resources": None,
        "command": ["true"],
        "env": {},
        "image": None,
        "secrets": {},
        "job_role": False,
        "inputs": [],
        "timeout_seconds": None,
        "used_seconds": 0.0,
        "gpus": changes.get("slots", 1),
    } | changes


class Control:
    """Gives out `queued` leases, keeps every call, answers with `failing` while that is set."""

    def __init__(self, slots: int = 4) -> None:
        self.slots = slots
        self.queued: list[dict[str, Any]] = []
        self.held: list[dict[str, Any]] = []
        self.stop: list[dict[str, Any]] = []
        self.failing: int | None = None
        self.calls: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.headers: list[dict[str, str]] = []
        self.objects: dict[str, bytes] = {}
        self.job_credentials: tuple[int, dict[str, Any]] = (200, JOB_KEYS)
        """Status and answer of `/v1/job-credentials`."""
        self.values: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        """ARN -> what Secrets Manager or SSM answers in turn; the last one again and again."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.metadata = MetadataService(
            Instance(), region="us-east-1", account="123456789012", credentials=lambda role, instance: CREDENTIALS
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.metadata.close()

    def wait(
        self, path: str, wanted: Callable[[dict[str, Any]], bool] = lambda body: True, seconds: float = 60.0
    ) -> Any:
        """The first call to `path` that is `wanted`, waited for."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for body in list(self.calls[path]):
                if wanted(body):
                    return body
            time.sleep(0.01)
        raise AssertionError(f"no such call to {path} in {seconds} s; calls: {dict(self.calls)}")

    def value(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Of a secret or parameter; nothing for what is asked of another service."""
        answers = self.values.get(str(body.get("SecretId") or body.get("Name")), [(200, {})])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def listing(self, bucket: str, prefix: str) -> bytes:
        place = f"{bucket.rstrip('/')}/"
        keys = sorted(unquote(path[len(place) :]) for path in self.objects if path.startswith(place))
        found = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys if key.startswith(prefix))
        return f"<ListBucketResult>{found}</ListBucketResult>".encode()

    def log(self, stream: str) -> list[str]:
        """What has been sent to a log stream."""
        put = [body for body in list(self.calls["PutLogEvents"]) if body["logStreamName"] == stream]
        return [event["message"] for body in put for event in body["logEvents"]]

    def finished(self, job_id: str = "job-1") -> dict[str, Any]:
        return self.wait("/v1/finish", lambda body: body["job_id"] == job_id)

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path == "/v1/hello":
            return {"pool": "cpu", "slots": self.slots, "aux_slots": 10, "settings": SETTINGS, "leases": self.held}
        if path == "/v1/claim":
            given, self.queued = self.queued[: body["most"]], self.queued[body["most"] :]
            self.held = self.held + given
            return {"leases": given, "next_call_seconds": 0.05, "drain": False, "power_off": False}
        if path == "/v1/heartbeat":
            return {"stop": self.stop, "drain": False, "next_call_seconds": 0.2}
        if path == "/v1/credentials":
            return DATA
        self.held = [one for one in self.held if one["job_id"] != body["job_id"]]
        return {"state": "queued"}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        control = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                control.headers.append({name.lower(): value for name, value in self.headers.items()})
                target = self.headers.get("x-amz-target", "").rpartition(".")[2]
                control.calls[target or self.path].append(body)
                if target:
                    status, answer = control.value(body)
                    self._send(status, json.dumps(answer).encode())
                    return
                if self.path == "/v1/job-credentials":
                    status, answer = control.job_credentials
                    self._send(status, json.dumps(answer).encode())
                    return
                if control.failing:
                    self._send(control.failing, b"{}")
                else:
                    self._send(200, json.dumps(control.answer(self.path, body)).encode())

            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                if "list-type=2" in query:
                    self._send(200, control.listing(path, parse_qs(query)["prefix"][0]))
                    return
                found = control.objects.get(self.path)
                self._send(404 if found is None else 200, found or b"")

            def do_PUT(self) -> None:
                control.objects[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
                self._send(200, b"")

            def do_DELETE(self) -> None:
                control.objects.pop(self.path, None)
                self._send(204, b"")

            def _send(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler
