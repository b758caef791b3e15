"""A notice by whichever way it comes first: the instance's metadata, or EventBridge through the control plane."""

from datetime import timedelta
from typing import Any

import pytest

from tests.worker.test_agent import START, World
from worker.imds import Notice
from worker.leases import Stop
from worker.log import to_text


class Hearing(World):
    """A control plane that has `told` of a notice."""

    told: dict[str, str] | None = None

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = super().call(path, body)
        return {**answer, "notice": self.told} if path == "/v1/heartbeat" else answer


@pytest.fixture
def world() -> Hearing:
    return Hearing()


def ends_in(world: World, seconds: float) -> dict[str, str]:
    return {"kind": "interruption", "at": to_text(world.clock.now() + timedelta(seconds=seconds))}


def test_a_notice_that_the_control_plane_heard_first_stops_every_job_at_once(world: Hearing) -> None:
    attempt = world.with_job()
    world.told = ends_in(world, 120)
    world.run(31)
    ((kind, left),) = attempt.warnings
    assert (kind, attempt.stops[0][0]) == ("interruption", Stop.INTERRUPTED)
    assert 89 <= left <= 120
    world.run(60)
    assert len(attempt.warnings) == 1, "told with every heartbeat, heeded once"


def test_nothing_is_claimed_after_it(world: Hearing) -> None:
    world.with_job()
    world.told = ends_in(world, 120)
    world.run(31)
    asked = len(world.bodies("/v1/claim"))
    world.run(300)
    assert len(world.bodies("/v1/claim")) == asked


def test_the_metadatas_own_notice_is_still_heeded_since_it_is_exact(world: Hearing) -> None:
    attempt = world.with_job()
    world.told = ends_in(world, 120)
    world.run(31)
    world.spot = Notice("interruption", world.clock.now() + timedelta(seconds=40))
    world.run(31)
    assert [kind for kind, _ in attempt.warnings] == ["interruption", "interruption"]
    assert attempt.warnings[1][1] == pytest.approx(40, abs=5.1)
    told = [body["notice"] for body in world.bodies("/v1/heartbeat") if body["notice"]]
    assert told == [{"kind": "interruption", "at": to_text(world.spot.at)}]


def test_what_the_metadata_said_before_is_not_heeded_again(world: Hearing) -> None:
    attempt = world.with_job()
    world.spot = Notice("interruption", START + timedelta(seconds=130))
    world.run(5)
    world.told = ends_in(world, 60)
    world.run(60)
    assert len(attempt.warnings) == 1


def test_it_goes_before_a_rebalance_recommendation(world: Hearing) -> None:
    attempt = world.with_job()
    world.advice = Notice("rebalance", START)
    world.run(6)
    world.told = ends_in(world, 120)
    world.run(31)
    assert [kind for kind, _ in attempt.warnings] == ["rebalance", "interruption"]
