"""`lowtide costs` and the costs of `jobs show`: exact numbers for programs, a table that 80 columns hold."""

import csv
import io
import json
import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from lambdas.adapters import items, keys
from lambdas.adapters.launch_table import LaunchTable
from lambdas.adapters.leases import Leases
from lambdas.adapters.ledger import Ledger
from lambdas.domain.buying.bills import Tariff
from lambdas.domain.instants import to_text
from lambdas.domain.jobs.fit import Part
from lambdas.domain.jobs.job_record import Result
from lambdas.domain.jobs.jobs import JobSpec
from lambdas.domain.settings import Settings
from tests.cli.deployment import Deployed
from tests.domain import build
from tests.passes.world import pool

HOUR = timedelta(hours=1)
KEPT = timedelta(days=90)


class Runs:
    """Instances with two slots at $1 an hour, $4 on demand, and what runs on them."""

    def __init__(self, deployed: Deployed) -> None:
        self.deployed, self.table, self.clock = deployed, deployed.table, deployed.clock
        self.begun: dict[str, datetime] = {}
        self.leases, self.ledger = Leases(self.table, jobs_kept=KEPT), Ledger(self.table, jobs_kept=KEPT)

    def instance(self, name: str = "i-1", *, estimated: bool = False, of: str = "cpu") -> None:
        now = self.clock()
        made = build.instance(
            name, pool=of, slots=2, launched_at=now, reported_at=now, heartbeat_at=now, idle_since=now
        )
        tariff = Tariff(
            launched_at=now,
            prices=((0, Decimal("0.98")),),
            on_demand=Decimal("3.98"),
            beside=Decimal("0.02"),
            estimated=estimated,
        )
        self.table.put(items.instance_item(made, tariff))

    def begin(self, job_id: str, on: str = "i-1", *, slots: int = 1, **tags: str) -> None:
        if self.ledger.job(job_id) is None:
            spec = JobSpec(job_id=job_id, pool="cpu", command=("true",), slots=slots, tags=tuple(tags.items()))
            self.ledger.accept(spec, self.clock(), self.clock())
        self.begun[job_id] = self.clock()
        waiting = self.leases.waiting(job_id)
        assert waiting is not None
        given: dict[str, Any] = {"part": Part(slots=slots), "most_aux": 1, "request_id": f"r-{job_id}"}
        item = self._item(on)
        beside = items.used_from(item)
        self.leases.grant(waiting[0], items.instance_from(item), beside=beside, now=self.clock(), **given)

    def end(self, job_id: str, on: str = "i-1", *, interrupted: bool = False) -> None:
        job, now = self.ledger.job(job_id), self.clock()
        assert job is not None
        result = Result(started_at=self.begun[job_id], ended_at=now, exit_code=0, interrupted=interrupted)
        self.leases.finish("cpu", on, job_id, job.fence, result, now, at_once=Settings().failed_at_once)

    def gone(self, name: str = "i-1", of: str = "cpu") -> None:
        seen = {":gone": "terminated", ":now": to_text(self.clock())}
        change = "SET observed_state = :gone, observed_at = :now"
        self.table.update(keys.pool(of), keys.instance(name), change, values=seen)
        assert LaunchTable(self.table).forget(of, name, self.clock(), bill_kept=KEPT)

    def later(self, hours: float) -> None:
        self.clock.advance(hours * HOUR)

    def _item(self, name: str) -> dict[str, Any]:
        item = self.table.get(keys.pool("cpu"), keys.instance(name))
        assert item is not None
        return item

    def say(self, *words: str) -> Any:
        said = self.deployed.say(*words, "--json")
        assert said.code == 0, said.err
        return json.loads(said.out)


@pytest.fixture
def runs(deployed: Deployed) -> Runs:
    deployed.apply(pool(max_instances=3))
    return Runs(deployed)


def played(runs: Runs) -> None:
    """Four hours of one instance: two of job a, of which one was interrupted, one of job b beside it; one idle."""
    runs.instance()
    runs.begin("a", team="red")
    runs.later(1)
    runs.end("a", interrupted=True)
    runs.begin("a")
    runs.begin("b", team="blue")
    runs.later(1)
    runs.end("a")
    runs.end("b")
    runs.later(2)
    runs.gone()


