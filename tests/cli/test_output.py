"""How listings look: whole in a pipe, readable in a terminal of 80 columns, and no user's text taken for markup."""

import json
import re
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lambdas.adapters import keys
from lowtide.cli.output import print_rows
from tests.cli.deployment import Deployed
from tests.passes.world import pool

POOL = "aws-spot-g4dn-metal-for-training"
JOB = "train-resnet-50.2026-11-28.b1946ac9-2ea4-4e2b-a1c3-0123456789ab"
MARKUP = "[/red] [bold]not bold[/bold] [link=file:///etc/passwd]not a link"
COLUMNS = ("id", "pool", "state", "slots", "attempts", "interruptions", "age", "reason")
ROW = {
    **{"id": "b1946ac9-2ea4-4e2b-a1c3-0123456789ab", "pool": "aws-spot-g4dn-metal", "state": "succeeded", "slots": 8},
    **{"attempts": 2, "interruptions": 1, "age": "3h", "reason": "stopped early: it failed at once three times"},
}


def in_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name, value in {"COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()]


def test_in_a_pipe_a_row_is_one_line_and_whole_however_long(deployed: Deployed) -> None:
    deployed.apply(pool(POOL))
    deployed.say("submit", "--pool", POOL, "--id", JOB, "--", "true")
    deployed.take_in()
    heading, line = deployed.say("jobs", "list").out.splitlines()
    assert heading.split()[:3] == ["id", "pool", "state"]
    assert line.split()[:3] == [JOB, POOL, "queued"]


def test_a_terminal_that_is_too_narrow_gets_a_row_in_several_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_a_terminal(monkeypatch, 80)
    print_rows(COLUMNS, [ROW], empty="")
    first, *rest = printed(capsys)
    assert first == f"{ROW['id']}  {ROW['pool']}  succeeded"
    assert " ".join(line.strip() for line in rest) == (
        "slots 8, attempts 2, interruptions 1, age 3h, reason stopped early: it failed at once three times"
    )
    assert max(map(len, [first, *rest])) <= 80


def test_a_terminal_that_is_wide_enough_gets_a_table_with_long_cells_folded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_a_terminal(monkeypatch, 128)
    print_rows(COLUMNS, [ROW], empty="")
    heading, first, *_ = lines = printed(capsys)
    assert heading.split() == list(COLUMNS)
    assert first.startswith(f"{ROW['id']}  {ROW['pool']}  succeeded  8")
    assert " ".join(line[heading.index("reason") :] for line in lines[1:]) == ROW["reason"]
    assert max(map(len, lines)) <= 128


def test_what_a_user_wrote_is_shown_as_it_is(deployed: Deployed) -> None:
    deployed.ec2.prices[("c7i.large", "us-west-2a")] = Decimal("0.03")
    deployed.apply(pool())
    deployed.say("submit", "--pool", "cpu", "--id", "mine", "--", "true")
    deployed.take_in()
    deployed.table.update(keys.job("mine"), keys.JOB, "SET reason = :told", values={":told": MARKUP})
    said = deployed.say("jobs", "list")
    assert (said.code, said.err) == (0, "")
    assert MARKUP in said.out


def test_a_change_announces_a_stack_and_an_endpoint_as_they_are_named(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://[fe80::1]:4566")
    deployed.apply(pool())
    assert "http://[fe80::1]:4566" in deployed.say("pools", "pause", "cpu").err


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"vcpus": 0.5, "memory_mib": 100}, "resources          0.5 vCPUs, 100 MiB"),
        ({"vcpus": 1, "memory_mib": 2048, "gpus": 0}, "resources          1 vCPU, 2048 MiB"),
    ],
)
def test_what_a_job_asks_for_is_told_in_words(
    deployed: Deployed, resources: dict[str, Any], words: str, tmp_path: Path
) -> None:
    deployed.apply(pool())
    file = tmp_path / "jobs.jsonl"
    file.write_text(json.dumps({"id": "mine", "pool": "cpu", "command": "true", "resources": resources}))
    deployed.say("submit", "--file", str(file))
    deployed.take_in()
    assert words in deployed.say("jobs", "show", "mine").out.splitlines()
