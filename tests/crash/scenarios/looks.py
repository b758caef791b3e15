"""What the clock starts: the tick's looks at EC2 and at pools that are due, and the daily look at type facts."""

from dataclasses import replace

from lambdas.adapters import keys
from lambdas.control.observe import TOGETHER_LEAST
from lambdas.domain.instants import to_text
from lowtide.sim.calls import KillAt, Request, Response
from lowtide.sim.functions import Crashed, Function
from lowtide.sim.world import World
from tests.crash.deployed import CPU, MINUTE, SECOND, cpu, facts, instance_of, jobs, only_tick, running, send, world
from tests.crash.scenarios.scenario import Scenario


def prepare_pages() -> World:
    made = world()
    made.ec2.page = 1
    send(made, 3, seconds=20)
    assert made.run(lambda: jobs(made, "running") == 3, 3 * MINUTE)
    return made


def prepare_large_fleet() -> World:
    """As many instances as are recorded together run, and no look has seen them yet."""
    made = world(cpu(min_instances=TOGETHER_LEAST, max_instances=TOGETHER_LEAST))
    for instance in made.alive("cpu"):
        key = keys.instance(instance.instance_id)
        made.table.update(keys.pool("cpu"), key, "REMOVE observed_state, observed_at")
    return made


def prepare_resumed_look() -> World:
    """A look of several pages was killed after its first page was kept."""
    made = prepare_pages()
    hook = _KillAfter("dynamodb.put_item", Function.TICK, made)
    made.hook = hook
    assert made.run(lambda: hook.killed, 2 * MINUTE)
    made.hook = None
    return made


class _KillAfter(KillAt):
    """Kills a function after its first call of one operation."""

    def __init__(self, operation: str, function: Function, of: World) -> None:
        super().__init__(call=1, after_effect=True)
        self._wanted = (operation, function)
        self._world = of
        self.killed = False

    def before(self, operation: str, request: Request) -> None: ...

    def after(self, operation: str, request: Request, response: Response) -> None:
        if (operation, self._world.current) == self._wanted and not self.killed:
            self.killed = True
            self.seen = 1
            super().after(operation, request, response)


def rung_while_dirty(of: World) -> None:
    """Everybody rings for a pool that is dirty and due later, as a failed pass leaves one that was rung meanwhile."""
    instance_id = instance_of(of)
    of.held |= {Function.RECONCILE, Function.TICK}
    _dirty_and_due_later(of)
    of.bus.publish("EC2 Instance Rebalance Recommendation", {"instance-id": instance_id}, of.clock())
    of.run_for(SECOND)
    _dirty_and_due_later(of)
    send(of)
    of.run_for(SECOND)
    _dirty_and_due_later(of)
    of.hosts[instance_id].advise(of.clock())
    of.run_for(6 * SECOND)
    of.held |= {Function.NEWS}
    of.held -= {Function.TICK}
    of.market.interrupt(instance_id, of.clock(), notice=False)
    _dirty_and_due_later(of)
    only_tick(of)


def _dirty_and_due_later(of: World) -> None:
    of.table.update(
        keys.pool("cpu"),
        keys.STATE,
        "SET dirty = :cause, gpk = :due, gsk = :later",
        values={":cause": "a ring", ":due": keys.DUE, ":later": to_text(of.clock() + 5 * MINUTE)},
    )


def prepare_stale_facts() -> World:
    """The pool was applied when its type cost half of what it costs now."""
    today = facts(CPU, 2)
    assert today.on_demand_price is not None
    return world(cpu(types=(replace(today, on_demand_price=today.on_demand_price / 2, memory_mib=1),)))


def a_day_passes(of: World) -> None:
    """As EventBridge calls the function, twice more where it fails."""
    for _ in range(3):
        try:
            of.invoke(Function.CATALOGUE, {"source": "aws.events"})
        except Crashed:
            continue
        break
    stored = of.config.pool("cpu")
    assert stored is not None
    assert stored.types == (facts(CPU, 2),)


SCENARIOS: dict[str, Scenario] = {
    "pages": Scenario(prepare_pages, only_tick),
    "large fleet": Scenario(prepare_large_fleet, only_tick),
    "resumed look": Scenario(prepare_resumed_look, only_tick),
    "at rest with instances": Scenario(lambda: world(cpu(min_instances=1)), only_tick),
    "rung while dirty": Scenario(running, rung_while_dirty),
    "daily facts": Scenario(prepare_stale_facts, a_day_passes),
}
