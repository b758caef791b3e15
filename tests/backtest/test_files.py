"""Files of markets, jobs and types: what is read, and what is said of a wrong one: file, line and field."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lambdas.domain.jobs.jobs import Resources
from lowtide.backtest import types
from lowtide.backtest.job_files import Drawn, Width, jobs_of
from lowtide.backtest.market_files import UNDATED, tracks_of
from lowtide.backtest.recorded import Steps, market_of
from lowtide.backtest.wrong import WrongFile
from lowtide.market.model import PLENTY, Lifecycle, Offering

ROW = {
    "InstanceType": "c7i.large",
    "AvailabilityZone": "us-east-1a",
    "SpotPrice": "0.04",
    "Timestamp": "2026-03-01T00:00Z",
}
AVAILABILITY = {"gap_seconds": 600, "on_demand_price": 3.06, "spot_price": 0.97, "avail": "1101"}
SWF = "1 0 -1 60 4 -1 -1 8 -1 -1 1 1 1 -1 -1 -1 -1 -1"


def written(place: Path, name: str, content: Any) -> Path:
    path = place / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1), encoding="utf-8")
    return path


def day(hour: int) -> datetime:
    return datetime(2026, 3, 1, hour, tzinfo=UTC)


# --- markets ----------------------------------------------------------------------------------------------------------


def test_a_price_history_gives_each_offering_its_changes_in_order(tmp_path: Path) -> None:
    rows = [
        {**ROW, "SpotPrice": "0.05", "Timestamp": "2026-03-01T06:00:00+00:00"},
        ROW,
        {**ROW, "ProductDescription": "Windows", "SpotPrice": "9"},
    ]
    (track,) = tracks_of([str(written(tmp_path, "h.json", {"SpotPriceHistory": rows}))], depth=4)
    market, offering = market_of([track]), Offering("c7i.large", "us-east-1a")
    assert [market.price(offering, day(hour)) for hour in (0, 5, 6)] == [
        Decimal("0.04"),
        Decimal("0.04"),
        Decimal("0.05"),
    ]
    assert market.next_change(offering, day(1)) == day(6)
    assert market.capacity(offering, Lifecycle.SPOT, day(1)) == PLENTY


def test_prices_by_tick_hold_from_their_tick_on(tmp_path: Path) -> None:
    coded = {
        **{"instance_type": "p3.2xlarge", "gap_seconds": 3600, "first_tick": "2026-03-01T00:00Z"},
        "spot_prices": {"us-west-2a": [[0, 0.9], [5, 0.95]], "us-west-2b": [[0, 1]]},
    }
    tracks = tracks_of([str(written(tmp_path, "c.json", coded))], depth=4)
    assert [(t.zone, t.begin) for t in tracks] == [("us-west-2a", day(0)), ("us-west-2b", day(0))]
    market = market_of(tracks)
    assert [market.price(Offering("p3.2xlarge", "us-west-2a"), day(h)) for h in (4, 5)] == [
        Decimal("0.9"),
        Decimal("0.95"),
    ]


def test_availability_has_its_zone_from_its_name_and_starts_again(tmp_path: Path) -> None:
    (track,) = tracks_of([str(written(tmp_path, "x_us-west-2b_v100.json", AVAILABILITY))], depth=3)
    assert (track.zone, track.instance_type, track.begin) == ("us-west-2b", "*", UNDATED)
    market, offering = market_of([track]), Offering("any.large", "us-west-2b")
    held = [market.capacity(offering, Lifecycle.SPOT, UNDATED + timedelta(minutes=10 * n)) for n in range(8)]
    assert held == [3, 3, 0, 3] * 2
    assert market.next_change(offering, UNDATED + timedelta(minutes=31)) == UNDATED + timedelta(minutes=40)
    assert market.price(offering, UNDATED) == Decimal("0.97")


def test_the_command_line_names_type_and_zone(tmp_path: Path) -> None:
    path = written(tmp_path, "plain.json", AVAILABILITY)
    (track,) = tracks_of([f"g5.xlarge@eu-west-1c={path}"], depth=1)
    assert (track.instance_type, track.zone, track.on_demand_price) == ("g5.xlarge", "eu-west-1c", Decimal("3.06"))


def test_a_directory_is_read_whole(tmp_path: Path) -> None:
    for zone in ("us-west-2a", "us-west-2b"):
        written(tmp_path, f"t_{zone}.json", AVAILABILITY)
    assert [track.zone for track in tracks_of([str(tmp_path)], depth=1)] == ["us-west-2a", "us-west-2b"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ({"other": 1}, "line 1: has none of SpotPriceHistory, spot_prices and avail"),
        ({"SpotPriceHistory": [ROW, {**ROW, "SpotPrice": "-1"}]}, "line 10: SpotPriceHistory[1].SpotPrice: is '-1'"),
        ({"SpotPriceHistory": [{**ROW, "Timestamp": "yesterday"}]}, "SpotPriceHistory[0].Timestamp: is 'yesterday'"),
        ({"SpotPriceHistory": [{"InstanceType": "a.b"}]}, "SpotPriceHistory[0].AvailabilityZone: is missing"),
        ({**AVAILABILITY, "avail": "102"}, "line 5: avail: takes a text of 0 and 1"),
        ({**AVAILABILITY, "gap_seconds": 0}, "line 2: gap_seconds: is 0"),
        ({**AVAILABILITY, "spot_price": "dear", "zone": "us-east-1a"}, "line 4: spot_price: is 'dear'"),
        (AVAILABILITY, "zone: is missing"),
        (
            {
                "instance_type": "a.b",
                "gap_seconds": 1,
                "first_tick": "2026-03-01T00:00Z",
                "spot_prices": {"z": [[3, 1], [3, 2]]},
            },
            "spot_prices.z[1]: tick 3 does not come after 3",
        ),
        (
            {"gap_seconds": 1, "first_tick": "2026-03-01T00:00Z", "spot_prices": {"z": [[0, 1]]}},
            "instance_type: is missing",
        ),
    ],
)
def test_a_wrong_market_is_told_with_file_line_and_field(tmp_path: Path, content: Any, said: str) -> None:
    path = written(tmp_path, "wrong.json", content)
    with pytest.raises(WrongFile) as wrong:
        tracks_of([str(path)], depth=1)
    assert str(wrong.value).startswith(str(path))
    assert said in str(wrong.value)


def test_a_market_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match=r"none\.json cannot be read: No such file"):
        tracks_of([str(tmp_path / "none.json")], depth=1)


def test_steps_that_repeat_change_at_the_same_offsets_of_each_round() -> None:
    steps = Steps(begin=day(0), offsets=(0.0, 600.0), values=(1, 0), length=1800.0)
    at, changes = day(0), list[float]()
    for _ in range(4):
        following = steps.next_change(at)
        assert following is not None
        changes.append((following - day(0)).total_seconds())
        at = following
    assert changes == [600, 1800, 2400, 3600]


# --- jobs -------------------------------------------------------------------------------------------------------------


def test_lines_are_jobs_with_the_fields_of_a_message(tmp_path: Path) -> None:
    line = {
        **{"submitted_at": "2026-03-01T08:00:00Z", "run_seconds": 90, "pool": "gpu", "id": "a", "priority": 3},
        **{"resources": {"vcpus": 2, "memory_mib": 4096}, "deadline": "2026-03-01T12:00:00+02:00"},
        **{"estimated_duration": "2m", "command": ["true"]},
    }
    (job,) = jobs_of(written(tmp_path, "j.jsonl", json.dumps(line)))
    assert (job.job_id, job.pool, job.priority, job.submitted_at) == ("a", "gpu", 3, day(8))
    assert job.resources == Resources(vcpus=Decimal(2), memory_mib=4096)
    assert (job.work, job.deadline, job.estimated_duration) == (timedelta(seconds=90), day(10), timedelta(minutes=2))


def test_a_workload_log_gives_its_width_as_it_is_asked_for(tmp_path: Path) -> None:
    log = f"; UnixStartTime: {int(day(0).timestamp())}\n{SWF}\n2 30 -1 -1 1 -1 -1 1 -1 -1 1 1 1 -1 -1 -1 -1 -1\n"
    path = tmp_path / "log.swf.gz"
    path.write_bytes(gzip.compress(log.encode()))
    (job,) = jobs_of(path)
    assert (job.submitted_at, job.work, job.slots) == (day(0), timedelta(seconds=60), 4)
    assert jobs_of(path, width=Width.ONE)[0].slots == 1
    asked = jobs_of(path, width=Width.VCPUS)[0].resources
    assert asked is not None
    assert asked.vcpus == 4


def test_a_table_without_submissions_is_drawn_by_its_seed(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", "runtime\n" + "".join(f"{n}.0\n" for n in range(100)))
    jobs = jobs_of(path, drawn=Drawn(count=20, days=2, seed=4))
    assert len(jobs) == 20
    assert all(UNDATED <= job.submitted_at <= UNDATED + timedelta(days=2) for job in jobs)
    assert jobs == jobs_of(path, drawn=Drawn(count=20, days=2, seed=4))
    assert jobs != jobs_of(path, drawn=Drawn(count=20, days=2, seed=5))


def test_a_table_with_submissions_is_taken_as_it_is(tmp_path: Path) -> None:
    text = "id,submitted_at,run_seconds,slots,pool\nb,2026-03-01T09:00:00Z,60,2,gpu\na,2026-03-01T08:00:00Z,5,,\n"
    jobs = jobs_of(written(tmp_path, "t.csv", text), pool="cpu")
    assert [(job.job_id, job.slots, job.pool) for job in jobs] == [("a", 1, "cpu"), ("b", 2, "gpu")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("j.jsonl", '{"run_seconds": 5}', "line 1: submitted_at: is missing"),
        ("j.jsonl", '\n{"submitted_at": "2026-03-01T00:00Z", "run_seconds": 0}', "line 2: run_seconds: is 0"),
        ("j.jsonl", '{"submitted_at": "noon", "run_seconds": 1}', "line 1: submitted_at: is 'noon'"),
        (
            "j.jsonl",
            '{"submitted_at": "2026-03-01T00:00Z", "run_seconds": 1, "slot": 2}',
            "slot: is not a field of a job",
        ),
        ("j.jsonl", '{"submitted_at": "2026-03-01T00:00Z", "run_seconds": 1, "priority": 999}', "line 1: priority: "),
        ("j.jsonl", "nonsense", "line 1: is not JSON"),
        ("j.jsonl", "", "has no jobs"),
        ("l.swf", "1 0 -1 60", "line 1: has 4 fields"),
        ("l.swf", SWF.replace(" 60 ", " soon "), "line 1: field 4 (run time): is 'soon'"),
        ("t.csv", "runtime,colour\n1,red\n", "line 1: colour: is no column"),
        ("t.csv", "slots\n1\n", "line 1: run_seconds: is missing"),
        ("t.csv", "runtime\n1\nlong\n", "line 3: runtime: is 'long'"),
        ("jobs.txt", "", "is none of .jsonl, .swf, .swf.gz and .csv"),
    ],
)
def test_wrong_jobs_are_told_with_file_line_and_field(tmp_path: Path, name: str, content: str, said: str) -> None:
    path = written(tmp_path, name, content)
    with pytest.raises(WrongFile) as wrong:
        jobs_of(path)
    assert str(wrong.value).startswith(str(path))
    assert said in str(wrong.value)


def test_an_id_that_is_given_twice_is_told(tmp_path: Path) -> None:
    line = '{"id": "a", "submitted_at": "2026-03-01T00:00Z", "run_seconds": 1}\n'
    with pytest.raises(WrongFile, match="line 2: id: a is given twice"):
        jobs_of(written(tmp_path, "j.jsonl", line * 2))


# --- types ------------------------------------------------------------------------------------------------------------

HEAD = "instance_type,vcpus,memory_mib,gpus,gpu_name,architectures,usage_classes,on_demand_usd_per_hour\n"


def test_a_catalogue_gives_facts_and_prices(tmp_path: Path) -> None:
    text = HEAD + "g4dn.xlarge,4,16384,1,T4,x86_64,on-demand/spot,0.526\nm7g.metal,64,262144,0,,arm64,on-demand,\n"
    found = types.of_file(written(tmp_path, "c.csv", text))
    assert found.prices == {"g4dn.xlarge": Decimal("0.526"), "m7g.metal": None}
    metal = found.listings["m7g.metal"]
    assert (metal.vcpus, metal.architecture, metal.bare_metal) == (64, "arm64", True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name\nx\n", "line 1: instance_type: is missing"),
        (HEAD + "g4dn.xlarge,four,1,0,,x86_64,spot,1\n", "line 2: vcpus: is 'four'"),
        (HEAD + "g4dn.xlarge,4,1,0,,x86_64,spot,free\n", "line 2: on_demand_usd_per_hour: is 'free'"),
        (HEAD + "g4dn,4,1,0,,x86_64,spot,1\n", "line 2: instance_type: is 'g4dn'"),
    ],
)
def test_a_wrong_catalogue_is_told_with_file_line_and_field(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, "c.csv", text)
    with pytest.raises(WrongFile) as wrong:
        types.of_file(path)
    assert f"{path}, {said}" in str(wrong.value)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("j.swf", SWF.replace("1 0", "1 inf", 1), r"line 1: field 2 \(submit time\): is inf"),
        ("j.swf", f"; UnixStartTime: 1e30\n{SWF}", r"line 1: UnixStartTime: is 1\d+; it takes seconds since 1970"),
        ("j.jsonl", '{"submitted_at": "9999-12-31T23:00:00Z", "run_seconds": 5}', "line 1: submitted_at: is '9999"),
        (
            "j.jsonl",
            '{"submitted_at": "0001-01-01T00:00:00+05:00", "run_seconds": 5}',
            "line 1: submitted_at: is '0001",
        ),
        ("j.csv", "run_seconds,slots\n5,1.7", "line 2: slots: is '1.7'; it takes a whole number"),
    ],
)
def test_numbers_beyond_what_can_be_are_told_by_their_field(tmp_path: Path, name: str, content: str, told: str) -> None:
    with pytest.raises(WrongFile, match=told):
        jobs_of(written(tmp_path, name, content))


def test_a_table_as_spreadsheets_write_it_is_read(tmp_path: Path) -> None:
    (job,) = jobs_of(written(tmp_path, "j.csv", "\ufeffrun_seconds,slots\r\n5,2\r\n"))
    assert (job.work, job.slots) == (timedelta(seconds=5), 2)


def test_a_deadline_that_stands_for_never_stays_where_its_job_is_moved(tmp_path: Path) -> None:
    line = '{"submitted_at": "2026-01-01T00:00:00Z", "run_seconds": 5, "deadline": "9999-12-31T23:59:59Z"}'
    (job,) = jobs_of(written(tmp_path, "j.jsonl", line))
    assert job.moved(timedelta(days=3)).deadline == job.deadline
