"""The functions' invocations: which of them are at work, who watches their calls, and what time they take it to be.

Who invokes them, and when, is in the modules beside: pollers.py, schedule.py, bus.py, worker_calls.py.
"""

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Protocol

from lowtide.sim.calls import Hook, Killed, Request, Response
from lowtide.sim.clock import VirtualClock
from lowtide.sim.functions import TIMEOUTS, Cloud, Crashed, Function, Functions


@dataclass(frozen=True, slots=True)
class Invocation:
    """One that is at work."""

    function: Function
    event: Any
    began_at: datetime


class Observer(Protocol):
    """Told what goes on. It may look at everything and change nothing."""

    def called(self, function: Function, operation: str, request: Request) -> None:
        """A function is about to make an AWS call."""
        ...

    def ended(self, function: Function, *, crashed: bool) -> None:
        """An invocation is over."""
        ...


class Invocations:
    def __init__(self, clock: VirtualClock) -> None:
        """Nothing can be invoked before `serve_with`."""
        self.clock = clock
        self.hook: Hook | None = None
        """Sees, and may kill, the calls that functions make; never those of users or of the world around them."""
        self.current: Function | None = None
        """The function that is at work."""
        self.at_work: list[Invocation] = []
        """Invocations that are not over, the one in whose middle the others are first."""
        self.struck = False
        """Whether a fault met the invocation that has just ended, or one that is still at work."""
        self.ahead = timedelta(0)
        """How far the functions' clocks are ahead of the time; below zero: behind it."""
        self.skews: dict[Function, timedelta] = {}
        """The same of single functions, on top of `ahead`."""
        self.observers: list[Observer] = []
        self.held: set[Function] = set()
        """Functions that nothing reaches for now: their messages and events wait, their schedules are missed, their
        callers get no answer."""
        self.ticks = 0
        """Ticks that came to their end."""
        self._event_numbers = itertools.count(1)

    def serve_with(
        self, cloud: Cloud, chance: Random, pause: Callable[[float], None], launching: Callable[[], object]
    ) -> None:
        """From now on the functions run on `cloud`. `pause` is what their waiting does to the world; `launching` is
        told whenever EC2 is asked for instances, by whomever."""
        self.functions = Functions(cloud, chance, pause, self)
        for client in cloud.clients():
            client.hook = _Relay(self, launching)

    def invoke(self, function: Function, event: Any) -> Any:
        """The function's answer. Raises Crashed, also while nothing reaches the function."""
        if function in self.held:
            raise Crashed(f"nothing reaches {function}")
        return self.functions.invoke(function, event)

    def attempt(self, function: Function, event: Any) -> bool:
        """Whether the invocation came to its end; its answer is nobody's business."""
        try:
            self.invoke(function, event)
        except Crashed:
            return False
        return True

    def tick(self, event_id: str | None = None) -> bool:
        """One event of the schedule; False: the tick crashed, and EventBridge does not try again."""
        return self.attempt(Function.TICK, {"id": event_id or self.new_event_id("tick")})

    def new_event_id(self, kind: str) -> str:
        return f"{kind}-{next(self._event_numbers)}"

    def meanwhile_again(self) -> None:
        """In the middle of a call, what the function at work was invoked with is delivered to another process."""
        doubled, inside, self.current = self.at_work[-1], self.current, None
        with contextlib.suppress(Crashed):
            self.functions.invoke(doubled.function, doubled.event)
        self.current = inside

    def began(self, function: Function, event: Any = None) -> None:
        if not self.at_work:
            self.struck = False
        self.at_work.append(Invocation(function, event, self.clock()))
        self.current = function

    def ended(self, function: Function, *, crashed: bool) -> None:
        self.current = None
        if function is Function.TICK and not crashed:
            self.ticks += 1
        for observer in self.observers:
            observer.ended(function, crashed=crashed)
        self.at_work.pop()

    def at_work_since(self) -> datetime:
        """The beginning of the longest invocation under way; now where there is none."""
        return self.at_work[0].began_at if self.at_work else self.clock()

    def alone(self) -> bool:
        """Whether the invocation under way is the only one."""
        return len(self.at_work) == 1

    def functions_now(self) -> datetime:
        """What the function at work takes for the time."""
        skew = self.skews.get(self.current) if self.skews and self.current else None
        return self.clock() + self.ahead + (skew or timedelta(0))


class _Relay:
    """Tells observers and the hook of the calls that functions make."""

    def __init__(self, invocations: Invocations, launching: Callable[[], object]) -> None:
        self._invocations = invocations
        self._launching = launching

    def before(self, operation: str, request: Request) -> None:
        around = self._invocations
        if operation == "ec2.create_fleet":
            self._launching()
        if (function := around.current) is None:
            return
        around.current = None  # what observers look at is no call of the function's
        for observer in around.observers:
            observer.called(function, operation, request)
        around.current = function
        if around.hook is not None:
            around.hook.before(operation, request)
            self._in_time(operation)

    def after(self, operation: str, request: Request, response: Response) -> None:
        if self._invocations.current is not None and self._invocations.hook is not None:
            self._invocations.hook.after(operation, request, response)
            self._in_time(operation)

    def _in_time(self, operation: str) -> None:
        """Raises Killed once a slow call has used up the function's time."""
        work = self._invocations.at_work[-1] if self._invocations.at_work else None
        if work is not None and self._invocations.clock() - work.began_at > TIMEOUTS[work.function]:
            raise Killed(f"{work.function} ran out of time in {operation}")