def pool_of(document: Any) -> Any:
    (found,) = document["pools"]
    return found


ALL = {
    **{"pool": "cpu", "spent_usd": 4, "on_demand_usd": 16, "saved_usd": 12, "idle_usd": 2.5},
    **{"interrupted_usd": 0.5, "estimated": 0, "instances": 1},
}


def test_a_pool_shows_what_was_spent_saved_idle_and_interrupted(runs: Runs) -> None:
    played(runs)
    found = runs.say("costs")
    assert pool_of(found) == ALL
    assert found["total"] == {k: v for k, v in ALL.items() if k not in ("pool", "instances")}
    assert "tags" not in found


def test_instances_that_run_count_until_now_and_so_do_their_jobs(runs: Runs) -> None:
    runs.instance()
    runs.begin("a", team="red")
    runs.later(2)
    found = runs.say("costs", "--tag", "team")
    assert [pool_of(found)[name] for name in ("spent_usd", "idle_usd")] == [2, 1]
    assert [(each["value"], each["spent_usd"], each["jobs"]) for each in found["tags"]] == [("red", 1, 1)]


def test_by_tag_the_jobs_add_up_to_what_was_not_idle(runs: Runs) -> None:
    played(runs)
    runs.instance("i-2")
    runs.begin("c", "i-2", slots=2)
    runs.later(0.25)
    runs.end("c", "i-2")
    found = runs.say("costs", "--tag", "team")
    spent = {each["value"]: each["spent_usd"] for each in found["tags"]}
    assert spent == {"red": 1, "blue": 0.5, None: 0.25}
    assert list(spent) == ["red", "blue", None], "the dearest first"
    assert sum(spent.values()) == found["total"]["spent_usd"] - found["total"]["idle_usd"]
    assert sum(each["interrupted_usd"] for each in found["tags"]) == found["total"]["interrupted_usd"]


def test_only_what_lies_in_the_period_counts(runs: Runs) -> None:
    played(runs)
    assert runs.say("costs", "--since", "4h")["total"]["spent_usd"] == 4
    half = runs.say("costs", "--since", "2h", "--tag", "team")
    assert half["total"] == {
        **{"spent_usd": 2, "on_demand_usd": 8, "saved_usd": 6, "idle_usd": 1.25, "interrupted_usd": 0.25},
        "estimated": 0,
    }
    assert half["tags"] == [], "both jobs had ended by then"
    runs.later(3)
    assert runs.say("costs", "--since", "2h")["pools"] == []
    assert pool_of(runs.say("costs", "--since", "7d"))["spent_usd"] == 4


def test_a_job_that_began_before_the_period_counts_by_its_attempts(runs: Runs) -> None:
    played(runs)
    late = runs.say("costs", "--since", "3h", "--tag", "team")
    assert {each["value"]: each["spent_usd"] for each in late["tags"]} == {"red": 0.5, "blue": 0.5}
    assert [each["interrupted_usd"] for each in late["tags"]] == [0, 0], "the interrupted attempt was before"
    early = runs.say("costs", "--since", "3h30m", "--tag", "team")["tags"]
    red = next(each for each in early if each["value"] == "red")
    assert (red["spent_usd"], red["interrupted_usd"]) == (0.75, 0.25), "of that attempt, the half in the period"


def test_a_job_that_runs_since_long_before_the_period_counts(runs: Runs) -> None:
    runs.instance()
    runs.begin("a", team="red")
    runs.later(100)
    (found,) = runs.say("costs", "--since", "10h", "--tag", "team")["tags"]
    assert found["spent_usd"] == 5


def test_deleted_pools_are_told_and_one_pool_can_be_asked_for(runs: Runs) -> None:
    runs.instance("i-9", of="bygone")
    runs.later(1)
    runs.gone("i-9", of="bygone")
    played(runs)
    assert [each["pool"] for each in runs.say("costs")["pools"]] == ["bygone", "cpu"]
    assert pool_of(runs.say("costs", "--pool", "bygone"))["spent_usd"] == 1


def test_what_is_counted_at_the_limit_is_said(runs: Runs) -> None:
    runs.instance(estimated=True)
    runs.later(1)
    assert pool_of(runs.say("costs"))["estimated"] == 1
    assert "1 instance at the price limit" in runs.deployed.say("costs").out


