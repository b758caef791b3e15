"""Passes of one pool at the same time: processes of one function, of which one at a time goes on, from one AWS call to
its next. Whose turn it is is drawn from a seed, so a race that is lost once is lost again."""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from lowtide.sim.calls import Request, Response
from lowtide.sim.functions import TIMEOUTS, Context, Function, Serve
from lowtide.sim.world import World


def message(pool: str, cause: str) -> dict[str, object]:
    """What a pass is invoked with."""
    return {"Records": [{"messageId": cause, "body": json.dumps({"pool": pool, "cause": cause})}]}


@dataclass(eq=False)
class Racer:
    """One process that stands still until it is given a turn."""

    number: int
    serve: Serve
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    done: bool = False
    failed: BaseException | None = None


class Race:
    """`run` plays reconciles of one pool to their ends. Its hook is where a process waits for its next turn."""

    def __init__(self, world: World, passes: int, seed: int, pool: str = "cpu") -> None:
        self._world = world
        self._pool = pool
        self._chance = Random(seed)
        self._racers = [Racer(number, world.functions.started(Function.RECONCILE)) for number in range(passes)]
        self._here = threading.Semaphore(0)
        self._by_thread: dict[int, Racer] = {}
        self.turns: list[int] = []
        """Which process went on, in order."""

    def run(self) -> None:
        """Raises what a process raised."""
        threads = [threading.Thread(target=self._serve, args=(racer,)) for racer in self._racers]
        self._world.hook = self
        for thread in threads:
            thread.start()
        while racing := [racer for racer in self._racers if not racer.done]:
            self._give_turn(self._chance.choice(racing))
        for thread in threads:
            thread.join()
        self._world.hook = None
        raise_first([racer.failed for racer in self._racers])

    def _give_turn(self, racer: Racer) -> None:
        self.turns.append(racer.number)
        self._world.began(Function.RECONCILE)
        racer.turn.release()
        self._here.acquire()
        self._world.ended(Function.RECONCILE, crashed=False)

    def _serve(self, racer: Racer) -> None:
        self._by_thread[threading.get_ident()] = racer
        racer.turn.acquire()
        try:
            context = Context(self._world.clock, TIMEOUTS[Function.RECONCILE])
            racer.serve(message(self._pool, f"race-{racer.number}"), context)
        except BaseException as error:
            racer.failed = error
        racer.done = True
        self._here.release()

    def before(self, operation: str, request: Request) -> None:
        self._here.release()
        self._by_thread[threading.get_ident()].turn.acquire()

    def after(self, operation: str, request: Request, response: Response) -> None: ...


def raise_first(failed: Sequence[BaseException | None]) -> None:
    for error in failed:
        if error is not None:
            raise error
