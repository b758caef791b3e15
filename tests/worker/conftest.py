from collections.abc import Iterator

import pytest

from tests.worker.agents import World
from tests.worker.control import Control


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    made = Control()
    monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", made.metadata.endpoint)
    yield made
    made.close()


@pytest.fixture
def world() -> World:
    return World()
