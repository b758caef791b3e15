"""A notice: by whichever way it comes first, the instance's metadata or EventBridge through the control plane, and at
whatever moment of an attempt."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.worker.agents import START, World
from tests.worker.bench import READY, Bench, until
from tests.worker.control import lease
from tests.worker.stores import MemoryStore
from worker.checkpoint.checkpoint import Checkpoint, Report
from worker.imds import Notice
from worker.keeping import Keeper
from worker.leases import Lease, Stop
from worker.log import to_text
from worker.pace import Reserve
from worker.ports import Terms


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


def test_a_job_that_starts_after_a_recommendation_is_told_of_it(world: Hearing) -> None:
    world.advice = Notice("rebalance", START)
    world.run(6)
    assert [kind for kind, _ in world.with_job().warnings] == ["rebalance"]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.runner.clear_leftovers()


def test_what_there_is_is_saved_at_the_notice_while_the_job_still_runs(bench: Bench) -> None:
    slow = Terms(4, 0, 30.0, 5.0, checkpoint=3600.0, reserve=Reserve(10.0, 30.0))
    script = f"trap '' TERM; echo 1 > $LOWTIDE_CHECKPOINT_DIR/step; {READY}; while [ ! -e go ]; do sleep 0.02; done"
    attempt = bench.runner.start(Lease.parse(lease(command=["/bin/sh", "-c", script])), (), slow)
    until(lambda: list(bench.state.glob("jobs/*/*/tmp/ready")))
    attempt.warn(Notice("interruption", datetime.now(UTC)), 120.0)
    until(lambda: any("/data/" in key for key in bench.store.objects))
    assert attempt.outcome is None
    (bench.state / "jobs/job-job-1/1/work/go").touch()
    bench.outcome(attempt)


def test_a_notice_that_came_while_the_inputs_were_fetched_is_there_when_the_job_begins(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetching, fetched = threading.Event(), threading.Event()

    def slowly(*_: Any) -> None:
        fetching.set()
        assert fetched.wait(15.0)

    monkeypatch.setattr(bench.runner.fetcher, "fetch", slowly)
    attempt = bench.start("cat $LOWTIDE_NOTICE_FILE > seen")
    assert fetching.wait(15.0)
    (bench.state / "jobs/job-job-1/1/notice").rename(bench.state / "away")  # as if it had come before there was one
    attempt.warn(Notice("rebalance", START), 0.0)
    (bench.state / "away").rename(bench.state / "jobs/job-job-1/1/notice")
    fetched.set()
    assert bench.outcome(attempt).exit_code == 0
    assert json.loads(bench.file("work/seen"))["kind"] == "rebalance"


@pytest.mark.parametrize(
    ("seconds", "uploaded", "expected"), [(12.0, 2**20, 18.0), (40.0, 2**20, 30.0), (2.0, 2**20, 10.0), (40.0, 1, 20.0)]
)
def test_the_reserve_is_by_what_the_last_save_that_can_be_measured_took(
    seconds: float, uploaded: int, expected: float
) -> None:
    class Saved(Checkpoint):
        def save(self, wanted: Callable[[], bool] = lambda: True) -> Report | None:
            return Report(1, uploaded, seconds, (), 0)

    keeper = Keeper(
        Saved(MemoryStore(), pool="cpu", job_id="job-1", fence=1, directory=Path()),
        period=3600.0,
        reserve=Reserve(10.0, 30.0),
        reached=lambda: None,
        say=lambda _text: None,
        told=lambda *_: None,
    )
    assert keeper.reserve_seconds() == 20.0, "before anything was measured"
    keeper.begin()
    keeper.end(None)
    assert keeper.reserve_seconds() == expected


def test_clearing_the_bucket_keeps_no_save_waiting() -> None:
    """Neither by what it takes, once the end is announced, nor by its failing."""
    asked: list[str] = []
    saved = threading.Event()

    class Slow(Checkpoint):
        def delete_old(self, wanted: Callable[[], bool] = lambda: True) -> None:
            asked.append("delete")
            while wanted():
                keeper.hurry()
            raise OSError("S3 is gone")

        def save(self, wanted: Callable[[], bool] = lambda: True) -> Report | None:
            asked.append("save")
            saved.set()
            return None

    keeper = Keeper(
        Slow(MemoryStore(), pool="cpu", job_id="job-1", fence=1, directory=Path()),
        period=0.01,
        reserve=Reserve(10.0, 30.0),
        reached=lambda: None,
        say=lambda _text: None,
        told=lambda *_, **__: None,
    )
    keeper.begin()
    assert saved.wait(10.0)
    keeper.end(None)
    assert asked[:2] == ["delete", "save"]
    assert asked[-1] == "save"


@pytest.mark.parametrize("why", [Stop.LEASE_LOST, Stop.CANCELLED])
def test_a_job_that_was_cancelled_or_lost_saves_nothing_any_more(bench: Bench, why: Stop) -> None:
    script = f"trap 'echo x > $LOWTIDE_CHECKPOINT_DIR/x; exit 0' TERM; {READY}; while :; do sleep 0.02; done"
    attempt = bench.started(script)
    attempt.stop(why)
    bench.outcome(attempt)
    assert not [key for key in bench.store.objects if "/data/" in key]
