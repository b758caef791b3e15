"""Drills over a whole simulated deployment, and what they say where there is no market to move."""

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from lambdas import names
from lowtide.cli.errors import Failure
from lowtide.drill.market import HELD_SECONDS
from lowtide.drill.watch import POLL_SECONDS, Drill
from lowtide.market.model import ALL, Held, Lifecycle
from lowtide.sim.hosts import command
from lowtide.sim.world import World
from tests.cli.deployment import Deployed
from tests.crash.deployed import cpu, jobs, running, send, world
from tests.passes.world import pool

MINUTE = timedelta(minutes=1)


@dataclass
class SimMarket:
    """The control endpoint's part, on the simulation's market."""

    of: World
    holds: list[Held] = field(default_factory=list)
    fails: Callable[[], None] = lambda: None

    def interrupt(self, instance_id: str) -> None:
        self.of.market.interrupt(instance_id, self.of.clock())

    def hold_prices(self, types: Sequence[str], usd: Decimal) -> None:
        self._hold([{"instance_type": name, "price": usd} for name in types])

    def hold_empty(self, types: Sequence[str]) -> None:
        self._hold([{"instance_type": name, "capacity": 0, "lifecycle": None} for name in types])

    def _hold(self, what: list[dict[str, Any]]) -> None:
        now = self.of.clock()
        end = now + timedelta(seconds=HELD_SECONDS)
        self.holds = [Held(zone=ALL, start=now, end=end, **each) for each in what]
        self.of.market.conditions.add(self.holds)
        self.fails()


class SimDeployment:
    def __init__(self, of: World) -> None:
        self.table, self.sqs, self.settings = of.table, of.sqs, of.settings
        self._url = of.jobs_url

    def output(self, name: str) -> str:
        assert name == names.OUTPUT_JOB_QUEUE_URL
        return self._url


def drill(of: World, *, within: float = 1800, **more: Any) -> tuple[Drill, SimMarket, list[str]]:
    market, said = SimMarket(of), []
    made = Drill(
        deployment=SimDeployment(of),  # pyright: ignore[reportArgumentType] - the part of it that a drill uses
        market=market,
        say=said.append,
        clock=lambda: of.clock().timestamp(),
        pause=lambda seconds: of.run_for(timedelta(seconds=seconds)),
        within=within,
        job=command(1),
        **more,
    )
    return made, market, said


def test_an_interrupted_job_runs_again_elsewhere_and_the_time_is_told() -> None:
    of = running()
    lost = of.alive("cpu")[0].instance_id
    made, _, said = drill(of)
    outcome = made.interrupt("cpu", None)
    assert outcome["instance_id"] == lost
    [job] = outcome["jobs"]
    assert (job["state"], job["instance_id"] != lost) == ("running", True)
    assert 0 < job["seconds"] == outcome["recovered_seconds"] < 300
    assert "runs again on" in said[-1]


def test_without_a_running_job_there_is_nothing_to_interrupt_and_nothing_is() -> None:
    of = world()
    made, _, _ = drill(of)
    with pytest.raises(Failure, match="no spot instance of cpu runs a job"):
        made.interrupt("cpu", None)


def test_an_on_demand_instance_is_never_taken_back() -> None:
    of = world(cpu(spot=False, spot_max_price=None))
    send(of, seconds=600)
    assert of.run(lambda: jobs(of, "running") == 1, 10 * MINUTE)
    made, _, _ = drill(of)
    for instance_id in (None, of.alive("cpu")[0].instance_id):
        with pytest.raises(Failure, match="runs a job: lowtide submit"):
            made.interrupt("cpu", instance_id)


def test_a_job_that_is_not_back_in_time_is_a_failure() -> None:
    made, _, _ = drill(running(), within=5)
    with pytest.raises(Failure, match="did not run again within 5 s"):
        made.interrupt(None, None)


@pytest.mark.parametrize("name", ["price", "capacity"])
def test_a_shortage_is_shown_and_ends_with_the_drill(name: str) -> None:
    of = world()
    made, market, _ = drill(of)
    wanted = of.config.pool("cpu")
    assert wanted is not None
    outcome = getattr(made, name)(wanted)
    assert outcome["reason"]["class"] == name
    assert outcome["recovered_seconds"] > 0
    assert not any(each.in_force(of.clock()) for each in market.holds)
    assert jobs(of, "running") + jobs(of, "succeeded") >= 1
    assert of.settle()


def test_an_idle_instance_that_takes_the_drills_job_only_puts_the_reason_off() -> None:
    of = world(cpu(max_instances=2))
    send(of, seconds=20)
    assert of.run(lambda: jobs(of, "succeeded") == 1, 10 * MINUTE), "an instance idles"
    made, _, _ = drill(of)
    wanted = of.config.pool("cpu")
    assert wanted is not None
    assert made.price(wanted)["reason"]["class"] == "price"


def test_ctrl_c_leaves_the_market_as_it_was_within_seconds() -> None:
    of = world()
    made, market, said = drill(of)
    mine = Held(instance_type="c7g.large", start=of.clock(), capacity=3, lifecycle=Lifecycle.SPOT)
    of.market.conditions.add([mine])

    def interrupted() -> None:
        raise KeyboardInterrupt

    market.fails = interrupted
    wanted = of.config.pool("cpu")
    assert wanted is not None
    with pytest.raises(KeyboardInterrupt):
        made.capacity(wanted)
    assert "its own again" in said[-1]
    of.run_for(timedelta(seconds=HELD_SECONDS))
    assert [each for each in of.market.conditions.held if each.in_force(of.clock())] == [mine]


def test_a_hold_outlives_the_time_between_two_renewals() -> None:
    assert HELD_SECONDS > 4 * POLL_SECONDS


# --- in a real account ---


def test_an_interruption_in_a_real_account_is_printed_as_commands_and_not_made(deployed: Deployed) -> None:
    deployed.apply(pool())
    told = deployed.say("drill", "interrupt", "cpu")
    assert told.code == 0
    make = next(line for line in told.out.splitlines() if "create-experiment-template" in line)
    words = shlex.split(make.partition("$(")[2].rpartition(")")[0])
    experiment = json.loads(words[words.index("--cli-input-json") + 1])
    [action] = experiment["actions"].values()
    [target] = experiment["targets"].values()
    assert action["actionId"] == "aws:ec2:send-spot-instance-interruptions"
    assert target["resourceTags"] == {"lowtide:stack": "Lowtide", "lowtide:pool": "cpu"}
    assert "nothing is done" in " ".join(told.out.split())
    assert "start-experiment" in told.out
    found = json.loads(deployed.say("drill", "interrupt", "cpu", "--json").out)
    assert (found["done"], found["commands"]) == (False, told.out.splitlines()[-2:])


@pytest.mark.parametrize("verb", ["price", "capacity"])
def test_there_is_no_drill_of_the_market_in_a_real_account_and_that_is_said(deployed: Deployed, verb: str) -> None:
    deployed.apply(pool())
    told = deployed.say("drill", verb, "cpu")
    assert told.code == 1
    assert "there is no drill for this in a real account" in told.err


def test_an_endpoint_without_a_market_is_a_real_account(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert deployed.say("drill", "price", "cpu").code == 1
