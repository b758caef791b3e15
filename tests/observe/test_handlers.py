"""What AWS invokes is wired to what does the work."""

import json
from typing import Any

import pytest

from lambdas import names
from lambdas.adapters import sdk
from lambdas.handlers import environment, news, tick
from lowtide.sim.calls import Recorder
from tests.observe.conftest import World, warning


class Context:
    def get_remaining_time_in_millis(self) -> int:
        return 55_000


@pytest.fixture
def deployed(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The functions' environment, with the world's clients in place of AWS's."""
    monkeypatch.setenv(names.ENV_STACK, names.STACK)
    monkeypatch.setenv(names.ENV_TABLE, "t")
    monkeypatch.setenv(names.ENV_RECONCILE_QUEUE, world.queue_url)
    monkeypatch.setenv(names.ENV_SETTINGS, json.dumps({"warning_lead": 60}))
    clients = {"dynamodb": world.dynamodb, "sqs": world.sqs, "ec2": world.ec2}
    monkeypatch.setattr(sdk, "client", lambda service, **_: clients[service])
    for maker in (tick._works, news._newsroom, environment.environment):
        maker.cache_clear()
    return world


def metrics_in(text: str) -> dict[str, Any]:
    return {k: v for line in text.splitlines() for k, v in json.loads(line).items() if isinstance(v, list)}


def test_the_clocks_event_makes_a_tick_and_its_metrics(deployed: World, capsys: pytest.CaptureFixture[str]) -> None:
    deployed.run("i-1", launched_at=environment.now())
    tick.handler({"id": "event-1", "source": "aws.events"}, Context())
    assert deployed.known("i-1").pool == "gpu"
    assert metrics_in(capsys.readouterr().out)[names.METRIC_TICKS] == [1]


def test_a_tick_that_fails_still_tells_what_it_knows(deployed: World, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise RuntimeError("EC2 is away")

    deployed.ec2.on_describe = broken
    with pytest.raises(RuntimeError, match="EC2 is away"):
        tick.handler({"id": "event-1"}, Context())
    told = metrics_in(capsys.readouterr().out)
    assert told[names.METRIC_BLOCKED] == [0]
    assert names.METRIC_TICKS not in told


def test_a_warning_reaches_the_record_with_the_settings_lead(
    deployed: World, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed.record("i-1")
    at = deployed.clock()
    news.handler(warning("i-1", at), Context())
    ends_at = deployed.known("i-1").ends_at
    assert ends_at is not None
    assert (ends_at - at).total_seconds() == 60
    assert metrics_in(capsys.readouterr().out)[names.METRIC_INTERRUPTIONS] == [1]


def test_clients_are_made_once(deployed: World) -> None:
    tick.handler({"id": "event-1"}, Context())
    works = tick._works()
    deployed.hook(Recorder())
    tick.handler({"id": "event-2"}, Context())
    assert tick._works() is works
