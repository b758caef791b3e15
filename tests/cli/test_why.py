"""`lowtide why`: the sentence first, the past as it was, and the same snapshot decided with another file."""

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from lambdas import names
from lambdas.adapters import keys
from lambdas.adapters.decisions import Decisions
from lambdas.adapters.ledger import Accepted, Ledger
from lambdas.domain.instants import to_text
from lambdas.domain.jobs.jobs import JobSpec
from lambdas.domain.plan.plan import plan
from lambdas.domain.pools.pools import Schedule
from lowtide.cli import why_words
from lowtide.cli.remedies import for_stack
from lowtide.market.unkindness import Unkindness
from lowtide.sim.clock import START
from lowtide.sim.quotas import FakeServiceQuotas
from tests.cli.deployment import Deployed
from tests.cli.test_pool_verbs import pool_file
from tests.cli.test_status import REASON, check, short_of_price
from tests.domain import build
from tests.passes.world import pool


def test_the_first_line_is_the_reason_to_act_on(deployed: Deployed) -> None:
    short_of_price(deployed)
    said = deployed.say("why", "cpu")
    assert said.code == 0, said.err
    first, *rest = said.out.splitlines()
    assert first.startswith("cpu: 2 of 2 instances missing for 12m: price: ")
    assert any(line.startswith("1. price, ") for line in rest)
    assert any(line.startswith("   To do: ") and "spot_max_price" in line for line in rest)


def test_reasons_carry_since_count_and_next_try(deployed: Deployed) -> None:
    short_of_price(deployed)
    out = deployed.say("why", "cpu").out
    assert "for 12m, seen " in out
    assert "next try at 09:" in out


def test_limit_and_market_stand_side_by_side(deployed: Deployed) -> None:
    short_of_price(deployed)
    out = deployed.say("why", "cpu").out
    assert "c7i.large in us-west-2a $0.41, limit $0.05: above it (on-demand $0.10)" in out


def test_json_has_the_reasons_of_the_contract(deployed: Deployed) -> None:
    short_of_price(deployed)
    found = json.loads(deployed.say("why", "cpu", "--json").out)
    assert found["sentence"].startswith("cpu: 2 of 2")
    check(found["reasons"], [REASON])
    assert found["reasons"][0]["class"] == "price"


@pytest.mark.parametrize("jobs", [0, 1])
def test_a_pool_that_misses_nothing_says_so(deployed: Deployed, jobs: int) -> None:
    deployed.apply(pool())
    deployed.run()
    assert "nothing is missing" in deployed.say("why", "cpu").out


def test_a_pool_that_no_pass_has_seen_says_when_one_will(deployed: Deployed) -> None:
    deployed.apply(pool())
    assert "within a minute" in deployed.say("why", "cpu").out


def test_the_past_is_told_as_it_was(deployed: Deployed) -> None:
    deployed.apply(pool(max_instances=1))
    deployed.enqueue(1)
    deployed.run()
    deployed.advance(3600)
    deployed.clear_queue()
    deployed.run()
    then = deployed.say("why", "cpu", "--at", to_text(START)).out
    assert "decided at 2026-01-05 09:00:00 UTC (1h ago), version 1" in then
    assert "launch for 1 queued job: done (1 of 1 spot came" in then
    assert deployed.say("why", "cpu", "--at", "59m").out == then


def test_the_past_in_json_has_the_snapshot(deployed: Deployed) -> None:
    deployed.apply(pool(max_instances=1))
    deployed.enqueue(1)
    deployed.run()
    found = json.loads(deployed.say("why", "cpu", "--at", "0s", "--json").out)
    assert found["actions"][0]["action"] == "launch"
    assert len(found["snapshot"]["queue"]) == 1


def test_before_the_first_decision_there_is_none_and_that_is_said(deployed: Deployed) -> None:
    deployed.apply(pool())
    deployed.run()
    said = deployed.say("why", "cpu", "--at", "20m")
    assert said.code == 1
    assert "no decision about cpu is kept from 2026-01-05 08:40:00 UTC" in said.err


