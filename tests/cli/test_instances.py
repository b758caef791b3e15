"""`lowtide instances`: what is shown of one, and that nobody ends a job, or a stranger's instance, by mistake."""

import json
from decimal import Decimal
from typing import Any

import pytest

from lambdas.adapters import items, keys
from lambdas.domain.fleet.fleet import InstanceState
from lambdas.domain.instants import to_text
from lowtide.sim.calls import Request, Response
from tests.cli.deployment import Deployed
from tests.domain import build
from tests.passes.world import pool


@pytest.fixture
def one(deployed: Deployed) -> tuple[Deployed, str]:
    """A pool with one running instance."""
    deployed.ec2.prices[("c7i.large", "us-west-2a")] = Decimal("0.03")
    deployed.apply(pool(max_instances=1))
    deployed.enqueue(1)
    deployed.run()
    deployed.clear_queue()
    (instance_id,) = deployed.instances()
    deployed.report(instance_id)
    return deployed, instance_id


def take_job(deployed: Deployed, instance_id: str, job_id: str = "mine") -> None:
    lease = build.lease(job_id, instance_id, pool="cpu", slots=1, claimed_at=deployed.clock())
    deployed.table.put(items.lease_item(lease))
    deployed.lease(instance_id)


def test_the_list_names_every_instance_with_its_jobs(one: tuple[Deployed, str]) -> None:
    deployed, instance_id = one
    take_job(deployed, instance_id)
    (row,) = json.loads(deployed.say("instances", "list", "--json").out)
    assert (row["instance_id"], row["pool"], row["state"], row["jobs"]) == (instance_id, "cpu", "running", ["mine"])
    assert instance_id in deployed.say("instances", "list", "--pool", "cpu").out
    assert "no pool gpu" in deployed.say("instances", "list", "--pool", "gpu").err


def test_an_instance_is_shown_with_its_price_its_decision_its_console_and_the_way_in(
    one: tuple[Deployed, str],
) -> None:
    deployed, instance_id = one
    found = json.loads(deployed.say("instances", "show", instance_id, "--json").out)
    assert (found["price_usd_per_hour"], found["price_limit_usd_per_hour"]) == (0.03, 0.05)
    assert found["launched_by"]["why"] == "for 1 queued job"
    assert found["console_output"] == "cloud-init: started"
    assert found["connect"] == f"aws ssm start-session --target {instance_id}"
    out = deployed.say("instances", "show", instance_id).out
    assert "c7i.large, spot, in us-west-2a" in out
    assert "cloud-init: started" in out


def test_a_drained_instance_takes_no_job_and_is_ended_by_the_next_pass(one: tuple[Deployed, str]) -> None:
    deployed, instance_id = one
    assert deployed.say("instances", "drain", instance_id).code == 0
    instance = deployed.instances()[instance_id]
    assert (instance.state, instance.drain_reason) == (InstanceState.DRAINING, "drained by an operator")
    assert deployed.state()["gpk"] == keys.DUE
    deployed.run()
    assert deployed.ec2.machines[instance_id].ended


def test_a_drained_instance_keeps_its_jobs(one: tuple[Deployed, str]) -> None:
    deployed, instance_id = one
    take_job(deployed, instance_id)
    said = deployed.say("instances", "drain", instance_id)
    assert "1 job still running" in said.out
    deployed.run()
    assert not deployed.ec2.machines[instance_id].ended


def test_an_idle_instance_is_ended(one: tuple[Deployed, str]) -> None:
    deployed, instance_id = one
    assert deployed.say("instances", "terminate", instance_id).code == 0
    assert deployed.ec2.machines[instance_id].ended
    assert deployed.instances()[instance_id].termination_requested_at == deployed.clock()


