"""Where a story is played."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from lowtide.sim.laws.ledger import Ledger as Seen
from lowtide.sim.storm.conditions import Held
from lowtide.sim.storm.strikes import Strikes
from lowtide.sim.world import World

MINUTE = timedelta(minutes=1)


@dataclass(slots=True, kw_only=True)
class Stage:
    """What an incident may touch."""

    world: World
    conditions: Held
    strikes: Strikes
    seen: Seen
    """The ledger as it is followed; it may be an invocation behind."""
    repairs: list[Callable[[], object]] = field(default_factory=list[Callable[[], object]])
    """What calm has to put right first; each may be done again."""
    over: bool = False
    """The storm is: what people had in mind for later is done already."""
