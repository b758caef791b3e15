"""Hands a job its role's credentials, as containers of ECS get theirs: every AWS SDK asks the address in
AWS_CONTAINER_CREDENTIALS_FULL_URI with the token beside it, and asks again before they expire. Files would not do: an
SDK reads those of a profile once.

It listens on the loopback address alone, which containers of jobs share (containers.py). Any process of the instance
may ask; only who knows a job's token gets an answer, and that is the job's user.
"""

from __future__ import annotations

import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from worker.data import Lent, NoRole

PATH = "/credentials"


class Loopback:
    """`admit` and `dismiss` what jobs may ask for. It listens from the first `admit` on, for as long as the worker
    lives."""

    def __init__(self) -> None:
        self._lent: dict[str, Lent] = {}
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    def admit(self, lent: Lent) -> dict[str, str]:
        """The variables by which an SDK finds these credentials. Raises OSError.

        The token is in the environment and not in a file: every SDK reads it there, those from before 2024 there
        alone."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._server = self._server or self._started()
            self._lent[token] = lent
            host, port = self._server.server_address[:2]
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{host!s}:{port}{PATH}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
        }

    def dismiss(self, lent: Lent) -> None:
        """Nobody gets these any more."""
        with self._lock:
            self._lent = {token: held for token, held in self._lent.items() if held is not lent}

    def _started(self) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name="credentials of jobs", daemon=True).start()
        return server

    def answer(self, path: str, token: str) -> tuple[int, dict[str, str]]:
        """HTTP status and body."""
        with self._lock:
            lent = self._lent.get(token)
        if path != PATH or lent is None:
            return 404, {"code": "NotFound", "message": "there are no credentials for this token"}
        try:
            keys = lent.credentials()
        except NoRole as error:
            return 403, {"code": "AccessDenied", "message": str(error)}
        except OSError as error:
            return 503, {"code": "ServiceUnavailable", "message": str(error)}
        return 200, {
            "AccessKeyId": keys.access_key,
            "SecretAccessKey": keys.secret_key,
            "Token": keys.token,
            "Expiration": keys.expiration,
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                status, body = answer(self.path, self.headers.get("Authorization", ""))
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                """The worker's journal has nothing to gain from it."""

        return Handler
