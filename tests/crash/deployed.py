"""A deployed stack as scenarios find it: its pools, what is sent to it, how far it is played, and what is in it."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from lambdas.adapters import keys
from lambdas.domain.pools.machine import Machine
from lambdas.domain.pools.pools import Pool, TypeFacts
from lambdas.domain.settings import Settings
from lowtide.market import catalogue
from lowtide.market.unkindness import Unkindness
from lowtide.sim.functions import Function
from lowtide.sim.hosts import command
from lowtide.sim.world import World
from tests.market.worlds import Steady

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
NOW = timedelta(0)
UNKIND = replace(
    Unkindness.none(),
    describe_lag=40 * SECOND,
    pending=10 * SECOND,
    boot=20 * SECOND,
    shutting_down=20 * SECOND,
)
"""EC2's usual periods, shortened where nothing depends on them; trouble is each scenario's own."""
SETTINGS = Settings(poll_first=10 * SECOND)
CPU = "m7g.large"
OTHER = "c7g.large"


def facts(name: str, slots: int) -> TypeFacts:
    known = catalogue.facts(name)
    assert known is not None
    return TypeFacts(
        name=name,
        vcpus=known.vcpus,
        memory_mib=known.memory_mib,
        gpus=known.gpus,
        architecture=known.architectures[0],
        on_demand_price=catalogue.on_demand_price(name),
        slots=slots,
    )


def cpu(**changes: Any) -> Pool:
    given: dict[str, Any] = {
        **{"spot": True, "spot_max_price": Decimal("0.06"), "types": (facts(CPU, 2),), "max_instances": 2},
        **{"max_idle_agent_period": 2 * MINUTE, "max_agent_starting_period": 5 * MINUTE, **changes},
    }
    return Pool(name="cpu", **given)


OWN_TEMPLATE = cpu(machine=Machine(root_volume_size=300))
NEIGHBOUR = Pool(name="other", types=(facts(OTHER, 1),), max_instances=1, max_idle_agent_period=MINUTE)


def world(pool: Pool | None = None, *, conditions: Steady | None = None, **unkindness: Any) -> World:
    """A deployed stack with a pool and its neighbour, quiet."""
    made = World(conditions=conditions or Steady(), unkindness=replace(UNKIND, **unkindness), settings=SETTINGS)
    made.apply(pool or cpu())
    made.apply(NEIGHBOUR)
    assert made.settle(5 * MINUTE)
    return made


def running(**changes: Any) -> World:
    """One job runs on one instance."""
    made = world(**changes)
    send(made, seconds=100)
    assert made.run(lambda: jobs(made, "running") == 1, 5 * MINUTE)
    return made


def send(to: World, count: int = 1, *, seconds: float = 45, exit_code: int = 0, **fields: Any) -> None:
    for _ in range(count):
        to.send({"pool": "cpu", "command": command(seconds, exit_code), **fields})


def taken_in(to: World) -> None:
    """What was sent is accepted; no pass has looked yet."""
    to.held.add(Function.RECONCILE)
    assert to.run(lambda: not to.sqs.queues[to.jobs_url].messages, NOW)


def take_in(of: World) -> None:
    """Intake takes in what was sent, and nothing else goes on."""
    of.held.add(Function.RECONCILE)
    of.run(lambda: not of.sqs.queues[of.jobs_url].messages, NOW)
    of.held.discard(Function.RECONCILE)


def passes(of: World) -> None:
    """The passes that are asked for now, those they ask for themselves included."""
    of.held.discard(Function.RECONCILE)
    of.run(lambda: not of.sqs.queues[of.reconcile_url].messages, NOW)


def next_tick(of: World) -> None:
    """The next tick and the passes that it asks for; no worker is heard meanwhile."""
    only_tick(of)
    passes(of)


def only_tick(of: World) -> None:
    """The next tick alone; what it asks for waits."""
    of.held |= {Function.WORKER_API, Function.RECONCILE}
    before = of.ticks
    of.run(lambda: of.ticks > before, 61 * SECOND)


def jobs(of: World, state: str) -> int:
    return sum(item["sk"] == keys.JOB and item["state"] == state for item in of.stored())


def instance_of(of: World) -> str:
    [instance] = of.alive("cpu")
    return instance.instance_id


def intentions(of: World) -> int:
    return sum(item["sk"].startswith(keys.INTENT_PREFIX) for item in of.stored())
