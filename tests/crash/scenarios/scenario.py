"""What a scenario is; which ones there are is in the modules beside."""

from collections.abc import Callable
from dataclasses import dataclass

from lowtide.sim.calls import Hook
from lowtide.sim.world import World


@dataclass(frozen=True)
class Scenario:
    prepare: Callable[[], World]
    act: Callable[[World], object]
    faults: Callable[[], Hook] | None = None
    """Trouble during the act, beside the kill."""
    afterwards: Callable[[World], object] = lambda _: None
    """What the outside does once the act is over."""
    ends: bool = True
    """False: the stack is deleted, so jobs do not end."""