def test_csv_has_a_row_a_pool_or_a_row_a_value(runs: Runs) -> None:
    played(runs)
    rows = list(csv.DictReader(io.StringIO(runs.deployed.say("costs", "--csv").out)))
    assert [(row["pool"], Decimal(row["spent_usd"]), row["instances"]) for row in rows] == [("cpu", 4, "1")]
    tagged = list(csv.DictReader(io.StringIO(runs.deployed.say("costs", "--csv", "--tag", "team").out)))
    assert [(row["team"], Decimal(row["spent_usd"]), row["jobs"]) for row in tagged] == [
        *[("red", 1, "1"), ("blue", Decimal("0.5"), "1")],
    ]


def test_people_get_tables_that_80_columns_hold(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    played(runs)
    out = runs.deployed.say("costs", "--tag", "team").out
    assert max(map(len, out.splitlines())) <= 80
    assert ["cpu", "4.00", "16.00", "12.00", "2.50", "0.50"] in [line.split() for line in out.splitlines()]
    assert ["total", "1.50", "6.00", "4.50", "0.50"] in [line.split() for line in out.splitlines()]


def test_nothing_and_nonsense_are_told(runs: Runs) -> None:
    assert "No instance ran since" in runs.deployed.say("costs").out
    wrong = runs.deployed.say("costs", "--since", "last week")
    assert (wrong.code, "7d" in wrong.err) == (2, True)
    assert runs.deployed.say("costs", "--csv", "--json").code == 2


# --- jobs show --------------------------------------------------------------------------------------------------------


def test_a_job_shows_what_it_and_each_attempt_cost(runs: Runs) -> None:
    played(runs)
    found = runs.say("jobs", "show", "a")
    assert [attempt["cost_usd"] for attempt in found["attempts"]] == [0.5, 0.5]
    costs = [found[name] for name in ("cost_usd", "on_demand_cost_usd", "interrupted_usd", "cost_estimated")]
    assert costs == [1, 4, 0.5, False]
    assert "cost usd" in runs.deployed.say("jobs", "show", "a").out


def test_a_job_shows_why_an_attempt_was_given_back(runs: Runs) -> None:
    runs.instance()
    runs.begin("a")
    runs.leases.release("cpu", "i-1", "a", 1, "S3 does not answer", runs.clock())
    (release,) = runs.say("jobs", "show", "a")["releases"]
    told = (release["n"], release["times"], release["instance_id"], release["reason"])
    assert told == (1, 1, "i-1", "S3 does not answer")
    line = " ".join(runs.deployed.say("jobs", "show", "a").out.split())
    assert "Attempt 1 was given back before it began by i-1 at" in line
    assert "S3 does not answer" in line


def test_a_running_attempt_costs_what_it_has_so_far(runs: Runs) -> None:
    runs.instance()
    runs.begin("a")
    runs.later(1)
    found = runs.say("jobs", "show", "a")
    assert ([attempt["cost_usd"] for attempt in found["attempts"]], found["cost_usd"]) == ([0.5], 0.5)
    runs.end("a", interrupted=True)
    runs.later(5)
    found = runs.say("jobs", "show", "a")
    assert ([attempt["cost_usd"] for attempt in found["attempts"]], found["cost_usd"]) == ([0.5], 0.5)


def test_a_job_that_never_ran_cost_nothing(runs: Runs) -> None:
    spec = JobSpec(job_id="a", pool="cpu", command=("true",))
    runs.ledger.accept(spec, runs.clock(), runs.clock())
    found = runs.say("jobs", "show", "a")
    assert (found["cost_usd"], found["on_demand_cost_usd"], found["attempts"]) == (0, 0, [])


def test_a_tag_without_text_is_another_row_than_no_tag(runs: Runs) -> None:
    runs.instance()
    for job, tags in {"a": {"team": ""}, "b": {}}.items():
        runs.begin(job, **tags)
        runs.later(1)
        runs.end(job)
    out = runs.deployed.say("costs", "--tag", "team").out
    by_tag = out[out.index("team") :]
    assert re.findall(r"^(\S+) +([0-9.]+)", by_tag, re.MULTILINE)[-3:] == [
        ('""', "0.50"),
        ("(none)", "0.50"),
        ("total", "1.00"),
    ]
