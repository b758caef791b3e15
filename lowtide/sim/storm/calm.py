"""How a storm ends."""

from decimal import Decimal

from lambdas.adapters.ledger import Ledger
from lambdas.domain.jobs.jobs import JobState
from lambdas.domain.jobs.terms import OnDemand
from lowtide.sim.fates import usual
from lowtide.sim.storm.pools import TYPES, pool
from lowtide.sim.storm.stage import Stage
from lowtide.sim.storm.users import jobs_of


def calm(stage: Stage) -> None:
    """Faults stop, and there is capacity at a price that the pools pay."""
    world = stage.world
    stage.over = True
    world.hook, world.fate = None, usual
    world.held.clear()
    world.skews.clear()
    world.ec2.slips = 0
    stage.conditions.factor = Decimal(1)
    world.market.release(world.clock())
    for repair in stage.repairs:
        repair()
    for name in TYPES:
        world.apply(pool(name))
        _cancel_forbidden(stage, name)


def _cancel_forbidden(stage: Stage, name: str) -> None:
    """What the pool that is back as it was never runs: its sender would do so, else it waits for ever, as is right."""
    ledger = Ledger(stage.world.table, jobs_kept=stage.world.settings.jobs_kept)
    for job in jobs_of(stage, name, JobState.QUEUED, JobState.RUNNING):
        if job.on_demand is OnDemand.ALWAYS and not pool(name).allows_on_demand():
            ledger.cancel(job, stage.world.clock())
