"""A whole deployment played to its rest: what jobs cost is what their instances' bills say of them."""

from datetime import timedelta
from decimal import Decimal

from lambdas.adapters import bill_items, job_items, keys
from lowtide.sim.world import World
from tests.crash.deployed import MINUTE, jobs, send, world


def played() -> World:
    """Three jobs on two instances, of which one is interrupted while it runs one."""
    made = world()
    send(made, 3, seconds=100, slots=2)
    assert made.run(lambda: jobs(made, "running") == 2, 5 * MINUTE)
    made.run_for(timedelta(seconds=20))
    made.market.interrupt(made.alive("cpu")[0].instance_id, made.clock())
    assert made.run(lambda: jobs(made, "succeeded") == 3, 30 * MINUTE)
    made.run_for(30 * MINUTE)
    return made


def test_attempts_and_idle_time_add_up_to_the_bills() -> None:
    made = played()
    bills = [bill_items.bill_from(item) for item in made.stored() if item["pk"] == keys.BILLS]
    ended = [job_items.job_from(item) for item in made.stored() if item["sk"] == keys.JOB]
    assert not made.alive("cpu")
    assert len(bills) == len(made.market.instances)
    assert sum(job.interrupted_usd for job in ended) > 0
    assert sum(job.cost_usd for job in ended) == sum(bill.leased_usd for bill in bills)
    assert sum(job.interrupted_usd for job in ended) == sum(bill.interrupted_usd for bill in bills)
    assert all(bill.leased_usd <= (bill.cost_usd or Decimal(0)) for bill in bills)
    assert not any(bill.cost_estimated for bill in bills)