@pytest.mark.parametrize(
    ("settings", "period"),
    [(None, "35 days"), ('{"decisions_kept": 86400}', "1 day"), ('{"decisions_kept": 129600}', "36h")],
)
def test_how_long_decisions_are_kept_is_the_stacks_own_setting(
    deployed: Deployed, settings: str | None, period: str
) -> None:
    if settings:
        deployed.stacks[names.STACK][names.OUTPUT_SETTINGS] = settings
    deployed.apply(pool())
    said = deployed.say("why", "cpu", "--at", "20m")
    assert f"they are kept for {period}, from a pool's first pass on" in said.err


def test_a_time_that_is_none_is_wrong_use(deployed: Deployed) -> None:
    deployed.apply(pool())
    said = deployed.say("why", "cpu", "--at", "yesterday")
    assert said.code == 2
    assert "20m for twenty minutes ago" in said.err


def test_another_file_shows_what_it_would_have_changed(deployed: Deployed, tmp_path: Path) -> None:
    short_of_price(deployed)
    file = pool_file(tmp_path / "p.yaml", max_instances=3, spot_max_price="0.50")
    said = deployed.say("why", "cpu", "--with", file)
    assert said.code == 0, said.err
    assert "+ launch 2 spot instances of c7i.large at most $0.5" in said.out
    assert "- price: " in said.out
    assert deployed.config.pool("cpu").version == 1  # type: ignore[union-attr]


def test_the_same_file_would_have_changed_nothing(deployed: Deployed, tmp_path: Path) -> None:
    deployed.lists.prices["c7i.large"] = "0.10"
    file = pool_file(tmp_path / "p.yaml", max_instances=3, spot_max_price="0.05")
    deployed.say("pools", "apply", file)
    deployed.enqueue(2)
    deployed.run()
    assert "The same would have been decided." in deployed.say("why", "cpu", "--with", file).out


def test_a_type_that_was_not_in_the_pool_is_planned_with_and_its_unknown_price_is_said(
    deployed: Deployed, tmp_path: Path
) -> None:
    short_of_price(deployed)
    file = pool_file(tmp_path / "p.yaml", instance_type="c7i.xlarge", max_instances=3)
    said = deployed.say("why", "cpu", "--with", file)
    assert "of c7i.xlarge" in said.out
    assert "no spot price of c7i.xlarge was recorded" in said.out


def test_what_was_decided_is_what_the_pass_decided(deployed: Deployed, tmp_path: Path) -> None:
    short_of_price(deployed)
    file = pool_file(tmp_path / "p.yaml", max_instances=3, spot_max_price="0.50")
    found = json.loads(deployed.say("why", "cpu", "--with", file, "--json").out)
    decision = Decisions(deployed.table).in_force("cpu", deployed.clock())
    assert decision
    assert decision.snapshot
    again = plan(decision.snapshot, decision.at)
    assert found["was"]["numbers"]["desired"] == again.numbers.desired == decision.summary["desired"]
    assert found["would_be"]["actions"][0]["action"] == "launch"


def test_a_file_without_the_pool_is_wrong_use(deployed: Deployed, tmp_path: Path) -> None:
    deployed.apply(pool("gpu"))
    deployed.run("gpu")
    said = deployed.say("why", "gpu", "--with", pool_file(tmp_path / "p.yaml"))
    assert said.code == 2
    assert "has no pool gpu: it has cpu" in said.err


def test_a_jobs_answer_is_its_place_and_its_pools_reason(deployed: Deployed) -> None:
    short_of_price(deployed)
    ledger = Ledger(deployed.table, jobs_kept=deployed.settings.jobs_kept)
    spec = JobSpec(job_id="mine", pool="cpu", command=("true",))
    assert ledger.accept(spec, deployed.clock(), deployed.clock()) is Accepted.NEW
    said = deployed.say("why", "mine")
    assert said.out.startswith("mine waits, number 3 of the queue of cpu: 2 of 2 instances missing for 12m: price: ")
    assert "To do: " in said.out
    found = json.loads(deployed.say("why", "mine", "--json").out)
    assert (found["position"], found["state"]) == (3, "queued")
    check(found["reasons"], [REASON])


