"""Lambda's Runtime API for one process and one invocation: what a cold start and a first answer cost.

The process is AWS's own runtime client (`python -m awslambdaric`). It gets one event, answers it, asks for the next
one, and is then measured and ended. Peak memory is read from /proc, so this is for Linux.
"""

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from lowtide.local.world import RUNTIME_PYTHON

_PATIENCE = 60.0
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """One execution environment, from its start until it had answered once."""

    cpu_seconds: float
    """Of user and system."""
    peak_mib: float
    """Of resident memory."""


class RuntimeApi:
    """A context manager that serves one process after the other."""

    def __init__(self) -> None:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                api._next(self)

            def do_POST(self) -> None:
                api._told(self)

            do_PUT = do_POST
            """CloudFormation's answer comes to the same port."""

            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._event, self._arn, self._failure = b"", "", ""
        self._given = False
        self._over = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def run(
        self, code: Path, handler: str, event: Mapping[str, Any], variables: Mapping[str, str], *, arn: str = ""
    ) -> Started:
        """Raises RuntimeError with what it said where the function fails, or does not answer in time."""
        self._event, self._arn, self._failure = json.dumps(event).encode(), arn, ""
        self._given = False
        self._over.clear()
        process = subprocess.Popen(
            [str(RUNTIME_PYTHON), "-B", "-m", "awslambdaric", handler],
            cwd=code,
            env={
                **{"PATH": os.defpath, "LANG": "en_US.UTF-8", "TZ": ":UTC", "_HANDLER": handler},
                **{"LAMBDA_TASK_ROOT": str(code), "AWS_LAMBDA_RUNTIME_API": self.address},
                **{"AWS_LAMBDA_FUNCTION_NAME": "bench", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512"},
                **{"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"},
                **variables,
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        answered = self._over.wait(_PATIENCE)
        peak = _peak_mib(process.pid)
        process.kill()
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
        if self._failure or not answered:
            raise RuntimeError(f"{handler} failed: {self._failure or 'no answer in time'}")
        return Started(cpu_seconds=used.ru_utime + used.ru_stime, peak_mib=peak)

    def _next(self, call: BaseHTTPRequestHandler) -> None:
        """The event; whoever asks again has answered, and waits until it is ended."""
        if self._given:
            self._over.set()
            time.sleep(_PATIENCE)
            return
        self._given = True
        call.send_response(200)
        for name, value in (
            ("Lambda-Runtime-Aws-Request-Id", "00000000-0000-4000-8000-000000000000"),
            ("Lambda-Runtime-Deadline-Ms", str(int(time.time() * 1000 + 60_000))),
            ("Lambda-Runtime-Invoked-Function-Arn", self._arn),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(self._event))),
        ):
            call.send_header(name, value)
        call.end_headers()
        call.wfile.write(self._event)

    def _told(self, call: BaseHTTPRequestHandler) -> None:
        said = call.rfile.read(int(call.headers.get("Content-Length") or 0)).decode(errors="replace")
        if call.path.endswith("/error"):
            self._failure = said
            self._over.set()
        call.send_response(202)
        call.send_header("Content-Length", "0")
        call.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Processes that have been measured are killed, whatever they have open."""


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0
