"""The pools of every storm, as their owners first applied them."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from lambdas.domain.pools.pools import Pool, TypeFacts
from lowtide.market import catalogue
from lowtide.sim.storm.stage import MINUTE

TYPES: Mapping[str, tuple[tuple[str, int], ...]] = {
    "cpu": (("m7g.large", 2), ("m6g.large", 2)),
    "gpu": (("g4dn.12xlarge", 4),),
    "other": (("c7g.large", 1),),
}
"""Instance types and their slots of each pool; no two pools have a type in common."""
LIMITS = {"cpu": Decimal("0.06"), "gpu": Decimal("2.5"), "other": Decimal("0.05")}
"""USD per hour; the market begins at a third of the on-demand prices, 0.031, 1.32 and 0.026."""
MOST = {"cpu": 3, "gpu": 2, "other": 6}


def pool(name: str, **changes: Any) -> Pool:
    """As its owner first applied it, and as calm finds it again."""
    given: dict[str, Any] = {
        **{"spot": True, "spot_max_price": LIMITS[name], "max_instances": MOST[name]},
        **{"types": tuple(_facts(*each) for each in TYPES[name]), "starvation_after": 4 * MINUTE},
        **{"max_idle_agent_period": 3 * MINUTE, "max_agent_starting_period": 8 * MINUTE},
    }
    return Pool(name=name, **{**given, **changes})


def _facts(name: str, slots: int) -> TypeFacts:
    known = catalogue.facts(name)
    if known is None:
        raise LookupError(name)
    return TypeFacts(
        name=name,
        vcpus=known.vcpus,
        memory_mib=known.memory_mib,
        gpus=known.gpus,
        architecture=known.architectures[0],
        on_demand_price=catalogue.on_demand_price(name),
        slots=slots,
    )
