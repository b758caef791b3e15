"""What `submit`, `jobs show` and `why` say of deadlines."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters import job_items
from lambdas.domain.instants import to_text
from lambdas.domain.jobs.job_record import JobRecord
from lambdas.domain.jobs.jobs import JobState
from lambdas.domain.pools.pools import OnDemandFallback
from tests.cli.deployment import Deployed
from tests.passes.world import SUBNETS, pool

HOUR = timedelta(hours=1)
ALLOWED = pool(on_demand_fallback=OnDemandFallback())


@pytest.fixture
def ready(deployed: Deployed) -> Deployed:
    deployed.apply(ALLOWED)
    return deployed


def submitted(to: Deployed, *options: str) -> str:
    said = to.say("submit", "--pool", "cpu", "--id", "job", *options, "--", "true")
    assert said.code == 0, said.err
    return said.err


def dear(world: Deployed) -> None:
    """Spot costs more than the pool pays, everywhere."""
    world.ec2.prices.update({("c7i.large", zone): Decimal("0.09") for zone, _ in SUBNETS})


def shown(of: Deployed) -> dict[str, Any]:
    return json.loads(of.say("jobs", "show", "job", "--json").out)


def ended(world: Deployed, state: JobState, at: timedelta) -> None:
    """The job's record as its end leaves it."""
    job = world.jobs.job("job")
    assert job is not None
    given = {f: getattr(job, f) for f in JobRecord.__dataclass_fields__}
    done = JobRecord(**{**given, "state": state, "finished_at": world.clock() + at})
    world.table.put(job_items.job_item(done, world.clock()))
    world.table.delete(*job_items.entry_key(job))


def test_options_become_the_fields(ready: Deployed) -> None:
    submitted(ready, "--deadline", "6h", "--estimate", "90m")
    (body,) = ready.jobs_sent()
    assert body["deadline"] == to_text(ready.clock() + 6 * HOUR)
    assert body["estimated_duration"] == "90m"


def test_a_deadline_that_can_be_met_is_sent_without_a_word(ready: Deployed) -> None:
    assert "deadline" not in submitted(ready, "--deadline", "6h", "--estimate", "90m")


def test_what_a_start_takes_is_reckoned_with_the_stacks_own_settings(ready: Deployed) -> None:
    ready.stacks[names.STACK][names.OUTPUT_SETTINGS] = '{"look_again": 660}'
    assert "some 17m to start" in submitted(ready, "--deadline", "90m", "--estimate", "90m")


def test_one_that_cannot_be_met_even_on_on_demand_is_told_so_and_sent(ready: Deployed) -> None:
    said = submitted(ready, "--deadline", "90m", "--estimate", "90m")
    assert (
        "job: its deadline cannot be met even on on-demand: it needs 1h30m and some 7m to start, and has 1h30m" in said
    )
    assert len(ready.jobs_sent()) == 1


def test_where_the_owner_allows_no_on_demand_it_is_best_effort(deployed: Deployed) -> None:
    deployed.apply(pool())
    assert "best effort: pool cpu allows no on-demand instances" in submitted(
        deployed, "--deadline", "6h", "--estimate", "1h"
    )
    deployed.take_in()
    deployed.run()
    assert "best effort" in deployed.say("jobs", "show", "job").out
    assert "best effort" in deployed.say("why", "job").out
    assert shown(deployed)["deadline_best_effort"] is True


def test_without_an_estimate_it_is_told_what_would_help(ready: Deployed) -> None:
    assert "LOWTIDE_PROGRESS_FILE" in submitted(ready, "--deadline", "6h")


def test_a_deadline_in_the_past_is_said_to_change_nothing(ready: Deployed) -> None:
    said = submitted(ready, "--deadline", to_text(ready.clock() - HOUR), "--estimate", "1h")
    assert "its deadline has passed: it runs as ordinary work" in said


def test_a_deadline_that_is_no_time_is_refused(ready: Deployed) -> None:
    said = ready.say("submit", "--pool", "cpu", "--deadline", "tomorrow", "--", "true")
    assert (said.code, ready.jobs_sent()) == (2, [])
    assert "--deadline 'tomorrow' is not a time" in said.err


def test_a_waiting_job_shows_slack_chance_and_when_on_demand_would_start(ready: Deployed) -> None:
    dear(ready)
    submitted(ready, "--deadline", "30h", "--estimate", "90m")
    ready.take_in()
    for _ in range(80):
        ready.run()
        ready.advance(60)
    found = shown(ready)
    assert (found["estimated_seconds"], found["work_left_seconds"]) == (5400, 5400)
    assert found["slack_seconds"] > 26 * 3600
    assert found["spot_alone_in_time"] == 0
    assert found["on_demand_at"] is not None
    out = ready.say("jobs", "show", "job").out
    assert "1h30m, as submitted" in out
    assert "of work and 7m to start" in out
    assert "in time in 0% of cases, as far as the last 1h1" in out
    assert "UTC at the latest, unless spot comes first" in out
    assert "waiting for spot is safe" in out
    assert "Deadlines, the least slack first:" in ready.say("why", "cpu").out
    assert "slack: " in ready.say("why", "job").out
    (told,) = json.loads(ready.say("why", "cpu", "--json").out)["deadlines"]
    assert told["job_id"] == "job"


def test_before_the_first_pass_it_says_when_more_is_known(ready: Deployed) -> None:
    submitted(ready, "--deadline", "9h", "--estimate", "90m")
    ready.take_in()
    assert "known with the pool's next pass" in ready.say("jobs", "show", "job").out


def test_a_kept_decision_tells_what_was_thought_and_can_be_made_again(ready: Deployed) -> None:
    submitted(ready, "--deadline", "9h", "--estimate", "90m")
    ready.take_in()
    ready.run()
    out = ready.say("why", "cpu", "--at", "0s").out
    assert "note: job job: 1h30m of work and " in out


@pytest.mark.parametrize(
    ("state", "at", "said", "missed"),
    [
        (JobState.SUCCEEDED, HOUR, "met 1h before", False),
        (JobState.SUCCEEDED, 3 * HOUR, "missed by 1h", True),
        (JobState.FAILED, HOUR, "missed: the job failed", True),
    ],
)
def test_an_ended_job_says_whether_it_was_in_time(
    ready: Deployed, state: JobState, at: timedelta, said: str, missed: bool
) -> None:
    submitted(ready, "--deadline", "2h", "--estimate", "10m")
    ready.take_in()
    ended(ready, state, at)
    assert said in ready.say("jobs", "show", "job").out
    assert shown(ready)["deadline_missed"] is missed


def test_one_that_missed_its_deadline_and_waits_says_so(ready: Deployed) -> None:
    submitted(ready, "--deadline", "2h", "--estimate", "10m")
    ready.take_in()
    ready.advance(3 * 3600)
    assert "missed 1h ago: it runs on as ordinary work" in ready.say("jobs", "show", "job").out


def test_a_job_without_a_deadline_says_nothing_of_one(ready: Deployed) -> None:
    ready.say("submit", "--pool", "cpu", "--id", "job", "--", "true")
    ready.take_in()
    assert "deadline" not in ready.say("jobs", "show", "job").out
    assert shown(ready)["deadline"] is None
