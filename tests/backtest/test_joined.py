"""Several records of one offering: what is put together, and what contradicts."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lowtide.backtest.jobs import Job
from lowtide.backtest.market_files import tracks_of
from lowtide.backtest.setup import Scene, scene
from lowtide.backtest.wrong import WrongFile
from lowtide.market.model import Offering

ZONE = "us-east-1a"
OFFERING = Offering("c7i.large", ZONE)


def prices(place: Path, name: str, *points: tuple[str, str]) -> None:
    """A price history of (date, USD) …"""
    fields = {"InstanceType": "c7i.large", "AvailabilityZone": ZONE}
    rows = [{**fields, "SpotPrice": usd, "Timestamp": f"{date}T00:00:00Z"} for date, usd in points]
    (place / name).write_text(json.dumps({"SpotPriceHistory": rows}))


def availability(place: Path, name: str, **more: Any) -> None:
    (place / name).write_text(json.dumps({"gap_seconds": 600, "avail": "1101", **more}))


def day(month: int, number: int) -> datetime:
    return datetime(2026, month, number, tzinfo=UTC)


def played_in(*named: Path) -> Scene:
    jobs = [Job(job_id=str(n), submitted_at=day(10, n), work=timedelta(hours=1)) for n in (5, 29)]
    return scene(tracks_of([str(each) for each in named], depth=4), jobs, region=None, days=None, seed=1)


def test_files_of_a_month_each_are_one_record_in_whatever_order(tmp_path: Path) -> None:
    prices(tmp_path, "a.json", ("2026-10-01", "0.03"), ("2026-10-20", "0.02"))
    prices(tmp_path, "b.json", ("2026-11-01", "0.05"))
    whole = played_in(tmp_path)
    assert [whole.conditions.price(OFFERING, each) for each in (day(10, 2), day(10, 21), day(11, 2))] == [
        Decimal("0.03"),
        Decimal("0.02"),
        Decimal("0.05"),
    ]
    assert [job.submitted_at for job in whole.jobs] == [day(10, 5), day(10, 29)], "the jobs' time is on record"
    turned = played_in(tmp_path / "b.json", tmp_path / "a.json")
    assert turned.conditions == whole.conditions


def test_a_price_record_goes_before_the_price_of_an_availability_record(tmp_path: Path) -> None:
    prices(tmp_path, "prices.json", ("2026-10-01", "0.03"))
    availability(tmp_path, f"z_{ZONE}.json", instance_type="c7i.large", spot_price=0.97)
    for named in (("prices.json", f"z_{ZONE}.json"), (f"z_{ZONE}.json", "prices.json")):
        found = played_in(*(tmp_path / each for each in named)).conditions
        assert found.price(OFFERING, day(10, 6)) == Decimal("0.03")


def test_two_records_of_what_could_be_had_contradict_each_other(tmp_path: Path) -> None:
    availability(tmp_path, f"k80_{ZONE}.json")
    availability(tmp_path, f"v100_{ZONE}.json")
    with pytest.raises(WrongFile, match=r"k80_\S+ and \S+v100_\S+ both say what could be had of any type in "):
        played_in(tmp_path)


def test_the_first_days_begin_with_the_first_job() -> None:
    jobs = [
        Job(job_id=str(n), submitted_at=day(10, 5) + timedelta(minutes=n), work=timedelta(hours=1)) for n in (50, 60)
    ]
    found = scene([], jobs, region=None, days=0.01, seed=1)
    assert [job.job_id for job in found.jobs] == ["50", "60"]
