"""Jobs with a deadline in a whole stack under the virtual clock: in time through a dry market, and back to spot."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from lambdas.adapters import keys, pool_table
from lambdas.domain.instants import from_text, to_text
from lambdas.domain.pools.pools import OnDemandFallback, Pool
from lowtide.market.model import Lifecycle
from lowtide.sim import laws
from lowtide.sim.hosts import command
from lowtide.sim.world import World
from tests.crash.deployed import CPU, cpu, facts, world

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
WORK = 30 * MINUTE
OWNER = OnDemandFallback(return_after=5 * MINUTE)


def pool(**changes: Any) -> Pool:
    return cpu(**{"types": (facts(CPU, 1),), "max_instances": 3, "on_demand_fallback": OWNER, **changes})


def dry(of: World) -> None:
    """No spot anywhere, and what there is goes."""
    for zone in "abc":
        of.market.set_capacity(CPU, f"us-east-1{zone}", 0, of.clock())


def wet(of: World) -> None:
    for zone in "abc":
        of.market.set_capacity(CPU, f"us-east-1{zone}", 5, of.clock())


def submit(to: World, deadline: timedelta, **fields: Any) -> datetime:
    at = to.clock() + deadline
    body = {"id": "job", "pool": "cpu", "command": command(WORK.total_seconds(), saves=True), "deadline": to_text(at)}
    to.send({**body, "estimated_duration": "30m", **fields})
    return at


def job(of: World) -> dict[str, Any]:
    return next((item for item in of.stored() if item["pk"] == keys.job("job") and item["sk"] == keys.JOB), {})


def lifecycles(of: World) -> list[str]:
    """Of the job's attempts that ended, in order."""
    found = [item for item in of.stored() if item["pk"] == keys.job("job") and item["sk"].startswith("ATTEMPT#")]
    return [item["lifecycle"] for item in sorted(found, key=lambda item: item["n"])]


def bought(of: World) -> int:
    return sum(each.lifecycle is Lifecycle.ON_DEMAND for each in of.market.instances.values())


def finished(of: World, most: timedelta = 3 * HOUR) -> datetime:
    assert of.run(lambda: job(of).get("state") == "succeeded", most)
    return from_text(job(of)["finished_at"])


def test_through_a_dry_market_on_demand_is_bought_in_time_and_not_before_it_must() -> None:
    made = world(pool())
    dry(made)
    deadline = submit(made, 2 * HOUR)
    assert made.run(lambda: bought(made) == 1, 2 * HOUR)
    assert WORK < deadline - made.clock() < 90 * MINUTE
    assert finished(made) <= deadline
    assert lifecycles(made) == ["on-demand"]
    assert laws.standing(made) == []


def test_without_the_owners_word_it_waits_for_spot_and_misses() -> None:
    made = world(pool(on_demand_fallback=None))
    dry(made)
    deadline = submit(made, 50 * MINUTE)
    made.run_for(55 * MINUTE)
    assert (bought(made), job(made)["state"]) == (0, "queued")
    wet(made)
    assert finished(made) > deadline
    assert lifecycles(made) == ["spot"]


def test_when_spot_is_back_it_goes_back_and_is_still_in_time() -> None:
    made = world(pool())
    dry(made)
    deadline = submit(made, 80 * MINUTE)
    assert made.run(lambda: job(made).get("state") == "running", HOUR)
    wet(made)
    assert finished(made) <= deadline
    assert lifecycles(made) == ["on-demand", "spot"]
    assert job(made)["interruptions"] == 0
    assert made.settle(HOUR)
    assert laws.at_rest(made) == []


def test_a_job_that_saves_nothing_stays_on_on_demand_to_its_end() -> None:
    made = world(pool())
    dry(made)
    submit(made, 80 * MINUTE, command=command(WORK.total_seconds()))
    assert made.run(lambda: job(made).get("state") == "running", HOUR)
    wet(made)
    finished(made)
    assert lifecycles(made) == ["on-demand"]


def test_interrupted_on_spot_near_the_deadline_it_goes_on_on_demand_from_what_it_saved() -> None:
    made = world(pool())
    deadline = submit(made, WORK + 45 * MINUTE)
    assert made.run(lambda: job(made).get("state") == "running", 30 * MINUTE)
    made.run_for(20 * MINUTE)
    dry(made)
    for instance in made.alive("cpu"):
        made.market.interrupt(instance.instance_id, made.clock())
    assert finished(made) <= deadline
    assert lifecycles(made) == ["spot", "on-demand"]
    assert Decimal(job(made)["kept_seconds"]) >= 1200


def test_the_instance_bought_for_a_deadline_goes_to_its_job_and_not_to_the_next_in_the_queue() -> None:
    made = world(pool())
    dry(made)
    for _ in range(3):
        made.send({"pool": "cpu", "command": command(30_000)})
    made.run_for(MINUTE)
    deadline = submit(made, WORK + 15 * MINUTE)
    assert finished(made) <= deadline
    assert lifecycles(made) == ["on-demand"]


def test_a_job_deep_in_a_long_queue_is_seen_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_table, "QUEUE_LOOK", 5)
    made = world(pool(max_instances=1))
    dry(made)
    for number in range(20):
        made.send({"id": f"other-{number}", "pool": "cpu", "command": command(60)})
    made.run_for(MINUTE)
    deadline = submit(made, WORK + 15 * MINUTE)
    assert finished(made) <= deadline


def test_the_next_run_of_the_same_needs_no_estimate() -> None:
    made = world(pool())
    submit(made, 2 * HOUR, tags={"name": "nightly"})
    finished(made)
    assert made.settle(HOUR)
    dry(made)
    body = {"id": "again", "pool": "cpu", "command": command(1700, saves=True), "tags": {"name": "nightly"}}
    made.send({**body, "deadline": to_text(made.clock() + 50 * MINUTE)})
    assert made.run(lambda: bought(made) == 1, 10 * MINUTE)
    (again,) = [item for item in made.stored() if item["pk"] == keys.job("again") and item["sk"] == keys.JOB]
    assert again["estimate_from"] == "learned"
    assert 1800 <= Decimal(again["estimated_seconds"]) < 1900
