"""Python functions run by AWS's own runtime client, in what Lambda gives them and nothing else.

Stock ministack runs every Python function in its own interpreter: the whole process environment and all of its
packages are visible, so that a package missing from a zip is found only on AWS. Here the function's process is
`python -m awslambdaric` in the environment `.venv-lambda` (what AWS's Python runtime has beside the zip), with the
zip as its working directory and exactly the variables that Lambda documents.

The one addition is AWS_ENDPOINT_URL: it is what points every AWS SDK at this world.
"""

import fcntl
import os
import queue
import select
import shlex
import stat
import struct
import termios
import threading
import time
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from lowtide.local.contract import upstream
from lowtide.local.replacements import Replacements

_READ = 65536
_LOG_POLL_SECONDS = 0.0005
"""How long a finished invocation waits before it looks again whether all of its output has been read."""


class Runtime:
    """Where functions run: the interpreter with the runtime client, and the directory their zips are unpacked to."""

    def __init__(self, *, python: Path, directory: Path, endpoint: str) -> None:
        self._python = python
        self._directory = directory
        self._endpoint = endpoint
        self._unpacking = threading.Lock()

    def install(self, replacements: Replacements) -> None:
        runtime, functions = upstream("core.lambda_runtime"), upstream("services.lambda_svc")
        worker = _worker_class(runtime)
        stock_class = runtime._worker_class_for
        stock_warm, stock_env = functions._execute_function_warm, functions._provided_worker_env

        def worker_class(config: Mapping[str, Any]) -> Any:
            return worker if _is_python(config) else stock_class(config)

        def warm(func: Mapping[str, Any], event: Any, request_id: str) -> Any:
            # The stock path speaks the protocol of its own Python workers; ours speak the Lambda Runtime API.
            config = func.get("config") or func
            execute = functions._execute_function_provided_warm if _is_python(config) else stock_warm
            return execute(func, event, request_id)

        def worker_env(config: Mapping[str, Any], code_dir: str, port: int) -> dict[str, str]:
            if not _is_python(config):
                return stock_env(config, code_dir, port)
            return self._environment(config, Path(code_dir), port)

        replacements.replace(runtime, "_worker_class_for", worker_class)
        replacements.replace(functions, "_execute_function_warm", warm)
        replacements.replace(functions, "_provided_worker_env", worker_env)
        replacements.replace(functions, "_provided_runtime_code_dir", self._unpacked)

    def _unpacked(self, code_zip: bytes) -> str:
        """The directory of one zip: `task` (the zip) and `bootstrap`, which starts the runtime client in it."""
        place = self._directory / sha256(code_zip).hexdigest()[:32]
        with self._unpacking:
            if not place.exists():
                task = place.with_suffix(".part") / "task"
                task.mkdir(parents=True)
                with zipfile.ZipFile(BytesIO(code_zip)) as archive:
                    upstream("services.lambda_svc")._extract_zip_preserving_mode(archive, str(task))
                self._write_bootstrap(task.parent / "bootstrap")
                task.parent.rename(place)
        return str(place)

    def _write_bootstrap(self, path: Path) -> None:
        # -B: /var/task is read-only on AWS, so byte code never appears beside the code there.
        # trap: Ctrl-C reaches everything in the terminal; the local AWS ends its functions itself, quietly.
        path.write_text(
            "#!/bin/sh\ntrap '' INT\n"
            'cd "$LAMBDA_TASK_ROOT" || exit 1\n'
            f'exec {shlex.quote(str(self._python))} -B -m awslambdaric "$_HANDLER"\n'
        )
        path.chmod(stat.S_IRWXU)

    def _environment(self, config: Mapping[str, Any], code_dir: Path, port: int) -> dict[str, str]:
        """Everything that Lambda documents for a managed runtime, then the function's own variables."""
        name: str = config["FunctionName"]
        region: str = config["FunctionArn"].split(":")[3]
        logging: Mapping[str, str] = config.get("LoggingConfig") or {}
        functions, runtime = upstream("services.lambda_svc"), upstream("core.lambda_runtime")
        return {
            "AWS_DEFAULT_REGION": region,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{config['Runtime']}",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config.get("MemorySize", 128)),
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": config.get("Version", "$LATEST"),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": logging.get("LogGroup") or f"/aws/lambda/{name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"{time.strftime('%Y/%m/%d')}/[$LATEST]{os.urandom(16).hex()}",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
            "AWS_REGION": region,
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "LAMBDA_TASK_ROOT": str(code_dir / "task"),
            "LANG": "en_US.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "TZ": ":UTC",
            "_HANDLER": config["Handler"],
            **runtime.execution_credentials(config),
            **functions._runtime_env_vars(config),
            "AWS_ENDPOINT_URL": self._endpoint,
        }


