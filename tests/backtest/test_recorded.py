"""The readers on the recorded data itself, where it is: it is no part of the project (LOWTIDE_RECORDED_DATA)."""

import os
from pathlib import Path

import pytest

from lowtide.backtest import types
from lowtide.backtest.job_files import Drawn, Width, jobs_of
from lowtide.backtest.market_files import tracks_of
from lowtide.bench.peers import ENV_DATA, peers
from lowtide.bench.results import Absent

PLACE = Path(os.environ.get(ENV_DATA, ""))
recorded = pytest.mark.skipif(
    not (PLACE / "deadline-traces").is_dir(), reason=f"no recorded data: set {ENV_DATA} to its directory"
)


@recorded
def test_every_recorded_market_is_read() -> None:
    tracks = tracks_of([str(PLACE / "deadline-traces"), str(PLACE / "spot-prices-p3.2xlarge-2023-02.json")], depth=4)
    assert len(tracks) == 14 + 5
    assert all(track.on_demand_price is not None for track in tracks)


@recorded
def test_every_recorded_log_and_the_catalogue_are_read() -> None:
    assert len(jobs_of(PLACE / "jobs" / "NASA-iPSC-1993-3.1-cln.swf.gz", width=Width.ONE)) > 17_000
    assert len(jobs_of(PLACE / "jobs" / "philly_runtime_seconds.csv", drawn=Drawn(count=500))) == 500
    assert len(types.of_file(PLACE / "ec2-catalogue" / "us-east-1.csv").listings) == 1_395


def test_the_benchmark_says_plainly_that_its_data_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENV_DATA, raising=False)
    with pytest.raises(Absent, match=f"set {ENV_DATA} to the directory"):
        peers()