def test_a_busy_instance_is_ended_only_by_force(one: tuple[Deployed, str]) -> None:
    deployed, instance_id = one
    take_job(deployed, instance_id)
    said = deployed.say("instances", "terminate", instance_id)
    assert said.code == 1
    assert f"{instance_id} runs mine" in said.err
    assert not deployed.ec2.machines[instance_id].ended
    assert deployed.say("instances", "terminate", instance_id, "--force").code == 0
    assert deployed.ec2.machines[instance_id].ended


class TakesAJob:
    """The instance takes a job just before it is drained."""

    def __init__(self, deployed: Deployed, instance_id: str) -> None:
        self.deployed, self.instance_id = deployed, instance_id

    def before(self, operation: str, request: Request) -> None:
        if operation == "dynamodb.transact_write_items":
            self.deployed.dynamodb.hook = None
            take_job(self.deployed, self.instance_id)

    def after(self, operation: str, request: Request, response: Response) -> None: ...


def test_a_job_taken_at_the_last_moment_is_not_ended(one: tuple[Deployed, str]) -> None:
    deployed, instance_id = one
    deployed.dynamodb.hook = TakesAJob(deployed, instance_id)
    said = deployed.say("instances", "terminate", instance_id)
    assert said.code == 1
    assert not deployed.ec2.machines[instance_id].ended
    assert deployed.instances()[instance_id].state is InstanceState.RUNNING


@pytest.mark.parametrize("tags", [{}, {"lowtide:stack": "Another"}])
def test_what_does_not_carry_the_stacks_tag_is_never_ended(one: tuple[Deployed, str], tags: dict[str, str]) -> None:
    deployed, instance_id = one
    deployed.ec2.machines[instance_id].tags = tags
    said = deployed.say("instances", "terminate", instance_id, "--force")
    assert said.code == 1
    assert "is no instance of stack Lowtide" in said.err
    assert not deployed.ec2.machines[instance_id].ended


def test_an_instance_of_the_stack_that_the_table_does_not_know_can_be_ended(one: tuple[Deployed, str]) -> None:
    deployed, instance_id = one
    deployed.table.delete(keys.pool("cpu"), keys.instance(instance_id))
    assert deployed.say("instances", "terminate", instance_id).code == 0
    assert deployed.ec2.machines[instance_id].ended


@pytest.mark.parametrize("verb", ["show", "drain"])
def test_an_unknown_instance_is_one_sentence(deployed: Deployed, verb: str) -> None:
    said = deployed.say("instances", verb, "i-0")
    assert (said.code, said.err.count("\n") <= 2) == (1, True)
    assert "there is no instance i-0" in said.err


def test_a_question_is_asked_before_an_instance_is_ended(one: tuple[Deployed, str], monkeypatch: Any) -> None:
    deployed, instance_id = one
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda _: False)
    assert deployed.say("instances", "terminate", instance_id).code == 1
    assert not deployed.ec2.machines[instance_id].ended


def test_draining_wakes_a_pool_that_is_at_rest(deployed: Deployed) -> None:
    deployed.apply(pool(min_instances=1, max_instances=1))
    deployed.run()
    (instance_id,) = deployed.instances()
    deployed.report(instance_id)
    while not deployed.state()["resting"]:
        deployed.advance(60)
        deployed.observe()
        deployed.run()
    assert "gpk" not in deployed.state()
    assert deployed.say("instances", "drain", instance_id).code == 0
    assert (deployed.state()["gpk"], deployed.state()["gsk"]) == (keys.DUE, to_text(deployed.clock()))


def test_each_instance_has_its_own_jobs_and_no_others(deployed: Deployed) -> None:
    deployed.apply(pool(max_instances=2))
    deployed.enqueue(2)
    deployed.run()
    busy, idle = sorted(deployed.instances())
    take_job(deployed, busy)
    rows = {row["instance_id"]: row["jobs"] for row in json.loads(deployed.say("instances", "list", "--json").out)}
    assert rows == {busy: ["mine"], idle: []}
    assert "none" in deployed.say("instances", "show", idle).out
