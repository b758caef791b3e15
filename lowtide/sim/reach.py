"""Which branches of the control plane a run has taken: both ways of every conditional jump in lambdas/, as the
interpreter itself reports them (sys.monitoring, Python 3.12 or newer). Counted in this process alone."""

import dis
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

import lambdas

ROOT = Path(lambdas.__file__).parent
WAYS = 2
"""Of a jump: it is made or not; of a loop: it goes on or ends."""
_TOOL = 3
"""sys.monitoring's number for a tool; 0 to 2 and 5 are for debuggers, coverage, profilers and optimizers."""

Jump = tuple[str, int, str, int]
"""File, line and name of a code object, and the jump's offset in it."""


@dataclass(slots=True)
class Reached:
    known: int = 0
    """Ways there are in all."""
    ways: dict[Jump, set[int]] = field(default_factory=dict["Jump", set[int]])
    """Where each jump that was met has led."""

    @property
    def taken(self) -> int:
        return sum(map(len, self.ways.values()))


def available() -> bool:
    return hasattr(sys, "monitoring")


@contextmanager
def measured(wanted: bool) -> Generator[Reached]:
    """What the control plane reaches inside; where it is not wanted, nothing is counted and nothing slowed down."""
    reached = Reached()
    if not wanted:
        yield reached
        return
    reached.known = sum(_ways(path) for path in ROOT.rglob("*.py"))
    monitoring: Any = sys.monitoring  # pyright: ignore[reportAttributeAccessIssue] - the oldest Python has none
    monitoring.use_tool_id(_TOOL, "lowtide")
    monitoring.register_callback(_TOOL, monitoring.events.BRANCH, _Counter(reached, monitoring.DISABLE).jumped)
    monitoring.set_events(_TOOL, monitoring.events.BRANCH)
    try:
        yield reached
    finally:
        monitoring.set_events(_TOOL, 0)
        monitoring.free_tool_id(_TOOL)


@dataclass(frozen=True, slots=True)
class _Counter:
    reached: Reached
    enough: object
    """What tells the interpreter to report a jump no more."""

    def jumped(self, code: CodeType, offset: int, destination: int) -> object:
        if not code.co_filename.startswith(str(ROOT)):
            return self.enough
        ways = self.reached.ways.setdefault((code.co_filename, code.co_firstlineno, code.co_qualname, offset), set())
        ways.add(destination)
        return self.enough if len(ways) == WAYS else None


def _ways(path: Path) -> int:
    return WAYS * _jumps(compile(path.read_text(encoding="utf-8"), str(path), "exec"))


def _jumps(code: CodeType) -> int:
    """Conditional jumps of a code object and of those inside it."""
    own = sum(each.opname.startswith(("POP_JUMP_IF", "FOR_ITER")) for each in dis.get_instructions(code))
    return own + sum(_jumps(each) for each in code.co_consts if isinstance(each, CodeType))
