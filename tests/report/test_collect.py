"""From a deployment's table to the document, and `lowtide report` that writes it down."""

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lambdas.adapters import items, job_items, keys
from lambdas.adapters.decisions import Decisions
from lambdas.adapters.ledger import Accepted, Ledger
from lambdas.domain.instants import to_text
from lambdas.domain.jobs.job_record import Attempt, Outcome
from lambdas.domain.jobs.jobs import JobSpec, JobState
from lowtide.demo.course import course
from lowtide.market import catalogue
from lowtide.market.instances import Happening
from lowtide.market.model import PricePoint
from lowtide.report import collect as collecting
from lowtide.report.collect import collect
from lowtide.sim.clock import START
from tests.cli.deployment import Deployed
from tests.cli.test_status import short_of_price
from tests.passes.world import pool
from tests.report.build import document as built
from tests.report.parsed import Parsed


def collected(deployed: Deployed, hours: float = 1) -> dict[str, Any]:
    now = deployed.clock()
    since = now - timedelta(hours=hours)
    return collect(deployed.table, ledger_of(deployed), stack="Lowtide", region="us-west-2", since=since, until=now)


def ledger_of(deployed: Deployed) -> Ledger:
    return Ledger(deployed.table, jobs_kept=deployed.settings.jobs_kept)


def submit(deployed: Deployed, job_id: str, **changes: Any) -> None:
    spec = JobSpec(job_id=job_id, pool="cpu", command=("true",), **changes)
    assert ledger_of(deployed).accept(spec, deployed.clock(), deployed.clock()) is Accepted.NEW


def end(deployed: Deployed, job_id: str, **changes: Any) -> None:
    """As a finish leaves it: out of the queue, with one attempt of a minute on i-1."""
    now = deployed.clock()
    job = ledger_of(deployed).job(job_id)
    assert job
    given = {"state": JobState.SUCCEEDED, "finished_at": now, "started_at": now - timedelta(minutes=1), "attempts": 1}
    item = {**job_items.job_item(job, now), **{k: items.stored(v) for k, v in {**given, **changes}.items()}}
    deployed.table.put(item)
    deployed.table.delete(*job_items.entry_key(job))
    attempt = Attempt(
        **{"n": 1, "instance_id": "i-1", "instance_type": "c7i.large", "availability_zone": "us-west-2a"},
        **{"lifecycle": "spot", "started_at": now - timedelta(minutes=1), "ended_at": now},
        outcome=Outcome.INTERRUPTED,
    )
    deployed.table.put(job_items.attempt_item(job_id, attempt, timedelta(days=90)))


def test_the_document_has_exactly_the_names_that_the_page_is_built_from(deployed: Deployed) -> None:
    short_of_price(deployed)
    submit(deployed, "mine")
    found = collected(deployed)
    shape = built()
    assert set(found) == set(shape)
    assert set(found["pools"][0]) == set(shape["pools"][0])
    assert set(found["pools"][0]["timeline"][0]) == set(shape["pools"][0]["timeline"][0])
    assert set(found["pools"][0]["shortages"][0]) == set(shape["pools"][0]["shortages"][0])
    assert set(found["jobs"][0]) >= set(shape["jobs"][0])
    assert json.loads(json.dumps(found)) == found


def test_a_shortage_of_price_is_told_with_its_numbers(deployed: Deployed) -> None:
    short_of_price(deployed)
    (found,) = collected(deployed)["pools"]
    last = found["timeline"][-1]
    assert (last["desired"], last["unfulfilled"], last["queued_jobs"]) == (2, 2, 2)
    assert (last["spot_price_usd"], last["price_limit_usd"]) == (0.41, 0.05)
    shortage, refused = found["shortages"]
    assert (shortage["class"], shortage["since"], shortage["until"]) == ("price", to_text(START), None)
    assert (refused["code"], refused["until"]) == ("SpotMaxPriceTooLow", to_text(deployed.clock()))
    assert (shortage["seconds"], shortage["most_missing"]) == (720, 2)
    assert found["sentence"].startswith("cpu: 2 of 2 instances missing for 12m: price: ")


