"""The HTTP server in front of ministack: one thread, loopback only, on a port of its own or a given one."""

import asyncio
import socket
import threading
import time
import urllib.request
from typing import Any, cast

from hypercorn.asyncio import serve
from hypercorn.config import Config

_START_SECONDS = 60.0
"""ministack answers in 1 to 4 s on a loaded two-core machine."""
_KEEP_ALIVE_SECONDS = 75.0
"""Longer than SDKs keep idle connections, so that the client is the one who closes."""
_DRAIN_SECONDS = 1.0


class PortInUse(OSError):
    """Somebody else listens on the port that was asked for."""


class Gateway:
    """Listens from its making, answers from `start` to `close`."""

    def __init__(self, port: int) -> None:
        """`port` 0 takes any free one. Raises PortInUse."""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(("127.0.0.1", port))
        except OSError as error:
            self._socket.close()
            raise PortInUse(f"port {port} on 127.0.0.1 cannot be had ({error.strerror}): give another one") from error
        self._socket.listen(128)
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def start(self, app: Any) -> None:
        """Returns when the APIs answer. Raises RuntimeError if they do not within a minute."""
        self._thread = threading.Thread(target=self._run, args=(app,), name="local-gateway", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the local AWS did not start to answer") from self._failure
            time.sleep(0.02)

    def close(self) -> None:
        """Stops answering. May be called before `start`, and again."""
        if self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join(timeout=_DRAIN_SECONDS + 10)
        self._socket.close()

    def _run(self, app: Any) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(serve(app, self._config(), shutdown_trigger=self._closing.wait))
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._loop.close()

    def _config(self) -> Config:
        config = Config()
        # hypercorn closes the descriptor that it is given; ours stays for `close`.
        config.bind = [f"fd://{self._socket.dup().detach()}"]
        config.loglevel = "WARNING"
        config.keep_alive_timeout = _KEEP_ALIVE_SECONDS
        config.graceful_timeout = _DRAIN_SECONDS
        config.shutdown_timeout = _DRAIN_SECONDS
        return config

    def _answers(self) -> bool:
        url = f"http://127.0.0.1:{self.port}/_ministack/health"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return cast(int, answer.status) == 200
        except OSError:
            return False
