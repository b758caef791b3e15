"""Whatever goes wrong, the command line ends in one sentence on stderr and an exit code: never in a traceback."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import typer
from botocore.exceptions import (
    EndpointConnectionError,
    ProfileNotFound,
    ReadTimeoutError,
    UnauthorizedSSOTokenError,
)

from lowtide.cli import ENV_TRACEBACK
from lowtide.cli.app import app
from tests.cli.deployment import Deployed, NobodysSession, Said, said

GIVEN = {
    "pools apply": ["FILE"],
    "submit": ["--pool", "cpu", "--", "true"],
    "pause": ["--all"],
    "resume": ["--all"],
}
"""What verbs need beyond one word for every argument."""
LOCAL = ("local ", "demo", "doctor", "simulate", "pools init", "pools validate", "drill", "report", "costs")
"""Verbs that ask no deployment, or whose own tests say how they end without one."""


def verbs(command: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Every verb with the least that it can be given."""
    if inner_verbs := getattr(command, "commands", None):
        for name, inner in inner_verbs.items():
            yield from verbs(inner, f"{path} {name}".strip())
        return
    needed = [each for each in command.params if each.param_type_name == "argument" and each.required]
    yield path, GIVEN.get(path, ["x"] * len(needed))


ASKING = [(path, words) for path, words in verbs(typer.main.get_command(app)) if not path.startswith(LOCAL)]


def is_one_sentence(said: Said) -> bool:
    lines = [line for line in said.err.splitlines() if not line.startswith("account ")]
    return len(lines) == 1 and lines[0].startswith("lowtide: ") and "Traceback" not in said.err


def test_there_are_verbs_to_ask() -> None:
    assert {"pools rollback", "instances terminate", "status", "why", "jobs show"} <= {path for path, _ in ASKING}


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "pools.yaml"
    path.write_text("resource_pools: [{pool_name: cpu, provider: {type: aws, instance_type: c7i.large}}]")
    return str(path)


@pytest.mark.parametrize(("path", "words"), ASKING, ids=[path for path, _ in ASKING])
def test_every_verb_without_a_deployment_ends_in_one_sentence(
    deployed: Deployed, path: str, words: list[str], file: str
) -> None:
    deployed.stacks.clear()
    said = deployed.say(*path.split(), *(file if word == "FILE" else word for word in words))
    assert said.code == 1
    assert is_one_sentence(said), said.err
    assert "there is no stack Lowtide in us-west-2: run cdk deploy, or name another with --stack" in said.err


@pytest.mark.parametrize(("path", "words"), ASKING, ids=[path for path, _ in ASKING])
def test_every_verb_takes_the_stacks_name(deployed: Deployed, path: str, words: list[str], file: str) -> None:
    given = [file if word == "FILE" else word for word in words]
    said = deployed.say(*path.split(), "--stack", "Other", *given)
    assert said.code == 1
    assert "there is no stack Other" in said.err


def test_the_stacks_name_comes_from_the_environment_too(deployed: Deployed, monkeypatch: Any) -> None:
    monkeypatch.setenv("LOWTIDE_STACK", "Third")
    assert "there is no stack Third" in deployed.say("pools", "list").err


def test_without_credentials_the_remedy_is_named(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(boto3, "Session", NobodysSession)
    found = said(monkeypatch, capsys, "pools", "list")
    assert found.code == 1
    assert is_one_sentence(found)
    assert "aws configure" in found.err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ProfileNotFound(profile="nope"),
            "AWS was not asked: The config profile (nope) could not be found. Check your",
        ),
        (UnauthorizedSSOTokenError(), "AWS was not asked: The SSO session associated with this profile has expired"),
        (
            EndpointConnectionError(endpoint_url="http://x"),
            "AWS could not be reached: Could not connect to the endpoint",
        ),
        (ReadTimeoutError(endpoint_url="http://x"), "AWS could not be reached: Read timeout"),
    ],
)
def test_what_keeps_from_asking_aws_is_told_apart_from_an_aws_that_does_not_answer(
    monkeypatch: Any, capsys: Any, error: Exception, words: str
) -> None:
    def session(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(boto3, "Session", session)
    found = said(monkeypatch, capsys, "pools", "list")
    assert found.code == 1
    assert is_one_sentence(found)
    assert words in found.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nonsense"], "no such command 'nonsense': see `lowtide --help`"),
        (["pools", "show"], "missing argument 'NAME': see `lowtide pools show --help`"),
        (["pools", "list", "--nonsense"], "no such option: --nonsense: see `lowtide pools list --help`"),
        (["instances", "list", "x"], "see `lowtide instances list --help`"),
        (["jobs", "list", "--limit", "many"], "invalid value for '--limit'"),
        (["jobs", "list", "--state", "asleep"], "'asleep' is not one of 'queued', 'running'"),
    ],
)
def test_wrong_use_is_exit_code_2_and_one_sentence(deployed: Deployed, words: list[str], sentence: str) -> None:
    said = deployed.say(*words)
    assert said.code == 2
    assert is_one_sentence(said), said.err
    assert sentence in said.err
    assert not said.out


@pytest.mark.parametrize("words", [[], ["pools"]])
def test_no_verb_at_all_prints_the_help(deployed: Deployed, words: list[str]) -> None:
    said = deployed.say(*words)
    assert said.code == 2
    assert "Usage: lowtide" in said.out
    assert not said.err


def test_help_is_exit_code_0(deployed: Deployed) -> None:
    assert deployed.say("pools", "--help").code == 0


def test_what_is_wrong_with_a_file_is_on_stderr(deployed: Deployed, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("resource_pools: [{pool_name: cpu, provider: {type: aws, instance_type: c7i.large, spto: true}}]")
    for words in (["pools", "validate"], ["pools", "apply"]):
        said = deployed.say(*words, str(path))
        assert said.code == 1
        assert "provider.spto: is not a known key; did you mean spot?" in said.err
        assert "spto" not in said.out


def test_square_brackets_in_a_sentence_are_printed_as_they_are(deployed: Deployed) -> None:
    assert "no pool [bold]x" in deployed.say("pools", "show", "[bold]x").err


def test_a_fault_of_our_own_is_a_sentence_and_a_traceback_only_for_who_asks(
    deployed: Deployed, monkeypatch: Any
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("lowtide.cli.status.seen_pools", broken)
    said = deployed.say("status")
    assert said.code == 1
    assert is_one_sentence(said)
    assert "a fault of Lowtide's own (ZeroDivisionError: by zero)" in said.err
    monkeypatch.setenv(ENV_TRACEBACK, "1")
    with pytest.raises(ZeroDivisionError):
        deployed.say("status")


STOPPING = """
import sys
class Stopping:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Stopping())
from lowtide.cli import main
main()
"""
"""The command, and Ctrl-C at the moment when a module is imported."""


@pytest.mark.parametrize("module", ["typer", "botocore", "lowtide.cli.app", "lowtide.cli.why"])
def test_ctrl_c_while_it_still_begins_is_one_sentence(module: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", STOPPING, module], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (130, "lowtide: stopped\n")
