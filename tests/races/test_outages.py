"""Twenty minutes without the worker API or the table: no lease expires for it, no worker stops work, nothing is lost.

Two instances of two slots run two jobs that outlast the outage and two that end in it, so that results and claims wait
for its end; two more jobs wait for their slots.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from lambdas.adapters import job_items, keys
from lambdas.domain.jobs.job_record import Attempt, JobRecord
from lambdas.domain.jobs.jobs import JobState
from lowtide.sim import laws
from lowtide.sim.calls import Request, Response, aws_error
from lowtide.sim.functions import Function
from lowtide.sim.world import World
from tests.crash import deployed
from tests.crash.deployed import MINUTE, SECOND, SETTINGS, cpu
from tests.races.faults import broken

OUTAGE = 20 * MINUTE
SHORT, LONG, LATER = 10 * MINUTE, 50 * MINUTE, 2 * MINUTE
"""How long the jobs run: those that end in the outage, those that outlast it, those that wait for a slot."""


class TableDown:
    """Every call of the table answers with an error, before its effect."""

    def __init__(self, wanted: Callable[[str], bool] = lambda _: True) -> None:
        self._wanted = wanted
        self.refused = 0

    def before(self, operation: str, request: Request) -> None:
        if operation.startswith("dynamodb.") and self._wanted(operation):
            self.refused += 1
            raise aws_error(operation, "InternalServerError", "Internal server error", status=500)

    def after(self, operation: str, request: Request, response: Response) -> None: ...


def _reads(operation: str) -> bool:
    return operation.rpartition(".")[2] in {"get_item", "query", "batch_get_item"}


def _nothing_answers(world: World) -> None:
    world.held.update(Function)


def _the_api_is_out(world: World) -> None:
    world.held.add(Function.WORKER_API)


def _the_table_is_out(world: World) -> None:
    world.hook = TableDown()


def _the_tables_writes_are_out(world: World) -> None:
    world.hook = TableDown(lambda operation: not _reads(operation))


OUTAGES = [_the_api_is_out, _the_table_is_out, _the_tables_writes_are_out, _nothing_answers]


def _over(world: World) -> datetime:
    world.held.clear()
    world.hook = None
    return world.clock()


def at_work() -> World:
    """Four jobs run on two instances; two wait."""
    world = deployed.world(cpu(max_instances=2))
    for length in (LONG, SHORT, LONG, SHORT, LATER, LATER):
        deployed.send(world, seconds=length.total_seconds())
        world.run_for(2 * SECOND)
    assert world.run(lambda: deployed.jobs(world, "running") == 4, 5 * MINUTE)
    return world


def jobs(of: World) -> list[JobRecord]:
    return [job_items.job_from(item) for item in of.stored() if item["sk"] == keys.JOB]


def attempts(of: World) -> list[Attempt]:
    return [job_items.attempt_from(item) for item in of.stored() if item["sk"].startswith(keys.ATTEMPT_PREFIX)]


def running_on(of: World) -> dict[str, int]:
    """Jobs that each worker runs."""
    return {i: sum(a.outcome is None for a in host.attempts) for i, host in of.hosts.items() if host.attempts}


@pytest.mark.parametrize("begins", OUTAGES, ids=lambda begins: begins.__name__.strip("_"))
def test_an_outage_of_twenty_minutes_costs_no_attempt_and_no_lease(begins: Callable[[World], None]) -> None:
    world = at_work()
    audit = laws.Audit(world)
    before = {job.job_id for job in jobs(world) if job.state is JobState.RUNNING}
    begins(world)
    world.run_for(OUTAGE)
    assert sorted(running_on(world).values()) == [1, 1], "the long jobs go on, the short ones have ended"
    assert {job.job_id for job in jobs(world) if job.state is JobState.RUNNING} == before, "their results wait"
    _over(world)
    world.run_for(SETTINGS.lease)
    assert {job.interruptions for job in jobs(world)} == {0}
    quiet = world.settle(timedelta(hours=2))
    assert broken(world, audit, quiet=quiet) == []
    assert [(job.state, job.attempts, job.interruptions) for job in jobs(world)] == [(JobState.SUCCEEDED, 1, 0)] * 6
    ran = sorted(attempt.ended_at - attempt.started_at for attempt in attempts(world) if attempt.ended_at)
    assert ran == [LATER, LATER, SHORT, SHORT, LONG, LONG], "nothing was stopped and nothing done twice"


@pytest.mark.parametrize("begins", OUTAGES, ids=lambda begins: begins.__name__.strip("_"))
def test_the_results_and_claims_that_waited_come_as_soon_as_it_is_over(begins: Callable[[World], None]) -> None:
    world = at_work()
    begins(world)
    world.run_for(OUTAGE)
    _over(world)
    world.run_for(SETTINGS.heartbeat * 2)
    states = [job.state for job in jobs(world)]
    assert states.count(JobState.SUCCEEDED) == 2
    assert states.count(JobState.RUNNING) == 4, "the slots of the two that ended are taken by the two that waited"


@pytest.mark.parametrize("begins", OUTAGES, ids=lambda begins: begins.__name__.strip("_"))
def test_a_worker_that_died_in_the_outage_is_given_a_full_lease_after_its_end_and_no_more(
    begins: Callable[[World], None],
) -> None:
    world = at_work()
    begins(world)
    world.run_for(MINUTE)
    dead = next(iter(running_on(world)))
    del world.hosts[dead]  # EC2 still calls it running
    world.run_for(OUTAGE - MINUTE)
    over = _over(world)
    held = [job for job in jobs(world) if job.instance_id == dead and job.state is JobState.RUNNING]
    assert len(held) == 2
    world.run(lambda: any(job.interruptions for job in jobs(world)), timedelta(hours=1))
    waited = world.clock() - over
    assert SETTINGS.lease <= waited <= SETTINGS.lease + 3 * MINUTE
    world.run_for(MINUTE)
    assert {job.job_id for job in jobs(world) if job.interruptions} == {job.job_id for job in held}
