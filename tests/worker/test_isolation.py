"""What keeps a job from its instance: by whichever tool the image has, and said where by none."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambdas.domain.jobs.job_values import RESERVED_ENV
from tests.worker.bench import Bench
from tests.worker.control import Control, lease
from tests.worker.test_process import Worker
from worker.environment import job_environment
from worker.isolation import Account, block_metadata
from worker.leases import Lease

ROOT = Path(__file__).resolve().parents[2]
JOBS = Account(991, 991, ())
IPTABLES = "OUTPUT -d 169.254.169.254 -m owner --uid-owner 991 -j REJECT"
IP_RULE = "to 169.254.169.254 uidrange 991-991 prohibit"


class Tools:
    """A PATH that holds only the programs that are installed; what they were called with, in order."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.said: list[str] = []

    def install(self, name: str, *, fails_on: str = "nothing") -> None:
        program = self.place / name
        program.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {self.place}/calls\ncase "$*" in *"{fails_on}"*) exit 1;; esac\n'
        )
        program.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return (self.place / "calls").read_text().splitlines()

    def block(self, account: Account = JOBS) -> bool:
        def log(event: str, **_fields: str) -> None:
            self.said.append(event)

        return block_metadata(account, log)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    monkeypatch.setenv("PATH", str(tmp_path))
    return Tools(tmp_path)


def test_iptables_refuses_what_the_jobs_user_sends_to_the_metadata_service(tools: Tools) -> None:
    tools.install("iptables", fails_on="-C OUTPUT")
    assert tools.block()
    assert tools.calls == [f"iptables -C {IPTABLES}", f"iptables -I {IPTABLES}"]


def test_a_restarted_worker_adds_no_second_rule(tools: Tools) -> None:
    tools.install("iptables")
    assert tools.block()
    assert tools.calls == [f"iptables -C {IPTABLES}"]


def test_without_iptables_nft_does(tools: Tools) -> None:
    tools.install("nft")
    tools.install("ip")
    assert tools.block()
    (call,) = tools.calls
    assert call.endswith("add rule ip lowtide output ip daddr 169.254.169.254 meta skuid 991 reject")


def test_without_both_a_rule_of_routing_does(tools: Tools) -> None:
    tools.install("ip")
    assert tools.block()
    assert tools.calls == [f"ip rule del {IP_RULE}", f"ip rule add {IP_RULE}"]
    assert tools.said == []


def test_where_none_of_them_can_the_log_says_so(tools: Tools) -> None:
    for name in ("iptables", "nft", "ip"):
        tools.install(name, fails_on="")
    assert not tools.block()
    assert tools.said == ["metadata-service-open-to-jobs"]


def test_where_jobs_share_the_workers_user_the_log_says_so(tools: Tools) -> None:
    assert not tools.block(Account())
    assert tools.said == ["metadata-service-open-to-jobs"]


def test_what_the_worker_gives_goes_before_what_the_job_asked_for(tmp_path: Path) -> None:
    given = Lease.parse(lease(env={"PASSWORD": "wrong", "LOWTIDE_JOB_ID": "other", "SEED": "1"}))
    found = job_environment(given, tmp_path, {"PASSWORD": "right"}, gpus=0, devices=())
    assert (found["PASSWORD"], found["LOWTIDE_JOB_ID"], found["SEED"]) == ("right", "job-1", "1")


def set_over(tmp_path: Path, *, gpus: int = 0, image: str | None = None) -> set[str]:
    """The variables that a job has otherwise than its message says."""
    probe = Lease.parse(lease(image=image))
    everything = job_environment(probe, tmp_path, {}, gpus=gpus, devices=())
    asked = dict.fromkeys(everything, "the job's own")
    found = job_environment(Lease.parse(lease(image=image, env=asked)), tmp_path, {}, gpus=gpus, devices=())
    return {name for name, value in found.items() if value != asked[name]}


@pytest.mark.parametrize("image", [None, "ubuntu:24.04"])
def test_no_message_may_set_what_the_worker_sets_for_every_job(tmp_path: Path, image: str | None) -> None:
    assert set_over(tmp_path, image=image) == RESERVED_ENV


def test_what_the_worker_sets_where_there_are_gpus_is_told(tmp_path: Path) -> None:
    on_gpus = set_over(tmp_path, gpus=2) | set_over(tmp_path, gpus=2, image="ubuntu:24.04")
    told = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
    assert [name for name in sorted(on_gpus) if f"`{name}`" not in told] == []


@pytest.fixture
def others_place() -> Iterator[Path]:
    """Where another user may go, which pytest's own directories do not let him."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(place)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can run jobs as another user")
def test_a_job_has_none_of_the_workers_groups(others_place: Path) -> None:
    before = os.getgroups()
    os.setgroups([0, 4])
    try:
        bench = Bench(others_place, Account(65534, 65534, ()))
        assert bench.run("id -G > seen").exit_code == 0
        assert bench.file("work/seen").split() == ["65534"]
    finally:
        os.setgroups(before)


def test_a_jobs_output_is_in_its_result_and_in_no_line_of_the_workers_log(control: Control, tmp_path: Path) -> None:
    worker = Worker(tmp_path, control, sys.executable)
    try:
        worker.start()
        control.queued.append(lease(command=["/bin/sh", "-c", "echo hunter2; exit 3"]))
        assert control.finished()["error"] == "hunter2"
    finally:
        worker.close()
    said = (tmp_path / "log").read_text()
    assert '"event": "ended"' in said
    assert "hunter2" not in said
