"""Instances come with demand and go without it, and by themselves when nobody answers them."""

import pytest

from lambdas.domain.jobs.jobs import JobState
from tests.world.conftest import Stack, steady, until


@pytest.mark.parametrize("minimum", [0, 1])
def test_a_pool_grows_with_its_jobs_and_goes_back_to_its_minimum(stack: Stack, minimum: int) -> None:
    pool = f"elastic-{minimum}"
    stack.apply(steady(pool_name=pool, min_instances=minimum, max_instances=2, max_idle_agent_period="1s"))
    job_ids = [stack.send({"pool": pool, "command": ["sleep", "3"]}) for _ in range(2)]
    until("two instances", lambda: stack.instances(pool), lambda found: len(found) == 2)
    grown = {instance.instance_id for instance in stack.instances(pool)}
    assert {stack.ended(job_id).state for job_id in job_ids} == {JobState.SUCCEEDED}
    left = until("the minimum", lambda: stack.instances(pool), lambda found: len(found) == minimum)
    for instance_id in grown - {instance.instance_id for instance in left}:
        (end,) = stack.happened("ended", instance_id)
        assert end.code == "Client.UserInitiatedShutdown"


def test_an_instance_that_nobody_answers_powers_itself_off(stack: Stack) -> None:
    """Law 11: with nobody at the worker API, an idle worker ends its own instance."""
    (instance, *_) = until(
        "an instance that has called",
        lambda: stack.instances("steady"),
        lambda found: found and found[0].heartbeat_at is not None,
    )
    functions, name = stack.aws.world.client("lambda"), stack.function("WorkerApi")["FunctionName"]
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    try:
        (end,) = until("its end", lambda: stack.happened("ended", instance.instance_id))
    finally:
        functions.delete_function_concurrency(FunctionName=name)
    assert end.code == "Client.InstanceInitiatedShutdown"
    job_id = stack.send({"pool": "steady", "command": "true"})
    assert stack.ended(job_id).state is JobState.SUCCEEDED, "the pool gets itself another"
