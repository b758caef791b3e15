"""What becomes of a job whose instance falls silent or never comes, in a whole simulated deployment."""

from dataclasses import replace
from datetime import timedelta

from lambdas.adapters import items, keys
from lambdas.domain.fleet.fleet import Lease
from lambdas.domain.jobs.jobs import JobState
from lowtide.sim.world import World
from tests.crash import deployed
from tests.crash.deployed import MINUTE, SECOND, SETTINGS, cpu
from tests.races.test_outages import attempts, jobs

TICK = MINUTE


def leases(of: World) -> list[Lease]:
    return [items.lease_from(item) for item in of.stored() if item["sk"].startswith(keys.LEASE_PREFIX)]


def test_an_expired_lease_returns_its_job_within_one_tick() -> None:
    world = deployed.running()
    world.run_for(45 * SECOND)
    (lease,) = leases(world)
    del world.hosts[lease.instance_id]  # EC2 still calls it running
    assert world.run(lambda: any(job.interruptions for job in jobs(world)), timedelta(hours=1))
    silent = world.clock() - lease.renewed_at
    assert SETTINGS.lease <= silent <= SETTINGS.lease + TICK
    assert world.settle()
    (job,) = jobs(world)
    assert (job.state, job.attempts, job.interruptions, job.failures) == (JobState.SUCCEEDED, 2, 1, 0)


def test_a_job_whose_instance_never_came_has_begun_no_attempt() -> None:
    world = deployed.world(cpu(max_agent_starting_period=2 * MINUTE, max_instances=1), boot_failure=1.0)
    deployed.send(world)
    world.run_for(10 * MINUTE)
    (job,) = jobs(world)
    assert len(world.market.instances) > 1, "one after another was launched in vain"
    assert (job.state, job.attempts, job.interruptions, job.started_at) == (JobState.QUEUED, 0, 0, None)
    world.market.unkindness = replace(world.market.unkindness, boot_failure=0.0)
    assert world.settle(timedelta(hours=3))
    (job,) = jobs(world)
    (attempt,) = attempts(world)
    assert (job.state, job.attempts, attempt.n) == (JobState.SUCCEEDED, 1, 1)
