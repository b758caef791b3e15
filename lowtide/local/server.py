"""The process behind `lowtide local up`: opens the local AWS, says so in the state file, and runs until told to end.

    python -m lowtide.local.server < {"home": …, "port": 0, "pace": 10, …}

The configuration comes on standard input, since it holds a secret that a command line would show to everybody.
"""

import json
import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import psutil

from lowtide.local.complete import LocalAws
from lowtide.local.contract import UpstreamChanged
from lowtide.local.gateway import PortInUse
from lowtide.local.places import Places
from lowtide.local.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What `up` tells its server."""

    home: str
    port: int
    pace: float
    seed: int
    region: str
    stack: str
    secret_key: str


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    return serve(Configuration(**json.load(sys.stdin)))


def serve(given: Configuration) -> int:
    """Returns the exit code: 0 after a signal to end, 1 if the world could not be opened."""
    ending = threading.Event()

    def end(_number: int, _frame: object) -> None:
        ending.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    places = Places(Path(given.home))
    state = _first_state(given)
    state.write(places.state)
    try:
        with _local_aws(given, places) as local:
            replace(state, port=local.world.port).write(places.state)
            ending.wait()
    except (PortInUse, UpstreamChanged) as error:
        replace(state, problem=str(error)).write(places.state)
        return 1
    return 0


def _first_state(given: Configuration) -> State:
    pid = os.getpid()
    return State(
        pid=pid,
        started=psutil.Process(pid).create_time(),
        pace=given.pace,
        seed=given.seed,
        region=given.region,
        stack=given.stack,
        secret_key=given.secret_key,
    )


def _local_aws(given: Configuration, places: Places) -> LocalAws:
    return LocalAws(
        pace=given.pace,
        port=given.port,
        region=given.region,
        random=Random(given.seed),  # noqa: S311 - a seeded market is the purpose
        data_dir=places.run,
        secret_key=given.secret_key,
    )


if __name__ == "__main__":
    sys.exit(main())