def test_instances_and_what_they_cost_are_told(deployed: Deployed) -> None:
    deployed.apply(pool())
    deployed.enqueue(1)
    deployed.run()
    (name,) = deployed.instances()
    deployed.advance(60)
    deployed.report(name)
    place = {"pk": keys.MARKET, "sk": keys.market("c7i.large", "us-west-2a"), "price": "0.03"}
    deployed.table.put({**place, "seen_at": to_text(deployed.clock())})
    deployed.advance(3540)
    found = collected(deployed, hours=2)
    (instance,) = found["instances"]
    assert (instance["instance_id"], instance["lifecycle"], instance["end"]) == (name, "spot", "running")
    assert (instance["ready_seconds"], instance["seconds"], instance["ended_at"]) == (60, 3600, None)
    assert instance["cost_usd"] == pytest.approx(0.03)
    assert found["cost"]["spent_usd"] == pytest.approx(0.03)
    assert found["cost"]["on_demand_usd"] == pytest.approx(0.10)


def test_an_instance_that_lowtide_ended_says_why(deployed: Deployed) -> None:
    deployed.apply(pool())
    deployed.enqueue(1)
    deployed.run()
    (name,) = deployed.instances()
    deployed.advance(60)
    ended = {":gone": "terminated", ":now": to_text(deployed.clock()), ":why": "idle for 20m"}
    deployed.table.update(
        keys.pool("cpu"),
        keys.instance(name),
        "SET observed_state = :gone, observed_at = :now, draining_since = :now, drain_reason = :why",
        values=ended,
    )
    (instance,) = collected(deployed)["instances"]
    assert (instance["end"], instance["ended_at"]) == ("ended by Lowtide: idle for 20m", to_text(deployed.clock()))


def test_interruptions_count_the_attempts_that_they_cut_short(deployed: Deployed) -> None:
    deployed.apply(pool())
    deployed.enqueue(1)
    deployed.run()
    (name,) = deployed.instances()
    deployed.advance(60)
    end_at = to_text(deployed.clock() + timedelta(minutes=2))
    deployed.table.update(
        keys.pool("cpu"),
        keys.instance(name),
        "SET ends_at = :at, draining_since = :now",
        values={":at": end_at, ":now": to_text(deployed.clock())},
    )
    submit(deployed, "cut")
    end(deployed, "cut")
    deployed.table.update(keys.job("cut"), keys.attempt(1), "SET instance_id = :id", values={":id": name})
    (mark,) = collected(deployed)["pools"][0]["interruptions"]
    assert (mark["at"], mark["instance_id"]) == (to_text(deployed.clock()), name)
    assert (mark["noticed"], mark["jobs"]) == (True, 1)


def test_jobs_have_their_waiting_and_running_time(deployed: Deployed) -> None:
    deployed.apply(pool())
    submit(deployed, "done")
    deployed.advance(300)
    end(deployed, "done")
    submit(deployed, "waits")
    deployed.advance(30)
    done, waits = collected(deployed)["jobs"]
    assert (done["id"], done["waited_seconds"], done["ran_seconds"]) == ("done", 240, 60)
    assert (waits["id"], waits["waited_seconds"], waits["ran_seconds"]) == ("waits", 30, None)


def test_what_ended_before_the_period_is_left_out_and_what_waits_since_before_is_not(deployed: Deployed) -> None:
    deployed.apply(pool())
    submit(deployed, "waits")
    submit(deployed, "old")
    deployed.advance(60)
    end(deployed, "old")
    deployed.advance(7200)
    submit(deployed, "new")
    assert [job["id"] for job in collected(deployed)["jobs"]] == ["waits", "new"]


def test_no_more_jobs_than_are_readable_and_the_pool_is_named(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "JOBS_MOST", 3)
    deployed.apply(pool())
    for number in range(5):
        submit(deployed, f"job-{number}")
    found = collected(deployed)
    assert len(found["jobs"]) == 3
    assert found["pools_with_more_jobs"] == ["cpu"]


