"""Where the command line finds its Region."""

from datetime import timedelta
from pathlib import Path

import pytest

from lambdas import names
from lambdas.domain.settings import Settings
from lowtide.cli.connection import Deployment, settings_in
from lowtide.cli.errors import Failure


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


def region() -> str:
    return Deployment("Lowtide").region


def test_the_region_is_that_of_aws_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert region() == "eu-west-1"
    assert Deployment("Lowtide").client("dynamodb").meta.region_name == "eu-west-1"


def test_aws_default_region_goes_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert region() == "us-west-2"


def test_so_does_the_profiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[default]\nregion = ap-south-1\n")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert region() == "ap-south-1"


@pytest.mark.parametrize("empty", [False, True])
def test_without_any_the_sentence_says_what_to_set(monkeypatch: pytest.MonkeyPatch, empty: bool) -> None:
    if empty:
        monkeypatch.setenv("AWS_REGION", "")
    with pytest.raises(Failure, match="set AWS_REGION, or the region of your profile"):
        region()


# --- the settings that the stack was deployed with ---


def test_a_command_takes_the_settings_of_the_stack_that_it_talks_to() -> None:
    told = {names.OUTPUT_SETTINGS: '{"jobs_kept": 86400, "look_again": 30}'}
    assert settings_in(told) == Settings(jobs_kept=timedelta(days=1), look_again=timedelta(seconds=30))


def test_a_stack_deployed_before_it_told_its_settings_is_taken_to_have_the_defaults() -> None:
    assert settings_in({names.OUTPUT_TABLE_NAME: "t"}) == Settings()


def test_a_setting_that_only_a_newer_lowtide_knows_changes_nothing() -> None:
    assert settings_in({names.OUTPUT_SETTINGS: '{"of_tomorrow": {"a": 1}}'}) == Settings()