def _is_python(config: Mapping[str, Any]) -> bool:
    return str(config.get("Runtime", "")).startswith("python")


def _worker_class(runtime: Any) -> Any:
    base: Any = runtime.ProvidedWorker

    class RuntimeClientWorker(base):
        """One execution environment that speaks the Lambda Runtime API, as ministack's own for `provided.*` do.

        It differs in three things: an init error keeps the type and trace that the runtime client reported, the
        answer is not held back by Nagle's algorithm, and the log of an invocation is complete without waiting.
        """

        def __init__(self, func_name: str, config: Any, code_zip: bytes) -> None:
            super().__init__(func_name, config, code_zip)
            self._reading = threading.Lock()
            self._pipe: int | None = None

        def _spawn(self, init_timeout: float | None = None) -> None:
            if self.config.get("Layers"):
                raise runtime.ProvidedRuntimeError(
                    f"{self.func_name} has layers, which the local AWS does not give to Python functions.",
                    "Runtime.InvalidEntrypoint",
                )
            super()._spawn(init_timeout)

        def invoke(self, event: Any, request_id: str, **about: Any) -> Any:
            try:
                return super().invoke(event, request_id, **about)
            except RuntimeError:
                # What the runtime client posted to /init/error; upstream flattens it into a text.
                error = self._init_error
                if not isinstance(error, dict):
                    raise
                return {"status": "error", "error_payload": error, "cold_start": True, "log": self._drain_stderr()}

        def _build_handler_class(self, generation: int, pending: Any) -> Any:
            handler = super()._build_handler_class(generation, pending)
            handler.disable_nagle_algorithm = True
            return handler

        def _pump_output(self, stream: Any, log_queue: "queue.Queue[str]") -> None:
            pipe = stream.fileno()
            self._pipe = pipe
            rest = b""
            with stream:
                while True:
                    _wait_readable(pipe)
                    with self._reading:
                        block = os.read(pipe, _READ)
                        *lines, rest = (rest + block).split(b"\n")
                        if not block and rest:
                            lines = [rest]
                        for line in lines:
                            _put(log_queue, line.decode("utf-8", errors="replace").rstrip("\r"))
                    if not block:
                        break
                # A new environment may have taken its place already: then the field is that one's.
                if self._pipe == pipe:
                    self._pipe = None

        def _drain_stderr_bounded(self, *_: float, **__: float) -> str:
            """All lines written before the call: the pipe is empty and what was in it has been queued."""
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                with self._reading:
                    if self._pipe is None or _unread(self._pipe) == 0:
                        break
                time.sleep(_LOG_POLL_SECONDS)
            return self._drain_stderr()

    return RuntimeClientWorker


def _wait_readable(pipe: int) -> None:
    select.select([pipe], [], [])


def _unread(pipe: int) -> int:
    """Bytes that wait in a pipe; none in one that was closed meanwhile."""
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"))
    except OSError:
        return 0
    return count


def _put(lines: "queue.Queue[str]", line: str) -> None:
    """Queues a line; from a full queue the oldest goes. Never blocks: the pipe must be read on."""
    while True:
        try:
            lines.put_nowait(line)
        except queue.Full:
            try:
                lines.get_nowait()
            except queue.Empty:
                continue
        else:
            return
