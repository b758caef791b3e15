import pytest

from tests.cli.deployment import Deployed


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Deployed:
    return Deployed(monkeypatch, capsys)
