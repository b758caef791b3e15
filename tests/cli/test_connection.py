"""Where the command line finds its Region."""

from pathlib import Path

import pytest

from lowtide.cli.connection import Deployment
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
