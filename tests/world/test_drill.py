"""`lowtide drill` as a person types it, in the deployed local AWS."""

import json

import pytest

from lambdas.domain.jobs.jobs import JobState
from tests.world.conftest import SPOT_TYPE, Stack, spot, until
from tests.world.test_interruptions import SECOND_TIME_LUCKY

pytestmark = pytest.mark.long


def test_an_interruption_is_made_and_its_recovery_timed(stack: Stack) -> None:
    stack.apply(spot(pool_name="drilled"))
    job_id = stack.send({"pool": "drilled", "command": SECOND_TIME_LUCKY, "max_attempts": 2})
    lost = stack.in_state(job_id, JobState.RUNNING).instance_id
    done = stack.lowtide("drill", "interrupt", "drilled", "--json")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["instance_id"], [job["id"] for job in outcome["jobs"]]) == (lost, [job_id])
    assert outcome["recovered_seconds"] > 0
    assert stack.ended(job_id).state is JobState.SUCCEEDED


def test_a_shortage_is_made_told_and_undone_and_what_others_hold_stays(stack: Stack) -> None:
    stack.apply(spot(pool_name="drilled"))
    held = _capacities(stack)
    done = stack.lowtide("drill", "capacity", "drilled", "--json")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["drill"], outcome["reason"]["class"]) == ("capacity", "capacity")
    assert outcome["recovered_seconds"] > 0
    until("the market as it was", lambda: _capacities(stack), lambda seen: seen == held)


def _capacities(stack: Stack) -> list[int]:
    return [each["capacity"] for each in stack.aws.market.prices(SPOT_TYPE)]
