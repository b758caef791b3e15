"""`lowtide simulate pool`: what is typed, printed and written, and what is said of what cannot be played."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.deployment import Deployed, Said, said
from tests.cli.test_costs import Runs
from tests.passes.world import pool as deployed_pool

POOLS = """
resource_pools:
  - pool_name: cpu
    provider:
      type: aws
      instance_type: c7i.large
      spot: true
      max_instances: 3
"""
MARKET = {
    "SpotPriceHistory": [
        {"InstanceType": "c7i.large", "AvailabilityZone": zone, "SpotPrice": price, "Timestamp": f"2026-03-01T{at}Z"}
        for zone, price, at in (
            ("us-west-2a", "0.03", "00:00"),
            ("us-west-2a", "0.50", "09:00"),
            ("us-west-2b", "0.04", "00:00"),
        )
    ]
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a pool file, one that keeps idle instances shorter, a market and jobs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pools.yaml").write_text(POOLS)
    (tmp_path / "short.yaml").write_text(POOLS + "      max_idle_agent_period: 2m\n")
    (tmp_path / "market.json").write_text(json.dumps(MARKET))
    lines = [
        {"submitted_at": f"2026-03-01T08:{minute:02d}:00Z", "run_seconds": 3000, "id": f"j{minute}"}
        for minute in (0, 1, 40)
    ]
    lines[0]["deadline"] = "2026-03-01T08:30:00Z"
    (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def typed(*words: str) -> Said:
        return said(monkeypatch, capsys, "simulate", "pool", *words)

    return typed


def found(ended: Said) -> Any:
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def test_pool_files_stand_side_by_side_in_one_market(place: Path, say: Any) -> None:
    document = found(say("pools.yaml", "short.yaml", "--market", "market.json", "--jobs", "jobs.jsonl", "--json"))
    own, short = document["scenarios"]
    assert (own["name"], short["name"], document["region"]) == ("pools", "short", "us-west-2")
    assert own["jobs"] | {"missed_deadlines": 1, "with_deadline": 1, "finished": 3} == own["jobs"]
    assert short["cost_usd"] < own["cost_usd"], "idle instances end sooner"
    assert own["interruptions"] == 1, "of the job that ran in zone a when its price rose"
    assert own["points"][-1]["spent_usd"] == pytest.approx(own["cost_usd"], abs=0.001)
    assert {"begin", "until", "assumptions", "notes"} <= set(document)


def test_a_table_is_printed_and_a_page_written(place: Path, say: Any) -> None:
    ended = say("pools.yaml", "--market", "market.json", "--jobs", "jobs.jsonl")
    assert ended.code == 0, ended.err
    for row in (
        "cost",
        "waiting for a first start, mean",
        "attempts interrupted",
        "work done again",
        "deadlines missed",
    ):
        assert row in ended.out
    assert "no record says what could be had" in ended.out
    assert (place / "backtest.html").read_text().startswith("<!doctype html>")


def test_peers_rules_stand_beside_the_first_file(place: Path, say: Any) -> None:
    rules = ("determined", "github-runners", "github-runners-ephemeral", "target-tracking")
    options = [word for rule in rules for word in ("--rule", rule)]
    document = found(say("pools.yaml", "--market", "market.json", "--jobs", "jobs.jsonl", "--json", *options))
    assert [each["rule"] for each in document["scenarios"]] == ["lowtide", *rules]
    assert all(each["jobs"]["finished"] == 3 for each in document["scenarios"])


def test_the_seeded_market_needs_no_record(place: Path, say: Any) -> None:
    document = found(say("pools.yaml", "--market", "model", "--jobs", "jobs.jsonl", "--json", "--seed", "4"))
    assert document["market"] == "the seeded model (seed 4)"
    assert document["scenarios"][0]["jobs"]["finished"] == 3


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--market", "none.json"), 2, "none.json cannot be read"),
        (("--market", "market.json", "--rule", "karpenter"), 2, "--rule karpenter is not known"),
        (("--market", "market.json", "--region", "eu-west-1"), 1, "the market has no zone of eu-west-1"),
        (("--market", "market.json", "--checkpoint", "often"), 2, "--checkpoint often"),
        (("--market", "market.json", "--pool", "gpu"), 1, "jobs.jsonl, line 1: pool: is 'gpu'"),
        (("--market", "market.json", "--market", "model"), 2, "stands alone"),
    ],
)
def test_what_cannot_be_played_is_one_sentence(
    place: Path, say: Any, words: tuple[str, ...], code: int, told: str
) -> None:
    ended = say("pools.yaml", "--jobs", "jobs.jsonl", *words)
    assert ended.code == code
    assert told in ended.err.replace("\n", " ")


def test_a_pool_without_any_record_is_told(place: Path, say: Any) -> None:
    (place / "pools.yaml").write_text(POOLS.replace("c7i.large", "m7i.large"))
    ended = say("pools.yaml", "--jobs", "jobs.jsonl", "--market", "market.json")
    assert "the market has no record of m7i.large" in ended.err.replace("\n", " ")


def test_a_wrong_pool_file_is_told_with_its_path(place: Path, say: Any) -> None:
    (place / "pools.yaml").write_text(POOLS.replace("max_instances: 3", "max_instance: 3"))
    ended = say("pools.yaml", "--jobs", "jobs.jsonl", "--market", "market.json")
    assert ended.code == 1
    assert "resource_pools[0].provider.max_instance" in ended.err.replace("\n", "")


def test_the_accounts_prices_and_the_stacks_jobs_are_played(deployed: Deployed, place: Path) -> None:
    deployed.apply(deployed_pool(max_instances=3))
    runs = Runs(deployed)
    runs.instance()
    for name, hours in (("a", 1), ("b", 2)):
        runs.begin(name)
        runs.later(hours)
        runs.end(name)
    runs.begin("c")
    deployed.ec2.prices.update({("c7i.large", "us-west-2a"): "0.03", ("c7i.large", "us-west-2b"): "0.04"})
    (place / "pools.yaml").write_text(POOLS)
    ended = deployed.say("simulate", "pool", "pools.yaml", "--market", "aws", "--jobs", "ledger", "--json")
    document = found(ended)
    assert document["scenarios"][0]["work_hours"] == 3
    assert document["jobs"] == "2 jobs of stack Lowtide's ledger"
    assert any("1 jobs of the ledger have not ended" in note for note in document["notes"])
