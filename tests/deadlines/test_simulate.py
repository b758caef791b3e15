"""`lowtide simulate deadlines`: the files it reads and writes, and what it says of wrong ones."""

import json
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lowtide.cli.app import app
from lowtide.cli.errors import Failure, Misuse
from lowtide.deadlines.bulk import PLAYABLE
from lowtide.deadlines.runs import RunsError, runs_of

LINE: dict[str, Any] = {
    **{"id": "a", "trace": "t.json", "start": 2, "job_hours": 0.5, "deadline_hours": 1, "restart_hours": 0.05},
    **{"spot_price": 1.0, "on_demand_price": 3.0, "history_hours": 1},
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "t.json").write_text(json.dumps({"gap_seconds": 600, "avail": "1011110111"}))
    (tmp_path / "u.json").write_text(json.dumps({"gap_seconds": 600, "avail": "0000001111"}))
    return tmp_path


def written(place: Path, *lines: dict[str, Any]) -> Path:
    (place / "runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return place / "runs.jsonl"


def played(place: Path, policy: str, *lines: dict[str, Any]) -> list[dict[str, Any]]:
    command = ["simulate", "deadlines", "--policy", policy, "--runs", str(written(place, *lines))]
    done = CliRunner().invoke(app, [*command, "--out", str(place / "out.jsonl")], catch_exceptions=False)
    assert done.exit_code == 0
    return [json.loads(line) for line in (place / "out.jsonl").read_text().splitlines()]


def test_one_zone_is_told_as_a_string_of_a_token_a_tick(place: Path) -> None:
    (line,) = played(place, "greedy", LINE)
    assert line["actions"] == "SSSS--"
    assert line["cost_usd"] == pytest.approx(4 / 6)
    assert line["finished_hours"] == pytest.approx(0.55)
    assert line["id"] == "a"
    assert line["policy"] == "greedy"
    assert not line["missed"]


def test_several_zones_are_told_by_name_at_the_prices_of_each_tick(place: Path) -> None:
    several = {"trace": {"x": "t.json", "y": "u.json"}, "spot_price": {"x": 1.2, "y": [[0, 0.9], [7, 0.6]]}}
    (line,) = played(place, "omniscient", {**LINE, **several, "start": 4})
    assert line["actions"] == ["-", "-", "y", "y", "y", "y"]
    assert line["cost_usd"] == pytest.approx((0.9 + 3 * 0.6) / 6)


def test_one_zone_is_told_as_a_string_although_it_has_a_name(place: Path) -> None:
    named = {"trace": {"us-west-2a": "t.json"}, "spot_price": {"us-west-2a": [[0, 1.0], [4, 2.0]]}}
    (line,) = played(place, "greedy", {**LINE, **named})
    assert line["actions"] == "SSSS--"
    assert line["cost_usd"] == pytest.approx((1 + 1 + 2 + 2) / 6)


@pytest.mark.parametrize("given", [7, "7"])
def test_an_id_comes_back_as_it_was_given(place: Path, given: int | str) -> None:
    (line,) = played(place, "on-demand", {**LINE, "id": given})
    assert line["id"] == given


@pytest.mark.parametrize("policy", PLAYABLE)
def test_every_policy_plays_and_lines_stay_in_order(place: Path, policy: str) -> None:
    lines = played(place, policy, *({**LINE, "id": str(number)} for number in range(20)))
    assert [line["id"] for line in lines] == [str(number) for number in range(20)]
    assert not any(line["missed"] for line in lines)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"start": -1}, "line 2: start: "),
        ({"start": 5}, "line 2: start: the run needs ticks 5 to 10, the trace has 10"),
        ({"job_hours": "six"}, "line 2: job_hours"),
        ({"trace": "none.json"}, "line 2: trace: "),
        ({"spot_price": {"x": 1.0}}, "line 2: spot_price: prices by zone need a trace by zone"),
        ({"trace": {"x": "t.json"}, "spot_price": {"y": 1}}, "line 2: spot_price: has no price for x"),
        ({"trace": {"O": "t.json"}}, "line 2: trace: O cannot name a zone"),
        ({"colour": 1}, "line 2: colour: "),
    ],
)
def test_a_wrong_line_is_told_with_its_number_and_field(place: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(RunsError) as told:
        runs_of(written(place, LINE, {**LINE, **wrong}))
    assert said in str(told.value)


def test_the_past_is_what_history_hours_allow(place: Path) -> None:
    lines = [{**LINE, "history_hours": hours} for hours in (0, 0.17, 72)]
    assert [run.past["S"] for run in runs_of(written(place, *lines))] == ["", "0", "10"]


def test_a_process_that_somebody_ended_is_no_fault_of_lowtides(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(*_: object) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr("lowtide.deadlines.bulk.outcomes", ended)
    command = ["simulate", "deadlines", "--policy", "greedy", "--runs", str(written(place, LINE))]
    done = CliRunner().invoke(app, [*command, "--out", str(place / "out.jsonl")])
    assert isinstance(done.exception, Failure)
    assert "try again" in str(done.exception)


def test_an_unknown_policy_and_a_missing_file_are_misuse(place: Path) -> None:
    rest = ["--runs", str(place / "none.jsonl"), "--out", str(place / "out")]
    for policy in ("luck", "greedy"):
        done = CliRunner().invoke(app, ["simulate", "deadlines", "--policy", policy, *rest])
        assert isinstance(done.exception, Misuse)
