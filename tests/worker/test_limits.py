"""A job's share of the instance. The kernel's tree is a directory here: what is written where is what is shown."""

import shutil
from pathlib import Path

import pytest

from tests.worker.bench import Bench
from worker.limits import Allotment, Limits, limits


def tree(place: Path, controllers: str = "cpuset cpu io memory pids") -> tuple[Path, Path]:
    """(root, the file that names the worker's group)."""
    unit = place / "root" / "system.slice" / "lowtide-worker.service"
    unit.mkdir(parents=True)
    (unit / "cgroup.controllers").write_text(controllers)
    own = place / "own"
    own.write_text("1:name=systemd:/x\n0::/system.slice/lowtide-worker.service\n")
    return place / "root", own


def test_the_worker_moves_into_a_leaf_and_divides_its_own_group(tmp_path: Path) -> None:
    root, own = tree(tmp_path)
    limits(lambda event, **_: None, memory_mib=1024, vcpus=4, root=root, own=own)
    unit = root / "system.slice/lowtide-worker.service"
    assert (unit / "cgroup.subtree_control").read_text() == "+cpu +memory"
    assert (unit / "worker" / "cgroup.procs").read_text().isdigit()
    own.write_text("0::/system.slice/lowtide-worker.service/worker\n")
    made = limits(lambda event, **_: None, memory_mib=1024, vcpus=4, root=root, own=own)
    assert made.group("job", made.share(0.5)) is not None, "a restarted worker finds its unit's group again"
    assert (unit / "job" / "memory.max").exists()


@pytest.mark.parametrize("why", ["no tree", "no controller", "the root group"])
def test_where_there_are_no_limits_the_log_says_why_and_jobs_run(tmp_path: Path, why: str) -> None:
    said: dict[str, str] = {}
    root, own = tree(tmp_path, "pids" if why == "no controller" else "cpu memory")
    if why == "the root group":
        own.write_text("0::/\n")
    found = limits(
        lambda event, **fields: said.update(event=event, **fields),
        memory_mib=1024,
        vcpus=4,
        root=tmp_path / "nowhere" if why == "no tree" else root,
        own=own,
    )
    assert said["event"] == "jobs-without-limits"
    assert said["why"]
    assert found.group("job", found.share(1.0)) is None


def test_a_share_bounds_memory_and_weighs_cpu(tmp_path: Path) -> None:
    made = Limits(tmp_path, memory_mib=1024, vcpus=4)
    made.group("half", made.share(0.5))
    made.group("auxiliary", made.share(0.0))
    assert (tmp_path / "half/memory.max").read_text() == str(512 * 2**20)
    assert (tmp_path / "half/cpu.weight").read_text() == "5000"
    assert (tmp_path / "half/memory.oom.group").read_text() == "1"
    assert (tmp_path / "auxiliary/cpu.weight").read_text() == "100"
    assert not (tmp_path / "auxiliary/memory.max").exists()


def test_named_resources_bound_memory_and_weigh_cpu_each_by_itself(tmp_path: Path) -> None:
    made = Limits(tmp_path, memory_mib=1024, vcpus=4)
    made.group("job", made.named(3.0, 256))
    assert (tmp_path / "job/memory.max").read_text() == str(256 * 2**20)
    assert (tmp_path / "job/cpu.weight").read_text() == "7500"


def test_nothing_is_given_beyond_what_the_instance_really_has(tmp_path: Path) -> None:
    made = Limits(tmp_path, memory_mib=1000, vcpus=4)
    assert made.named(8.0, 1024) == Allotment(4.0, 1000 * 2**20)


def test_a_job_is_in_its_group_before_its_first_instruction(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    groups.mkdir()
    bench = Bench(tmp_path / "state", cgroups=groups)
    attempt = bench.started(
        "cat $GROUPS_PLACE/*/cgroup.procs > seen; echo ' '$$ >> seen; touch $TMPDIR/ready; cat",
        env={"GROUPS_PLACE": str(groups)},
    )
    assert bench.outcome(attempt).exit_code == 0, "its standard input is empty, not the worker's"
    in_group, own = bench.file("work/seen").split()
    assert in_group == own


def test_an_ended_jobs_group_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's own directory goes by rmdir; here there are files in it."""
    groups = tmp_path / "groups"
    groups.mkdir()
    monkeypatch.setattr(Path, "rmdir", lambda place: shutil.rmtree(place))  # pyright: ignore[reportUnknownLambdaType]
    bench = Bench(tmp_path / "state", cgroups=groups)
    bench.run("true")
    assert list(groups.iterdir()) == []


def test_out_of_memory_is_told_apart_from_other_failures(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    groups.mkdir()
    bench = Bench(tmp_path / "state", cgroups=groups)
    attempt = bench.started("touch $TMPDIR/ready; sleep 0.3; kill -KILL $$")
    (group,) = groups.iterdir()
    (group / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\n")
    found = bench.outcome(attempt)
    assert (found.signal, found.out_of_memory) == (9, True)
    assert found.body(attempt.key)["out_of_memory"] is True


def test_a_job_that_goes_on_after_one_of_its_processes_was_ended_for_memory_has_not_failed(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    groups.mkdir()
    bench = Bench(tmp_path / "state", cgroups=groups)
    attempt = bench.started("touch $TMPDIR/ready; sleep 0.3")
    (group,) = groups.iterdir()
    (group / "memory.events").write_text("oom_kill 1\n")
    found = bench.outcome(attempt)
    assert (found.exit_code, found.out_of_memory) == (0, False)


def test_a_command_that_does_not_exist_ends_with_127_in_a_group_too(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    groups.mkdir()
    found = Bench(tmp_path / "state", cgroups=groups).run("", command=["/no/such/program"])
    assert found.exit_code == 127
