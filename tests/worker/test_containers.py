"""Attempts in a container, by a stand-in for its engine (lowtide/hosts/container_engine.py says what is true of it)."""

import json
import os
import shlex
import shutil
import signal
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lowtide.hosts import container_engine
from tests.worker.bench import READY, STREAM, Bench, until
from worker import containers, job, processes
from worker.containers import NO_ENGINE, Engine, Unusable, container_name, find_engine
from worker.imds import Notice
from worker.isolation import Account
from worker.leases import Key, NeverStarted, Stop

IMAGE = "registry.example/train:1"


class Engines:
    """A directory of programs that is the whole PATH of engines."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()

    def install(self, name: str = "docker") -> None:
        shutil.copyfile(container_engine.__file__, self.place / "container_engine.py")
        self.script(name, 'exec STANDIN "$@"')

    def script(self, name: str, text: str) -> None:
        """`STANDIN "$@"` in it is the stand-in itself."""
        standin = f"{sys.executable} -IS {self.place}/container_engine.py"
        (self.place / name).write_text(f"#!/bin/sh\n{text.replace('STANDIN', standin)}\n")
        (self.place / name).chmod(0o755)

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.place / "engine/calls").read_text().splitlines()]

    @property
    def run(self) -> list[str]:
        return next(call for call in self.calls if call[0] == "run")

    @property
    def left(self) -> list[Path]:
        return list(self.place.glob("engine/containers/*"))


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engines:
    made = Engines(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{made.place}:/usr/bin:/bin")
    return made


@pytest.fixture
def bench(tmp_path: Path, engines: Engines) -> Iterator[Bench]:
    engines.install()
    made = Bench(tmp_path / "state")
    yield made
    made.runner.clear_leftovers()


def test_a_job_with_an_image_runs_in_it_as_one_on_the_host_would(bench: Bench, engines: Engines) -> None:
    script = "pwd > seen; echo $SEED $LOWTIDE_JOB_ID >> seen; echo 1 > $LOWTIDE_CHECKPOINT_DIR/step; echo hello"
    found = bench.run(script, image=IMAGE, env={"SEED": "7"})
    assert (found.exit_code, found.error) == (0, None)
    work, rest = bench.file("work/seen").splitlines()
    assert (Path(work).name, rest) == ("work", "7 job-1")
    assert bench.logs.text(STREAM) == "hello"
    assert any("/data/" in key for key in bench.store.objects), "its checkpoint is saved"
    assert ["pull", "--quiet", IMAGE] in engines.calls


def test_nothing_is_left_of_a_container_that_ended(bench: Bench, engines: Engines) -> None:
    bench.run("exit 3", image=IMAGE)
    assert engines.left == []


def test_a_container_has_no_rights_and_the_attempts_directory(bench: Bench, engines: Engines) -> None:
    bench.run("true", image=IMAGE)
    place = next(bench.state.glob("jobs/*/*"))
    assert {
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--network=host",
        "--init",
        "--log-driver=none",
        f"--user={os.getuid()}:{os.getgid()}",
        f"--mount=type=bind,source={place},target={place}",
        f"--workdir={place}/work",
    } <= set(engines.run)
    assert not [option for option in engines.run if option.startswith(("--privileged", "--volume"))]


@pytest.mark.parametrize("slots", [1, 2])
def test_a_container_has_the_share_of_its_slots(bench: Bench, engines: Engines, slots: int) -> None:
    bench.run("true", image=IMAGE, slots=slots)
    held = 1024 // 4 * slots * 2**20
    wanted = {f"--cpus={slots:.2f}", f"--memory={held}", f"--memory-swap={held}", f"--shm-size={held // 2}"}
    assert wanted <= set(engines.run)


def test_an_auxiliary_container_has_no_bound_and_little_weight(bench: Bench, engines: Engines) -> None:
    bench.run("true", image=IMAGE, slots=0)
    assert "--cpu-shares=10" in engines.run
    assert not [option for option in engines.run if option.startswith(("--cpus", "--memory"))]


@pytest.mark.parametrize(
    ("engine", "options"),
    [
        ("docker", ['--gpus="device=1,3"']),
        ("podman", ["--device=nvidia.com/gpu=1", "--device=nvidia.com/gpu=3"]),
    ],
)
def test_a_container_has_its_gpus_and_counts_them_from_0(
    tmp_path: Path, engines: Engines, engine: str, options: list[str]
) -> None:
    engines.install(engine)
    bench = Bench(tmp_path / "state", gpus=4)
    bench.run("echo $CUDA_VISIBLE_DEVICES > seen", devices=(1, 3), image=IMAGE)
    assert bench.file("work/seen") == "0,1\n"
    assert [option for option in engines.run if option.startswith(("--gpus", "--device"))] == options


def test_a_container_without_gpus_gets_none_even_of_an_image_that_asks_for_all(
    tmp_path: Path, engines: Engines
) -> None:
    engines.install()
    bench = Bench(tmp_path / "state", gpus=4)
    bench.run('echo "$CUDA_VISIBLE_DEVICES,$NVIDIA_VISIBLE_DEVICES" > seen', slots=0, image=IMAGE)
    assert bench.file("work/seen") == ",void\n"
    assert not [option for option in engines.run if option.startswith(("--gpus", "--device"))]


def test_values_of_variables_are_on_no_command_line_and_in_no_file(bench: Bench, engines: Engines) -> None:
    value = "hunter2 'quoted' # $HOME = ü"
    bench.run('printf %s "$PASSWORD" > seen', image=IMAGE, env={"PASSWORD": value})
    assert bench.file("work/seen") == value
    assert "hunter2" not in json.dumps(engines.calls)
    work = next(bench.state.rglob("seen"))
    holding = [p for p in (*bench.state.rglob("*"), *engines.place.rglob("*")) if p.is_file() and p != work]
    assert not [p for p in holding if b"hunter2" in p.read_bytes()]


@pytest.mark.parametrize("value", ["two\nlines\n", "carriage\r", "x" * 100_000])
def test_values_that_no_line_of_a_file_can_hold_arrive_whole(bench: Bench, value: str) -> None:
    bench.run('printf %s "$VALUE" > seen', image=IMAGE, env={"VALUE": value})
    assert next(bench.state.rglob("seen")).read_bytes() == value.encode()


HEEDED = ["DOCKER_HOST", "PATH", "LD_PRELOAD"]


@pytest.mark.parametrize("name", HEEDED)
def test_a_jobs_variable_reaches_its_container_and_never_the_client(
    bench: Bench, engines: Engines, name: str, tmp_path: Path
) -> None:
    engines.script("docker", f'env > {tmp_path}/client.$$; exec STANDIN "$@"')
    value = f"/nowhere:{os.environ['PATH']}" if name == "PATH" else "/nowhere"
    bench.run(f'printf %s "${name}" > seen', image=IMAGE, env={name: value})
    assert bench.file("work/seen") == value
    told = [line for file in tmp_path.glob("client.*") for line in file.read_text().splitlines()]
    assert told
    assert not [line for line in told if "/nowhere" in line]


@pytest.mark.parametrize("name", [*HEEDED, "https_proxy", "XDG_CONFIG_HOME", "AWS_PROFILE"])
def test_a_name_that_the_client_heeds_takes_no_value_of_several_lines(
    bench: Bench, engines: Engines, name: str
) -> None:
    found = bench.run("true", image=IMAGE, env={name: "/evil.so\n"})
    assert (found.exit_code, found.error.partition(" ")[0]) == (None, name)
    assert not [call for call in engines.calls if call[0] == "run"]


def test_an_instance_without_an_engine_fails_the_attempt_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = Bench(tmp_path / "state").run("true", image=IMAGE)
    assert (found.exit_code, found.stopped, found.error) == (None, None, NO_ENGINE)


def test_docker_is_taken_before_podman(engines: Engines) -> None:
    engines.install("podman")
    assert find_engine() is not None
    engines.install("docker")
    bench = Bench(engines.place.parent / "state", gpus=1)
    bench.run("true", image=IMAGE, devices=(0,))
    assert '--gpus="device=0"' in engines.run


# --- how it ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1, 125, 126, 127])
def test_a_containers_own_exit_code_is_the_jobs(bench: Bench, code: int) -> None:
    found = bench.run(f"echo no luck; exit {code}", image=IMAGE)
    assert (found.exit_code, found.error) == (code, "no luck")


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [("/no/such/program", 127, "No such file"), ("/etc/passwd", 126, "Permission denied")],
)
def test_a_command_that_its_image_cannot_run_is_the_jobs_failure(
    bench: Bench, command: str, code: int, words: str
) -> None:
    found = bench.run("", command=[command], image=IMAGE)
    assert (found.exit_code, words in found.error) == (code, True)


def test_an_engine_that_fails_gives_the_lease_back_and_fails_it_in_the_end(
    bench: Bench, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "ENGINE_TRIES", 2)
    engines.script("docker", '[ "$1" != run ] || { echo Cannot connect to the daemon >&2; exit 125; }; STANDIN "$@"')
    given_back = bench.run("true", image=IMAGE)
    assert isinstance(given_back, NeverStarted)
    assert given_back.reason == "the container engine failed: its client ended with 125"
    assert "Cannot connect to the daemon" in bench.logs.text(STREAM)
    found = bench.run("true", image=IMAGE, fence=2)
    assert found.exit_code is None
    assert found.error.endswith("2 times in a row on this instance: Cannot connect to the daemon")


@pytest.mark.parametrize("state", ["running false 0", "exited false 137"])
def test_an_engine_that_ends_before_its_container_has_failed_and_not_the_job(
    bench: Bench, engines: Engines, state: str
) -> None:
    """dockerd that is restarted: its client ends with 125, and the container runs on or was ended with it."""
    scripts = {"run": "exit 125", "inspect": f'[ "$2" != --type=container ] || {{ echo {state}; exit 0; }}'}
    engines.script(
        "docker", f'case "$1" in {"".join(f"{verb}) {text};; " for verb, text in scripts.items())}esac; STANDIN "$@"'
    )
    assert isinstance(bench.run("true", image=IMAGE), NeverStarted)


def test_an_attempt_that_is_given_back_saves_nothing_any_more(bench: Bench, engines: Engines) -> None:
    before = set(threading.enumerate())
    engines.script("docker", '[ "$1" != run ] || exit 125; STANDIN "$@"')
    bench.run("true", image=IMAGE)
    saving = [t for t in threading.enumerate() if t not in before and t.name == "checkpoint"]
    until(lambda: not [thread for thread in saving if thread.is_alive()])


def test_an_engine_that_worked_in_between_has_not_failed_in_a_row(bench: Bench, engines: Engines) -> None:
    assert [bench.runner.engine_failed(), bench.runner.engine_failed()] == [1, 2]
    bench.run("true", image=IMAGE)
    assert bench.runner.engine_failed() == 1


def test_sigterm_reaches_every_process_and_the_job_may_end_in_its_own_way(bench: Bench, engines: Engines) -> None:
    script = f"(trap 'touch $TMPDIR/told; exit' TERM; {READY}; while :; do sleep 0.02; done) & trap : TERM; wait; wait"
    attempt = bench.started(script, image=IMAGE)
    attempt.stop(Stop.INTERRUPTED)
    found = bench.outcome(attempt)
    assert (found.body(Key("job-1", 1))["interrupted"], found.exit_code) == (True, 0)
    assert list(bench.state.glob("jobs/*/*/tmp/told"))
    assert engines.left == []


def test_a_container_that_ignores_sigterm_is_killed_when_its_grace_is_over(bench: Bench, engines: Engines) -> None:
    attempt = bench.started(f"trap '' TERM; {READY}; while :; do sleep 0.05; done", image=IMAGE)
    attempt.stop(Stop.CANCELLED, kill_after=0.2)
    found = bench.outcome(attempt)
    assert (found.exit_code, found.stopped) == (128 + signal.SIGKILL, Stop.CANCELLED)
    assert engines.left == []


def test_an_engine_that_no_longer_answers_does_not_keep_a_job_alive(
    bench: Bench, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "KILL_SECONDS", 0.3)
    attempt = bench.started(f"trap '' TERM; {READY}; while :; do sleep 0.05; done", image=IMAGE)
    engines.script("docker", "exit 1")
    attempt.stop(Stop.INTERRUPTED, kill_after=0.1)
    assert bench.outcome(attempt).stopped is Stop.INTERRUPTED
    assert processes.running_under(bench.state) == []


def test_a_stop_while_the_container_is_being_made_is_not_lost(bench: Bench, engines: Engines, tmp_path: Path) -> None:
    waiting = f"touch {tmp_path}/asked; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"
    engines.script("docker", f'if [ "$1" = run ]; then {waiting}; fi; exec STANDIN "$@"')
    attempt = bench.start("trap 'exit 9' TERM; while :; do sleep 0.02; done", image=IMAGE)
    until((tmp_path / "asked").exists)
    attempt.stop(Stop.INTERRUPTED, kill_after=30.0)
    (tmp_path / "go").touch()
    found = bench.outcome(attempt)
    assert (found.stopped, found.exit_code in (9, 128 + signal.SIGTERM)) == (Stop.INTERRUPTED, True)


def test_a_notice_is_passed_on_to_a_container(bench: Bench) -> None:
    attempt = bench.started(
        f"trap 'cp $LOWTIDE_NOTICE_FILE seen; exit 0' TERM; {READY}; while :; do sleep 0.02; done", image=IMAGE
    )
    attempt.warn(Notice("interruption", datetime(2026, 11, 23, 15, tzinfo=UTC)), 12.0)
    bench.outcome(attempt)
    assert json.loads(bench.file("work/seen"))["kind"] == "interruption"


def test_a_container_ends_when_its_timeout_is_over(bench: Bench) -> None:
    found = bench.run("exec sleep 60", image=IMAGE, timeout_seconds=3600.0, used_seconds=3599.8)
    assert (found.stopped, found.exit_code) == (Stop.TIMED_OUT, 128 + signal.SIGTERM)


@pytest.mark.skipif(sys.platform != "linux", reason="the stand-in reads /proc for what a process holds")
def test_a_container_that_outgrows_its_memory_says_so(bench: Bench) -> None:
    hungry = f"import time; x = bytearray({300 * 2**20}); time.sleep(60)"
    found = bench.run(f"{shlex.quote(sys.executable)} -c '{hungry}'", image=IMAGE)
    assert (found.exit_code, found.out_of_memory) == (128 + signal.SIGKILL, True)


# --- its image --------------------------------------------------------------------------------------------------------


class Fetching:
    """An engine whose every try of a pull ends with `status` after saying so, and is counted."""

    def __init__(self, engines: Engines, status: str) -> None:
        engines.install()
        self.tries = engines.place / "tries"
        failing = f"echo try >> {self.tries}; echo 'manifest unknown' >&2; {status}"
        engines.script("docker", f'if [ "$1" = pull ]; then {failing}; fi; exec STANDIN "$@"')
        self.engine = Engine(str(engines.place / "docker"), pauses=(0.0, 0.0))

    def count(self) -> int:
        return self.tries.read_text().count("try") if self.tries.exists() else 0


def test_an_image_that_cannot_be_pulled_fails_the_attempt_with_the_engines_words(engines: Engines) -> None:
    fetching = Fetching(engines, "exit 1")
    with pytest.raises(Unusable, match=r"image gone:1 cannot be pulled \(manifest unknown\): check its name"):
        fetching.engine.fetch("gone:1", lambda: False)
    assert fetching.count() == 3


def test_such_an_attempt_never_had_a_process(tmp_path: Path, engines: Engines) -> None:
    fetching = Fetching(engines, "exit 1")
    bench = Bench(tmp_path / "state")
    bench.runner.engine = lambda: fetching.engine
    found = bench.run("touch ran", image="gone:1")
    assert (found.exit_code, found.signal, found.stopped) == (None, None, None)
    assert not list(bench.state.rglob("ran"))


@pytest.mark.parametrize(
    ("image", "pulls"),
    [("here:1", 0), ("r:5000/here@sha256:0", 0), ("here", 1), ("r:5000/here", 1), ("here:latest", 1)],
)
def test_an_image_that_is_there_is_pulled_again_only_where_its_tag_moves_and_used_if_that_fails(
    engines: Engines, image: str, pulls: int
) -> None:
    fetching = Fetching(engines, "exit 1")
    held = container_engine.Store(engines.place / "engine")
    held.image(image).parent.mkdir(parents=True)
    held.image(image).touch()
    fetching.engine.fetch(image, lambda: False)
    assert fetching.count() == pulls


def test_a_pull_is_not_the_jobs_time_and_ends_when_the_attempt_is_stopped(tmp_path: Path, engines: Engines) -> None:
    fetching = Fetching(engines, "exec sleep 300")
    bench = Bench(tmp_path / "state")
    attempt = bench.start("true", image=IMAGE)
    until(lambda: fetching.count())
    attempt.stop(Stop.INTERRUPTED)
    found = bench.outcome(attempt)
    assert found == NeverStarted("stopped before it started")


def test_an_image_is_never_an_option_of_the_client(engines: Engines) -> None:
    engines.install()
    with pytest.raises(Unusable, match="no image's name"):
        Engine(str(engines.place / "docker")).fetch("--privileged", lambda: False)


# --- what an earlier worker left --------------------------------------------------------------------------------------


def test_a_new_worker_removes_the_containers_of_the_one_before(bench: Bench, engines: Engines) -> None:
    attempt = bench.started(f"{READY}; exec sleep 300", image=IMAGE)
    assert bench.runner.clear_leftovers() == [("job-1", 1)]
    bench.outcome(attempt)
    assert engines.left == []
    assert processes.running_under(bench.state) == []


def test_names_of_containers_are_an_engines_and_differ_by_attempt_and_instance() -> None:
    names = {
        container_name(name, fence, Path(place) / name / str(fence))
        for name in ("a:b", "a-b", "x" * 128)
        for fence in (1, 2)
        for place in ("/one", "/two")
    }
    assert len(names) == 12
    assert all(name.startswith("lowtide-") and set(":/ ").isdisjoint(name) for name in names)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")
def test_a_container_of_a_root_worker_runs_as_the_jobs_user(engines: Engines) -> None:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        state.chmod(stat.S_IRWXU | stat.S_IXOTH | stat.S_IROTH)
        engines.install()
        bench = Bench(state, Account(64917, 64917, ()))
        found = bench.run("id -u > seen; touch $LOWTIDE_CHECKPOINT_DIR/x $HOME/x", image=IMAGE)
        assert found.exit_code == 0, found.error
        assert bench.file("work/seen") == "64917\n"
        assert "--user=64917:64917" in engines.run
