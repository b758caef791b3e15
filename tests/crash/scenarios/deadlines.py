"""Jobs with a deadline: estimated from those before, found deep in the queue, moved back to spot."""

from lambdas.adapters import job_items, keys
from lambdas.adapters.ledger import Ledger
from lambdas.adapters.pool_table import QUEUE_LOOK
from lambdas.domain.instants import to_text
from lambdas.domain.pools.pools import OnDemandFallback
from lowtide.sim.functions import Function
from lowtide.sim.hosts import command
from lowtide.sim.world import World
from tests.crash.deployed import CPU, MINUTE, SECOND, cpu, facts, jobs, passes, send, take_in, taken_in, world
from tests.crash.scenarios.scenario import Scenario


def prepare_learned() -> World:
    """A job with a deadline and no estimate, whose kind has run before."""
    made = world()
    timely = {"pool": "cpu", "command": command(20), "deadline": to_text(made.clock() + 24 * 60 * MINUTE)}
    made.send({"id": "first", **timely})
    assert made.run(lambda: jobs(made, "succeeded") == 1, 5 * MINUTE)
    made.send({"id": "second", **timely})
    return made


def prepare_deep_deadline() -> World:
    """A job with a deadline behind more jobs than a pass reads; those may run nowhere at these prices."""
    made = world(cpu(max_instances=1, on_demand_fallback=OnDemandFallback()))
    send(made, QUEUE_LOOK + 5, slots=2, spot_max_price="0.002")
    send(made, seconds=20, estimated_duration="20s", deadline=to_text(made.clock() + 15 * MINUTE))
    taken_in(made)
    return made


def cancel_the_rest(of: World) -> None:
    ledger = Ledger(of.table, jobs_kept=of.settings.jobs_kept)
    for item in of.stored():
        if item["sk"] == keys.JOB and item.get("spot_max_price") and item["state"] == "queued":
            ledger.cancel(job_items.job_from(item), of.clock())


def prepare_move() -> World:
    """A job with a deadline runs on on-demand, and the spot instance that it goes back to has just come."""
    owner = OnDemandFallback(return_after=MINUTE)
    made = world(cpu(types=(facts(CPU, 1),), on_demand_fallback=owner))
    for zone in "abc":
        made.market.set_capacity(CPU, f"us-east-1{zone}", 0, made.clock())
    timely = {"deadline": to_text(made.clock() + 52 * MINUTE), "estimated_duration": "30m"}
    made.send({"pool": "cpu", "command": command(1800, saves=True), **timely})
    assert made.run(lambda: jobs(made, "running") == 1, 20 * MINUTE)
    for zone in "abc":
        made.market.set_capacity(CPU, f"us-east-1{zone}", 5, made.clock())
    assert made.run(lambda: len(made.alive("cpu")) == 2, 10 * MINUTE)
    made.held.add(Function.RECONCILE)
    made.run_for(50 * SECOND)
    return made


def move(of: World) -> None:
    passes(of)
    of.held.add(Function.TICK)
    of.run(lambda: jobs(of, "running") == 0, 70 * SECOND)
    of.held.discard(Function.TICK)


SCENARIOS: dict[str, Scenario] = {
    "learned estimate": Scenario(prepare_learned, take_in),
    "deep deadline": Scenario(prepare_deep_deadline, passes, afterwards=cancel_the_rest),
    "move to spot": Scenario(prepare_move, move),
}
