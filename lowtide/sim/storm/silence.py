"""What a story for law 11 has beside all the rest: workers that nobody answers."""

from lowtide.sim.functions import Function
from lowtide.sim.hosts import command
from lowtide.sim.storm.owners import apply
from lowtide.sim.storm.stage import Stage
from lowtide.sim.storm.story import Incident


def nobody_answers(stage: Stage, told: Incident) -> None:
    """Until the storm is over the workers' network is out; so is the function that they call, in one story of four, or
    every function, in two."""
    stage.strikes.unheard = True
    stage.world.held.update(((), (Function.WORKER_API,), Function, Function)[told.number - 1])


def long_job(stage: Stage, told: Incident) -> None:
    """It runs for longer than a worker does without an answer, and goes on afterwards where it was. There is capacity
    for it, and its pool is as it was first applied."""
    stage.world.market.release(stage.world.clock())
    apply(stage, told.pool)
    stage.world.send({"pool": told.pool, "command": command(60 * (11 + told.number), saves=True)})


def one_kept_idle(stage: Stage, told: Incident) -> None:
    apply(stage, told.pool, min_instances=told.number, warm_instances=told.number)
