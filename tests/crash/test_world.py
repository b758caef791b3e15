"""The virtual world itself: it is what it says, and the laws can see what breaks them."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from infra import control, queues
from lambdas import names
from lambdas.adapters import keys
from lowtide.sim import assembly, functions, laws, pollers
from lowtide.sim.functions import Function
from lowtide.sim.world import World
from tests.crash.deployed import MINUTE, instance_of, jobs, running, send
from tests.crash.deployed import world as deployed


def course() -> tuple[list[str], list[dict[str, object]]]:
    of = running()
    of.market.interrupt(instance_of(of), of.clock())
    assert of.settle()
    return [f"{line.at} {line.what} {line.instance_id}" for line in of.market.history], of.stored()


def test_the_same_seed_gives_the_same_course() -> None:
    assert course() == course()


def test_an_interrupted_job_is_finished_elsewhere_and_everything_comes_to_rest() -> None:
    of = running()
    audit = laws.Audit(of)
    of.market.interrupt(instance_of(of), of.clock())
    assert of.settle()
    assert jobs(of, "succeeded") == 1
    [job] = [item for item in of.stored() if item["sk"] == keys.JOB]
    assert (job["attempts"], job["interruptions"]) == (2, 1)
    assert [*audit.violations, *laws.at_rest(of)] == []


def test_functions_have_the_time_that_the_stack_gives_them() -> None:
    deployed_timeouts = {
        Function.INTAKE: control.INTAKE_TIMEOUT,
        Function.RECONCILE: control.RECONCILE_TIMEOUT,
        Function.TICK: control.TICK_TIMEOUT,
        Function.NEWS: control.NEWS_TIMEOUT,
        Function.WORKER_API: control.API_TIMEOUT,
        Function.CATALOGUE: control.CATALOGUE_TIMEOUT,
        Function.JOB_EVENTS: control.EVENTS_TIMEOUT,
        Function.NOTICES: control.EVENTS_TIMEOUT,
    }
    for function, timeout in deployed_timeouts.items():
        assert functions.TIMEOUTS[function] == timedelta(seconds=timeout.to_seconds()), function
    assert (pollers.JOB_BATCH, assembly.RECONCILE_TRIES) == (control.JOB_BATCH, queues.RECONCILE_TRIES)


def test_a_message_that_intake_did_not_finish_comes_again() -> None:
    of = deployed()
    of.functions._processes[Function.INTAKE] = _dies  # type: ignore[attr-defined]
    send(of)
    of.run_for(MINUTE)
    assert jobs(of, "queued") + jobs(of, "running") == 0
    del of.functions._processes[Function.INTAKE]  # type: ignore[attr-defined]
    assert of.run(lambda: jobs(of, "succeeded") == 1, 10 * MINUTE)


def _dies(event: object, context: object) -> None:
    raise RuntimeError("a bug")


def lose_queue_entry(of: World) -> None:
    entry = next(item for item in of.stored() if item["pk"].startswith("QUEUE#"))
    of.table.delete(entry["pk"], entry["sk"])


def lose_job(of: World) -> None:
    for item in of.stored():
        if item["pk"].startswith(("JOB#", "QUEUE#")):
            of.table.delete(item["pk"], item["sk"])


def lose_lease(of: World) -> None:
    lease = next(item for item in of.stored() if item["sk"].startswith(keys.LEASE_PREFIX))
    of.table.delete(lease["pk"], lease["sk"])


def record_two_results(of: World) -> None:
    job = next(item for item in of.stored() if item["sk"] == keys.JOB and item["state"] == "succeeded")
    first = of.table.get(job["pk"], keys.attempt(1))
    assert first is not None
    of.table.put({**first, "sk": keys.attempt(2), "n": 2})


def say_unfulfilled(of: World) -> None:
    of.table.update(
        *(keys.pool("cpu"), keys.STATE, "SET summary = :summary REMOVE reasons"),
        values={":summary": {"unfulfilled": 1}},
    )


@pytest.mark.parametrize(
    ("law", "state", "damage"),
    [
        (1, "queued", lose_queue_entry),
        (1, "queued", lose_job),
        (2, "running", lose_lease),
        (2, "succeeded", record_two_results),
        (9, "running", say_unfulfilled),
    ],
)
def test_the_laws_see_damage(law: int, state: str, damage: Callable[[World], None]) -> None:
    of = deployed()
    send(of, seconds=60)
    assert of.run(lambda: jobs(of, state) == 1, 10 * MINUTE)
    assert laws.standing(of) == []
    damage(of)
    assert {violation.law for violation in laws.standing(of)} == {law}


def test_law_3_sees_an_instance_too_many() -> None:
    of = running()
    audit = laws.Audit(of)
    current = of.config.pool("cpu")
    assert current is not None
    tags = of.ec2.tags(instance_of(of))
    for _ in range(current.max_instances):
        before = set(of.market.instances)
        _launch_by_hand(of)
        for instance_id in of.market.instances.keys() - before:
            of.ec2.strange(instance_id, tags)
    of.tick()
    assert 3 in {violation.law for violation in audit.violations}


def _launch_by_hand(of: World) -> None:
    first = of.market.instances[instance_of(of)] if len(of.alive("cpu")) == 1 else of.alive("cpu")[0]
    of.ec2.create_fleet(
        Type="instant",
        ClientToken=f"by-hand-{len(of.market.instances)}",
        LaunchTemplateConfigs=[
            {
                "LaunchTemplateSpecification": {"LaunchTemplateId": functions.SPOT_TEMPLATE, "Version": "1"},
                "Overrides": [
                    {
                        "InstanceType": first.offering.instance_type,
                        "SubnetId": "subnet-a",
                        "ImageId": "ami-al2023-arm64",
                    }
                ],
            }
        ],
        TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "spot"},
    )


def test_law_4_sees_a_busy_instance_ended() -> None:
    of = running()
    audit = laws.Audit(of)
    audit.called(Function.RECONCILE, "ec2.terminate_instances", {"InstanceIds": [instance_of(of)]})
    assert [violation.law for violation in audit.violations] == [4]


def test_law_5_sees_what_stays_unknown_and_whose_tag_is_not_ours() -> None:
    of = running()
    audit = laws.Audit(of)
    instance_id = instance_of(of)
    of.table.delete(keys.pool("cpu"), keys.instance(instance_id))
    for _ in range(laws.UNKNOWN_MOST + 1):
        audit.ended(Function.TICK, crashed=False)
    assert [violation.law for violation in audit.violations] == [5]
    of.ec2.strange(instance_id, {names.TAG_STACK: "Theirs"})
    audit.called(Function.TICK, "ec2.terminate_instances", {"InstanceIds": [instance_id]})
    assert [violation.law for violation in audit.violations] == [5, 5, 4]


def test_law_6_sees_a_price_above_the_limit() -> None:
    of = deployed()
    audit = laws.Audit(of)
    tags = [{"Key": names.TAG_POOL, "Value": "cpu"}]
    audit.called(
        Function.RECONCILE,
        "ec2.create_fleet",
        {
            "TargetCapacitySpecification": {"DefaultTargetCapacityType": "spot"},
            "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
            "LaunchTemplateConfigs": [{"Overrides": [{"InstanceType": "m7g.large", "MaxPrice": "0.061"}]}],
        },
    )
    assert [violation.law for violation in audit.violations] == [6]


def test_law_7_sees_a_world_that_is_not_done() -> None:
    assert 7 in {violation.law for violation in laws.at_rest(running())}


def test_law_8_sees_a_job_that_waited_too_long() -> None:
    of = running()
    assert [v.law for v in laws.waited_at_most(of, "cpu", timedelta(seconds=1))] == [8]


def test_law_10_sees_a_tick_that_acts_on_a_world_at_rest() -> None:
    of = deployed()
    of.table.update(
        *(keys.pool("cpu"), keys.STATE, "SET gpk = :due, gsk = :now"),
        values={":due": keys.DUE, ":now": "2026-01-05T09:00:00.000000Z"},
    )
    assert 10 in {violation.law for violation in laws.at_rest(of)}