def test_a_deployment_without_anything_has_a_document(deployed: Deployed) -> None:
    found = collected(deployed)
    assert (found["pools"], found["jobs"], found["instances"], found["cost"]) == ([], [], [], None)


def test_decisions_over_a_period_begin_with_the_one_in_force(deployed: Deployed) -> None:
    deployed.apply(pool(max_instances=1))
    for _ in range(4):
        deployed.enqueue(1)
        deployed.run()
        deployed.advance(600)
    decisions = Decisions(deployed.table)
    every = list(decisions.over("cpu", START - timedelta(days=1), deployed.clock()))
    assert len(every) >= 3
    assert list(decisions.over("cpu", every[1].at, deployed.clock())) == every[1:]
    between = every[1].at + timedelta(seconds=1)
    assert list(decisions.over("cpu", between, every[2].at)) == every[1:3]
    assert list(decisions.over("cpu", between, between)) == every[1:2]


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_the_page(deployed: Deployed, tmp_path: Path) -> None:
    short_of_price(deployed)
    out = tmp_path / "week.html"
    said = deployed.say("report", "--since", "168h", "--out", str(out))
    assert said.code == 0, said.err
    assert said.out.strip().endswith("week.html: open it in a browser.")
    html = Parsed(out.read_text(encoding="utf-8"))
    assert html.all("h1")[0].text.split() == ["Lowtide", "in", "us-west-2"]
    assert "2025-12-29 09:12:00 to 2026-01-05 09:12:00" in html.elements[0].text


def test_json_is_the_document_and_writes_no_file(
    deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    short_of_price(deployed)
    found = json.loads(deployed.say("report", "--since", "1h", "--json").out)
    assert found == collected(deployed)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("since", "words"), [("tomorrow", "is not a time"), ("2099-01-01T00:00:00Z", "in the past")])
def test_a_begin_that_is_none_is_wrong_use(deployed: Deployed, since: str, words: str) -> None:
    said = deployed.say("report", "--since", since)
    assert said.code == 2
    assert words in said.err


def test_a_file_that_cannot_be_written_is_said_in_a_sentence(deployed: Deployed, tmp_path: Path) -> None:
    said = deployed.say("report", "--out", str(tmp_path / "none" / "report.html"))
    assert said.code == 1
    assert "cannot be written: No such file or directory" in said.err


def test_without_a_deployment_there_is_one_sentence(deployed: Deployed) -> None:
    deployed.stacks.clear()
    said = deployed.say("report")
    assert said.code == 1
    assert said.err.startswith("lowtide: there is no stack Lowtide")


# --- the demo's bill --------------------------------------------------------------------------------------------------


def test_the_demos_bill_grows_to_its_end_in_the_markets_time() -> None:
    place = {"instance_type": "m7i.large", "zone": "us-east-1a", "lifecycle": "spot", "instance_id": "i-1"}
    began, ended = START + timedelta(seconds=100), START + timedelta(seconds=400)
    happenings = [Happening(at=began, what="launched", **place), Happening(at=ended, what="ended", **place)]
    prices = {("m7i.large", "us-east-1a"): [PricePoint(at=START, price=Decimal("0.04"))]}
    bill = course(happenings, prices, pace=12, since=START, until=START + timedelta(seconds=800))
    listed = catalogue.on_demand_price("m7i.large")
    assert listed
    assert float(bill.points[-1]["spent_usd"]) == pytest.approx(0.04)
    assert float(bill.points[-1]["on_demand_usd"]) == pytest.approx(float(listed))
    halfway = next(point for point in bill.points if point["at"] == START + timedelta(seconds=250))
    assert float(halfway["spent_usd"]) == pytest.approx(0.02)
    assert bill.points[0]["spent_usd"] == 0
    assert bill.by_instance == {"i-1": bill.points[-1]["spent_usd"]}