@pytest.mark.parametrize(
    ("why", "code", "reason_class"),
    [
        ("stopped early, having failed at once on 3 instances one after the other: exit 7", "JobStoppedEarly", None),
        ("exit 7", "JobFailed", None),
        ("timeout", "JobTimedOut", None),
        ("out_of_memory", "JobOutOfMemory", None),
        ("interrupted", "JobInterrupted", "capacity"),
    ],
)
def test_a_failed_jobs_answer_is_its_own_reason_and_what_to_do(
    deployed: Deployed, why: str, code: str, reason_class: str | None
) -> None:
    deployed.apply(pool())
    ledger = Ledger(deployed.table, jobs_kept=deployed.settings.jobs_kept)
    ledger.accept(JobSpec(job_id="mine", pool="cpu", command=("true",)), deployed.clock(), deployed.clock())
    ledger.fail_queued("mine", why, deployed.clock())
    found = json.loads(deployed.say("why", "mine", "--json").out)
    (reason,) = found["reasons"]
    assert (reason["class"], reason["code"], reason["message"]) == (reason_class or "configuration", code, why)
    assert found["command"] == "lowtide jobs retry mine"
    said = deployed.say("why", "mine").out
    assert said.startswith(f"mine failed: {why}")
    assert "`lowtide jobs logs mine`" in said.replace("\n", " ")
    assert "$ lowtide jobs retry mine" in said


def test_neither_pool_nor_job_is_said_so(deployed: Deployed) -> None:
    said = deployed.say("why", "nothing")
    assert said.code == 1
    assert "there is no pool and no job nothing" in said.err


def test_a_price_limit_is_a_number_in_json(deployed: Deployed) -> None:
    deployed.apply(pool(spot_max_price=Decimal("0.35")))
    assert json.loads(deployed.say("why", "cpu", "--json").out)["spot_max_price"] == 0.35


# --- how long, what was tried, what to type ---------------------------------------------------------------------------


def had_shortages(deployed: Deployed, *minutes: int, code: str = "SpotMaxPriceTooLow") -> None:
    """The pool's own past, as its passes keep it."""
    known = [["price", code, each * 60] for each in minutes]
    deployed.table.update(keys.pool("cpu"), keys.STATE, "SET past_shortages = :known", values={":known": known})


def first_code(deployed: Deployed) -> str:
    return json.loads(deployed.say("why", "cpu", "--json").out)["reasons"][0]["code"]


def test_a_wait_is_estimated_from_the_pools_own_past_and_says_how_sure_it_is(deployed: Deployed) -> None:
    short_of_price(deployed)
    had_shortages(deployed, 5, 22, 30, 42, code=first_code(deployed))
    assert (
        "Likely over in 18m, half of them between 10m and 30m: judged by 3 earlier shortages of this kind here that "
        "lasted at least as long; not very sure"
    ) in deployed.say("why", "cpu").out
    told = json.loads(deployed.say("why", "cpu", "--json").out)["estimate"]
    assert (told["likely_seconds"], told["ground"], told["sure"]) == (18 * 60, 3, "not very sure")


def test_without_ground_nothing_is_estimated(deployed: Deployed) -> None:
    short_of_price(deployed)
    had_shortages(deployed, 5, 6, 7, 30, code=first_code(deployed))
    assert "Likely" not in deployed.say("why", "cpu").out
    assert json.loads(deployed.say("why", "cpu", "--json").out)["estimate"] is None


def test_what_was_tried_is_told_with_when_it_may_be_tried_again(deployed: Deployed) -> None:
    short_of_price(deployed)
    out = deployed.say("why", "cpu").out
    assert "Tried, the latest first:" in out
    assert "   spot c7i.large in us-west-2a: SpotMaxPriceTooLow " in out
    assert "The pool is looked at again at 09:" in out
    tried = json.loads(deployed.say("why", "cpu", "--json").out)["tried"]
    assert {(each["instance_type"], each["availability_zone"]) for each in tried} == {
        ("c7i.large", "us-west-2a"),
        ("c7i.large", "us-west-2b"),
    }


