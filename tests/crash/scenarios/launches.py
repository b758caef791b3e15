"""A pass launches instances, and EC2 grants, refuses, slows down or errs."""

from dataclasses import replace
from typing import Any

from lowtide.sim.calls import FailNext, Hook, aws_error
from lowtide.sim.world import World
from tests.crash.deployed import CPU, MINUTE, OWN_TEMPLATE, cpu, jobs, passes, send, taken_in, world
from tests.crash.scenarios.scenario import Scenario


def prepare_launch(**changes: Any) -> World:
    made = world(**changes)
    send(made, 3)
    taken_in(made)
    return made


def prepare_refusal() -> World:
    made = prepare_launch()
    for zone, count in (("a", 1), ("b", 0), ("c", 0)):
        made.market.set_capacity(CPU, f"us-east-1{zone}", count, made.clock())
    return made


def prepare_launch_error() -> World:
    """EC2 has refused; the next pass gives the job up."""
    made = world(cpu(launch_error_timeout=30 * MINUTE))
    for zone in "abc":
        made.market.set_capacity(CPU, f"us-east-1{zone}", 0, made.clock())
    send(made, 2)
    taken_in(made)
    return made


def give_up(of: World) -> None:
    of.run(lambda: jobs(of, "failed") == 2, 3 * MINUTE)


def prepare_quota() -> World:
    """EC2 lets the account run one instance's vCPUs."""
    return prepare_launch(spot_quotas={"Standard": 2})


def raise_quota(of: World) -> None:
    of.market.unkindness = replace(of.market.unkindness, spot_quotas={"Standard": 64})


def prepare_throttled() -> World:
    made = world(bucket=1.0, bucket_refill_per_second=0.05)
    send(made, 3)
    taken_in(made)
    made.market.admit(made.clock())
    return made


def prepare_slip() -> World:
    made = prepare_launch()
    made.ec2.slips = 1
    return made


def failing_pass() -> Hook:
    error = aws_error("Query", "ProvisionedThroughputExceededException", "slow down")
    return FailNext(errors={"dynamodb.transact_write_items": [error]})


SCENARIOS: dict[str, Scenario] = {
    "launch": Scenario(prepare_launch, passes),
    "own template": Scenario(lambda: prepare_launch(pool=OWN_TEMPLATE), passes),
    "partial refusal": Scenario(prepare_refusal, passes, afterwards=lambda of: of.market.release(of.clock())),
    "launch error": Scenario(prepare_launch_error, lambda of: (passes(of), give_up(of))),
    "quota": Scenario(prepare_quota, passes, afterwards=raise_quota),
    "throttled": Scenario(prepare_throttled, passes),
    "wrong lifecycle": Scenario(prepare_slip, passes),
    "failing pass": Scenario(prepare_launch, passes, faults=failing_pass),
}
