"""`lowtide local up`, `down` and `status`: the local AWS as a process of its own that outlives the command."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from lowtide.hosts import end_orphans
from lowtide.local.deploy import Deployment, stack_context
from lowtide.local.environment import ACCOUNT, REGION, callers_environment
from lowtide.local.places import INSTANCES, ROOT, Places
from lowtide.local.state import State, held

PACE = 10.0
"""A minute of AWS lasts six seconds: a two-minute spot notice leaves twelve."""
START_SECONDS = 90.0
"""The server answers in 3 to 6 s on two loaded cores."""
END_SECONDS = 30.0
"""What the server gets to end its instances before it is killed."""


class LocalError(RuntimeError):
    """What a person can do something about; the message is one sentence with the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The local AWS that runs now."""

    endpoint: str
    port: int
    pid: int
    pace: float
    seed: int
    region: str
    stack: str
    deployed: bool
    started: float
    """Epoch seconds."""
    environment: Mapping[str, str]
    """What to export, so that every AWS tool works on it."""
    deploy_command: str
    processes: tuple[str, ...] = ()
    """Command lines of what runs below the server: functions and instances."""

    def exports(self) -> list[str]:
        """Shell lines."""
        return [f"export {name}={value}" for name, value in self.environment.items()]


def up(
    *,
    port: int = 0,
    pace: float = PACE,
    seed: int | None = None,
    region: str = REGION,
    stack: str = "Lowtide",
    deploy: bool = True,
    context: Mapping[str, str] | None = None,
    say: Callable[[str], None] = print,
    places: Places | None = None,
) -> Running:
    """Starts the local AWS and deploys the stack into it. Raises LocalError or DeployFailed; then nothing runs on.

    `port` 0 takes a free one. `seed` None: a new market each time. `context` adds `-c` options of the CDK app.
    """
    places = places or Places()
    with held(places.lock) as ours:
        if not ours:
            raise LocalError("another lowtide local up or down is at work: wait for it to end.")
        _refuse_second(places)
        _clear(places)
        given = {"port": port, "pace": pace, "region": region, "stack": stack}
        try:
            state = _start(places, {**given, "seed": secrets.randbits(32) if seed is None else seed})
            say(f"The local AWS answers at {state.endpoint}.")
            if deploy:
                state = _deploy(places, state, context or {}, say)
        except BaseException:
            _end(places)
            raise
        return _running(state)


def down(*, places: Places | None = None) -> bool:
    """Ends the server and everything it started, also after a crash. False if nothing ran."""
    places = places or Places()
    with held(places.lock) as ours:
        if not ours:
            raise LocalError("another lowtide local up or down is at work: wait for it to end.")
        return _end(places)


def status(*, places: Places | None = None) -> Running | None:
    """What runs now; None if nothing does."""
    state = State.read((places or Places()).state)
    if state is None or not state.port or state.process() is None:
        return None
    return _running(state)


def _refuse_second(places: Places) -> None:
    state = State.read(places.state)
    if state is not None and state.process() is not None:
        raise LocalError(
            f"the local AWS runs already, at {state.endpoint} (process {state.pid}): "
            "use it, or end it with lowtide local down."
        )


def _start(places: Places, given: Mapping[str, object]) -> State:
    """Starts the server and returns when it answers. Raises LocalError with its own words if it gives up."""
    configuration = {**given, "home": str(places.home), "secret_key": secrets.token_urlsafe(24)}
    with places.server_log.open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "lowtide.local.server"],
            cwd=ROOT,
            env=_server_environment(places),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _tell(server, json.dumps(configuration))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        state = State.read(places.state)
        if state is not None and state.problem:
            raise LocalError(f"the local AWS did not start: {state.problem}.")
        if state is not None and state.port:
            return state
        if server.poll() is not None:
            break
        time.sleep(0.05)
    raise LocalError(f"the local AWS did not start; its log is {places.server_log}.")


def _tell(server: "subprocess.Popen[bytes]", configuration: str) -> None:
    if server.stdin is not None:
        with suppress(BrokenPipeError), server.stdin as pipe:
            pipe.write(configuration.encode())


def _server_environment(places: Places) -> dict[str, str]:
    """Nothing of the caller's reaches the server but where programs are."""
    return {
        "HOME": str(places.run),
        "LANG": "C.UTF-8",
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(places.run / "tmp"),
    }


def _deploy(places: Places, state: State, context: Mapping[str, str], say: Callable[[str], None]) -> State:
    deployment = Deployment(
        root=ROOT,
        context=stack_context(state.stack, state.pace, context),
        environment=callers_environment(state.endpoint, state.secret_key, state.region),
        account=ACCOUNT,
        region=state.region,
        work_dir=places.home,
        log=places.deploy_log,
    )
    say(f"Deploying {state.stack} with the CDK command line; its output goes to {places.deploy_log}.")
    began = time.monotonic()
    deployment.deploy(state.stack)
    say(f"Deployed in {time.monotonic() - began:.0f} s.")
    deployed = replace(state, deployed=True, command=deployment.command())
    deployed.write(places.state)
    return deployed


def _clear(places: Places) -> None:
    """An empty place to run in; ends what a crashed server left behind."""
    _end(places)
    (places.run / "tmp").mkdir(parents=True)
    places.deploy_log.unlink(missing_ok=True)


def _end(places: Places) -> bool:
    """Ends the server, its instances and functions, and forgets them. True if anything ran."""
    state = State.read(places.state)
    server = state.process() if state is not None else None
    if server is not None:
        _end_server(server)
    orphans = end_orphans(places.run / INSTANCES) + _end_functions(places)
    places.state.unlink(missing_ok=True)
    shutil.rmtree(places.run, ignore_errors=True)
    return server is not None or orphans > 0


def _end_functions(places: Places) -> int:
    """Kills what still works on a function's invocation after its server crashed: how many did."""
    left = [process for process in psutil.process_iter(["cwd"]) if _is_below(process.info["cwd"], places.run)]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return len(left)


def _is_below(directory: str | None, place: Path) -> bool:
    return directory is not None and Path(directory).is_relative_to(place)


def _end_server(server: psutil.Process) -> None:
    """SIGTERM, on which the server ends its instances and functions; after a time SIGKILL, to it and all below it."""
    below = server.children(recursive=True)
    server.terminate()
    _, alive = psutil.wait_procs([server], timeout=END_SECONDS)
    for process in [*alive, *below]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs([*alive, *below], timeout=5)


def _running(state: State) -> Running:
    process = state.process()
    below = process.children(recursive=True) if process is not None else []
    return Running(
        endpoint=state.endpoint,
        port=state.port,
        pid=state.pid,
        pace=state.pace,
        seed=state.seed,
        region=state.region,
        stack=state.stack,
        deployed=state.deployed,
        started=state.started,
        environment=callers_environment(state.endpoint, state.secret_key, state.region),
        deploy_command=state.command,
        processes=tuple(filter(None, map(_command_line, below))),
    )


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