def test_the_remedy_of_a_price_is_a_limit_that_would_do_and_a_command(deployed: Deployed) -> None:
    short_of_price(deployed)
    lines = deployed.say("why", "cpu").out.splitlines()
    assert "   In the pool file: spot_max_price: 0.46" in lines
    assert "   $ lowtide pools apply FILE" in lines
    told = json.loads(deployed.say("why", "cpu", "--json").out)
    assert (told["edit"], told["command"]) == ("spot_max_price: 0.46", "lowtide pools apply FILE")
    assert told["limits"] == [{"instance_type": "c7i.large", "spot_max_price": 0.05}]


def test_a_remedy_that_is_a_command_is_printed_to_be_copied(deployed: Deployed) -> None:
    deployed.apply(pool(paused=True))
    deployed.enqueue(1)
    deployed.run()
    assert "   $ lowtide pools resume cpu" in deployed.say("why", "cpu").out.splitlines()


def test_a_queued_job_shows_its_place_and_what_its_pool_waits_for(deployed: Deployed) -> None:
    short_of_price(deployed)
    spec = JobSpec(job_id="mine", pool="cpu", command=("true",))
    deployed.jobs.accept(spec, submitted_at=deployed.clock(), now=deployed.clock())
    shown = json.loads(deployed.say("jobs", "show", "mine", "--json").out)
    assert shown["position"] == 3
    check(shown["pool_reason"], REASON)
    assert shown["pool_reason"]["class"] == "price"
    assert "pool reason        price: cheapest offering" in deployed.say("jobs", "show", "mine").out


# --- for another stack, and with others beside it ---------------------------------------------------------------------


@pytest.fixture
def night(deployed: Deployed) -> Deployed:
    """A deployment by another name."""
    deployed.stacks["Night"] = deployed.stacks.pop("Lowtide")
    return deployed


def test_commands_name_the_stack_where_they_would_go_to_another_without(night: Deployed) -> None:
    short_of_price(night)
    night.apply(pool("gpu", paused=True))
    night.enqueue(1, "gpu")
    night.run("gpu")
    assert "   $ lowtide pools apply FILE --stack Night" in night.say("why", "cpu", "--stack", "Night").out.splitlines()
    said = night.say("why", "gpu", "--stack", "Night").out.splitlines()
    assert "   To do: `lowtide pools resume gpu --stack Night`." in said
    assert "   $ lowtide pools resume gpu --stack Night" in said
    told = json.loads(night.say("why", "gpu", "--stack", "Night", "--json").out)
    assert told["command"] == "lowtide pools resume gpu --stack Night"
    assert "`lowtide pools resume gpu --stack Night`" in night.say("status", "--stack", "Night").out


def test_where_the_environment_names_the_stack_commands_need_not(
    night: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOWTIDE_STACK", "Night")
    short_of_price(night)
    assert "   $ lowtide pools apply FILE" in night.say("why", "cpu").out.splitlines()


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        (
            "`lowtide jobs logs j`. Again: `lowtide jobs retry j`.",
            "`… logs j --stack N`. Again: `… retry j --stack N`.",
        ),
        ("change the file, then lowtide pools validate FILE", "change the file, then lowtide pools validate FILE"),
        ("lowtide doctor --stack NAME", "lowtide doctor --stack NAME"),
        ("Deploy the stack again: `cdk deploy`.", "Deploy the stack again: `cdk deploy -c stack=N`."),
        ("cdk deploy -c worker_roles=a,b", "cdk deploy -c stack=N -c worker_roles=a,b"),
        ("Raise max_instances, or wait for jobs to end.", "Raise max_instances, or wait for jobs to end."),
    ],
)
def test_what_asks_a_deployment_is_told_which_and_nothing_else(text: str, typed: str) -> None:
    assert for_stack(text, "N") == typed.replace("…", "lowtide jobs")
    assert for_stack(text, "Lowtide") == text


