"""What docker's own client makes of the options, where the machine has one: asked of an engine that only listens."""

import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

import pytest

from worker.containers import Container, Engine
from worker.isolation import Account
from worker.limits import Allotment

CLIENT = shutil.which("docker")
pytestmark = pytest.mark.skipif(CLIENT is None, reason="there is no docker client on this machine")
GIB = 2**30


class Listening(ThreadingMixIn, UnixStreamServer):
    """An engine's socket. Keeps what containers are to be like, and makes none."""

    daemon_threads = True

    def __init__(self, place: Path) -> None:
        self.created: list[dict[str, Any]] = []
        super().__init__(str(place), self._handler())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        created = self.created

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200, {"Id": "sha256:1"})

            def do_POST(self) -> None:
                created.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self._answer(500, {"message": "it only listens"})

            do_HEAD = do_GET

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Api-Version", "1.43")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def address_string(self) -> str:
                return "the client"

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Listening]:
    with tempfile.TemporaryDirectory() as short:  # a socket's path has at most 107 bytes
        made = Listening(Path(short) / "engine")
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        script = tmp_path / "docker"
        script.write_text(f'#!/bin/sh\nDOCKER_HOST=unix://{short}/engine exec {CLIENT} "$@"\n')
        script.chmod(0o755)
        yield made
        made.shutdown()
        made.server_close()


def asked(listening: Listening, place: Path, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        **{"name": "lowtide-1-a", "image": "train:1", "command": ("python3", "-u", "--x=y"), "place": place},
        **{"environment": {}, "account": Account(64917, 64917, (5,)), "allotment": Allotment(2.0, GIB), "devices": ()},
    }
    running = Engine(str(place / "docker")).run(Container(**{**given, **changes}), subprocess.DEVNULL)
    assert running._client.wait(30) == 125  # pyright: ignore[reportPrivateUsage] - nothing ran that could be waited for
    (created,) = listening.created
    return created


def test_variables_arrive_as_they_are_whatever_is_in_them(listening: Listening, tmp_path: Path) -> None:
    variables = {
        **{"A": " 1 # x 'q' = $y ü ", "EMPTY": "", "MULTI": "a\nb\n", "LONG": "x" * 100_000, "CR": "a\r"},
        **{"PATH": "/p", "LD_PRELOAD": "/e.so", "DOCKER_HOST": "tcp://evil"},
    }
    created = asked(listening, tmp_path, environment=variables)
    assert dict(line.split("=", 1) for line in created["Env"]) == variables


def test_the_options_are_what_they_are_meant_to_be(listening: Listening, tmp_path: Path) -> None:
    created = asked(listening, tmp_path, devices=(1, 3))
    host = created["HostConfig"]
    assert (created["Entrypoint"], created["Cmd"], created["User"]) == (["python3"], ["-u", "--x=y"], "64917:64917")
    assert created["WorkingDir"] == f"{tmp_path}/work"
    assert [(m["Type"], m["Source"], m["Target"]) for m in host["Mounts"]] == [("bind", str(tmp_path), str(tmp_path))]
    assert (host["NetworkMode"], host["Init"], host["LogConfig"]["Type"]) == ("host", True, "none")
    assert (host["CapDrop"], host["Privileged"], host["GroupAdd"]) == (["ALL"], False, ["5"])
    assert host["SecurityOpt"] == ["no-new-privileges", "label=disable"]
    assert (host["NanoCpus"], host["Memory"], host["MemorySwap"], host["ShmSize"]) == (2 * 10**9, GIB, GIB, GIB // 2)
    (request,) = host["DeviceRequests"]
    assert (request["DeviceIDs"], request["Capabilities"]) == (["1", "3"], [["gpu"]])


def test_an_auxiliary_container_has_weight_alone(listening: Listening, tmp_path: Path) -> None:
    host = asked(listening, tmp_path, allotment=Allotment(0.0, None))["HostConfig"]
    assert (host["CpuShares"], host["NanoCpus"], host["Memory"], host["DeviceRequests"]) == (10, 0, 0, None)