INCREASE = "aws service-quotas request-service-quota-increase --service-code ec2 --quota-code L-1216C47A"


def short_of_quota(deployed: Deployed, value: int) -> str:
    """What `why` says to type when EC2 refuses a pool of at most 3 instances of 2 vCPUs, beside another of as many."""
    for name in ("cpu", "other"):
        deployed.apply(pool(name, spot=False, spot_max_price=None))
    deployed.apply(pool("spotty"))
    deployed.quotas = FakeServiceQuotas(lambda: Unkindness(on_demand_quotas={"Standard": value}))
    deployed.ec2.errors.update({("c7i.large", s): ("VcpuLimitExceeded", "More.") for s in ("subnet-a", "subnet-b")})
    deployed.enqueue(2)
    deployed.run()
    told = json.loads(deployed.say("why", "cpu", "--json").out)
    assert told["reasons"][0]["class"] == "quota"
    assert f"   $ {told['command']}" in deployed.say("why", "cpu").out.splitlines()
    return told["command"]


def test_a_quota_is_asked_for_as_all_pools_together_need_it(deployed: Deployed) -> None:
    assert short_of_quota(deployed, 8) == f"{INCREASE} --desired-value 12"


def test_where_others_use_the_quota_more_than_there_is_is_asked_for(deployed: Deployed) -> None:
    assert short_of_quota(deployed, 64) == f"{INCREASE} --desired-value 68"


# --- while a schedule holds -------------------------------------------------------------------------------------------


def test_in_a_schedules_window_its_lower_price_is_the_limit_and_has_to_rise_too(deployed: Deployed) -> None:
    deployed.ec2.prices.update({("c7i.large", f"us-west-2{zone}"): Decimal("0.07") for zone in "ab"})
    refusal = ("SpotMaxPriceTooLow", "Your Spot request price of 0.05 is lower than the minimum required of 0.07.")
    deployed.ec2.errors.update({("c7i.large", subnet): refusal for subnet in ("subnet-a", "subnet-b")})
    hours = Schedule(name="hours", start="0 9 * * *", duration=timedelta(hours=8), spot_max_price=Decimal("0.05"))
    deployed.apply(pool(spot_max_price=Decimal("0.09"), schedules=(hours,)))
    deployed.enqueue(1)
    deployed.run()
    out = deployed.say("why", "cpu").out
    assert "c7i.large in us-west-2a $0.07, limit $0.05: above it (on-demand $0.10)" in out
    assert "   In the pool file: spot_max_price: 0.077, for the pool and in its schedule 'hours'" in out.splitlines()
    told = json.loads(deployed.say("why", "cpu", "--json").out)
    assert told["limits"] == [{"instance_type": "c7i.large", "spot_max_price": 0.05}]
    assert told["spot_max_price"] == 0.09, "the pool's own, as status has it"


def test_in_a_schedules_window_its_lower_maximum_is_what_has_to_rise(deployed: Deployed) -> None:
    hours = Schedule(name="hours", start="0 9 * * *", duration=timedelta(hours=8), max_instances=1)
    deployed.apply(pool(schedules=(hours,)))
    deployed.enqueue(4)
    deployed.run()
    deployed.run()
    found = [line for line in deployed.say("why", "cpu").out.splitlines() if "max_instances above" in line]
    assert found == ["   In the pool file: max_instances above 1 in its schedule 'hours'"]


# --- times ------------------------------------------------------------------------------------------------------------


def test_a_time_of_another_day_has_its_date() -> None:
    mark = build.mark(until=build.after(86_400), marked_at=build.NOW)
    (told,) = list(why_words.tried_lines([mark], build.NOW))[2:]
    assert told.endswith(f"; not before {build.after(86_400):%Y-%m-%d %H:%M:%S} UTC")
    (today,) = list(why_words.tried_lines([build.mark(until=build.after(60), marked_at=build.NOW)], build.NOW))[2:]
    assert today.endswith(f"; not before {build.after(60):%H:%M:%S} UTC")
