"""One attempt as real processes: every way in which it can end."""

import json
import os
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.worker.bench import READY, STREAM, Bench, until
from tests.worker.control import Control, lease
from worker import processes
from worker.imds import Notice
from worker.isolation import Account
from worker.leases import Key, Lease, NeverStarted, Stop
from worker.pace import Reserve
from worker.ports import Terms


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.runner.clear_leftovers()


def test_a_job_that_exits_0_ends_with_0(bench: Bench) -> None:
    found = bench.run("true")
    assert (found.exit_code, found.signal, found.stopped, found.done, found.error) == (0, None, None, False, None)


def test_a_job_that_fails_tells_its_code_and_the_end_of_its_output(bench: Bench) -> None:
    found = bench.run("echo working; echo no luck >&2; exit 3")
    assert (found.exit_code, found.signal, found.error) == (3, None, "working\nno luck")


def test_a_job_that_dies_of_a_signal_tells_the_signal(bench: Bench) -> None:
    found = bench.run("kill -SEGV $$")
    assert (found.exit_code, found.signal) == (None, signal.SIGSEGV)


def test_a_command_that_does_not_exist_ends_with_127(bench: Bench) -> None:
    found = bench.run("", command=["/no/such/program"])
    assert found.exit_code == 127
    assert "/no/such/program" in found.error


def test_a_command_that_is_no_program_ends_with_126(bench: Bench) -> None:
    assert bench.run("", command=["/etc/passwd"]).exit_code == 126


def test_the_time_that_earlier_attempts_used_counts_towards_the_timeout(bench: Bench) -> None:
    found = bench.run("exec sleep 60", timeout_seconds=3600.0, used_seconds=3599.8)
    assert (found.signal, found.stopped) == (signal.SIGTERM, Stop.TIMED_OUT)
    body = found.body(Key("job-1", 1))
    assert (body["timed_out"], body["interrupted"]) == (True, False)


def test_a_job_that_ignores_sigterm_is_killed_when_its_grace_is_over(bench: Bench) -> None:
    attempt = bench.started(f"trap '' TERM; {READY}; while :; do sleep 0.05; done")
    attempt.stop(Stop.INTERRUPTED, kill_after=0.3)
    found = bench.outcome(attempt)
    assert (found.signal, found.stopped) == (signal.SIGKILL, Stop.INTERRUPTED)


def test_a_notice_brings_the_kill_of_an_earlier_stop_forward(bench: Bench) -> None:
    attempt = bench.started(f"trap '' TERM; {READY}; while :; do sleep 0.05; done")
    attempt.stop(Stop.CANCELLED, kill_after=60.0)
    attempt.stop(Stop.INTERRUPTED, kill_after=0.1)
    assert bench.outcome(attempt).stopped is Stop.CANCELLED


@pytest.mark.parametrize(
    ("at_term", "code", "number", "done"),
    [
        ("exit 0", 0, None, False),
        ("echo yes > $LOWTIDE_DONE_FILE; exit 0", 0, None, True),
        ("exit 1", 1, None, False),
        ("exit 143", 143, None, False),
        ("trap - TERM; kill -TERM $$", None, signal.SIGTERM, False),
    ],
)
def test_an_interrupted_job_tells_how_it_ended_and_whether_it_was_done(
    bench: Bench, at_term: str, code: int | None, number: int | None, done: bool
) -> None:
    attempt = bench.started(f"trap '{at_term}' TERM; {READY}; while :; do sleep 0.02; done")
    attempt.stop(Stop.INTERRUPTED)
    body = bench.outcome(attempt).body(attempt.key)
    assert (body["interrupted"], body["exit_code"], body["signal"], body["done"]) == (True, code, number, done)


def test_an_empty_done_file_says_nothing(bench: Bench) -> None:
    assert bench.run(": > $LOWTIDE_DONE_FILE").done is False


def test_every_process_of_a_job_gets_the_sigterm(bench: Bench) -> None:
    attempt = bench.started(
        f"(trap 'touch $TMPDIR/told; exit' TERM; {READY}; while :; do sleep 0.02; done) & trap : TERM; wait; wait"
    )
    attempt.stop(Stop.INTERRUPTED)
    bench.outcome(attempt)
    assert list(bench.state.glob("jobs/*/*/tmp/told"))


@pytest.mark.skipif(sys.platform != "linux", reason="processes outside the group are found through /proc")
def test_nothing_of_a_job_outlives_it_even_in_a_session_of_its_own(bench: Bench) -> None:
    bench.run("setsid sleep 300 & (setsid sh -c 'sleep 300; true' &) ; exit 0")
    assert processes.running_under(bench.state) == []


def test_a_job_sees_its_own_environment_and_nothing_of_the_workers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDSECRET")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
    bench.run("env > seen", env={"SEED": "1", "LOWTIDE_JOB_ID": "forged"}, attempt=3)
    seen = dict(line.split("=", 1) for line in bench.file("work/seen").splitlines())
    expected = {"SEED": "1", "LOWTIDE_JOB_ID": "job-1", "LOWTIDE_POOL": "cpu", "LOWTIDE_ATTEMPT": "3"}
    assert expected.items() <= seen.items()
    assert Path(seen["LOWTIDE_CHECKPOINT_DIR"]).is_dir()
    assert not [name for name in seen if name.startswith("AWS")]
    files = {"LOWTIDE_CHECKPOINT_DIR", "LOWTIDE_DONE_FILE", "LOWTIDE_NOTICE_FILE", "LOWTIDE_PROGRESS_FILE"}
    assert set(seen) <= {*expected, *files} | {*("PATH", "LANG", "HOME", "TMPDIR", "PWD", "_", "SHLVL", "OLDPWD")}


def test_a_job_sees_the_gpus_that_are_its_own(tmp_path: Path) -> None:
    bench = Bench(tmp_path, gpus=4)
    bench.run("echo $CUDA_VISIBLE_DEVICES > seen", devices=(1, 3))
    assert bench.file("work/seen") == "1,3\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")
def test_a_job_of_a_root_worker_runs_as_another_user_and_owns_its_directories() -> None:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        state.chmod(stat.S_IRWXU | stat.S_IXOTH | stat.S_IROTH)
        bench = Bench(state, Account(64917, 64917, ()))
        found = bench.run("id -u > seen; id -G >> seen; touch $LOWTIDE_CHECKPOINT_DIR/x $HOME/x $TMPDIR/x")
        assert found.exit_code == 0, found.error
        assert bench.file("work/seen") == "64917\n64917\n"


def test_a_lease_that_is_stopped_before_its_process_starts_is_given_back(
    bench: Bench, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    attempt = bench.start("true", inputs=[{"s3": "s3://b/k", "path": "."}])
    attempt.stop(Stop.INTERRUPTED)
    assert isinstance(bench.outcome(attempt), NeverStarted)


def test_a_bad_input_is_the_jobs_failure_and_its_command_never_runs(bench: Bench, control: Control) -> None:
    control.objects["/b/k"] = b"x"
    found = bench.run("touch ran", inputs=[{"s3": "s3://b/k", "path": "k", "sha256": "0" * 64}])
    assert found.exit_code is None
    assert found.error.startswith("input: s3://b/k")
    assert not list(bench.state.rglob("ran"))


def test_what_an_attempt_leaves_on_the_instance_is_removed(bench: Bench) -> None:
    attempt = bench.start("echo kept")
    bench.outcome(attempt)
    attempt.forget()
    assert not list(bench.state.glob("jobs/*"))
    assert not list(bench.state.glob("spools/*"))


def test_a_new_worker_ends_the_jobs_of_the_one_before(bench: Bench) -> None:
    attempt = bench.started(f"{READY}; exec sleep 300")
    assert bench.runner.clear_leftovers() == [("job-1", 1)]
    assert bench.outcome(attempt).signal == signal.SIGKILL
    assert processes.running_under(bench.state) == []


def test_what_a_job_writes_is_in_cloudwatch_when_its_end_is_reported(bench: Bench) -> None:
    bench.run("echo out; echo err >&2; (sleep 0.2; echo late) & wait; printf end")
    assert bench.logs.text(STREAM) == "out\nerr\nlate\nend"


def test_the_checkpoint_of_an_attempt_is_there_again_on_the_next_wherever_that_runs(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bench.run("echo 1 > $LOWTIDE_CHECKPOINT_DIR/step; exit 3")
    other = Bench(tmp_path_factory.mktemp("other"))
    other.store = other.runner.store = bench.store
    other.run("cat $LOWTIDE_CHECKPOINT_DIR/step > seen; echo 2 >> $LOWTIDE_CHECKPOINT_DIR/step", fence=2, attempt=2)
    assert other.file("work/seen") == "1\n"
    assert "1 files of the checkpoint are there again" in other.logs.text("cpu/job-1/2")


def test_a_checkpoint_is_saved_while_the_job_runs(bench: Bench) -> None:
    bench.started(f"echo 1 > $LOWTIDE_CHECKPOINT_DIR/step; {READY}; exec sleep 60")
    until(lambda: any("/data/" in key for key in bench.store.objects))


def test_a_notice_is_passed_on_stops_the_job_and_saves_at_once_and_after_its_end(bench: Bench) -> None:
    bench.runner.now = lambda: datetime.now(UTC)
    script = "echo 2 > $LOWTIDE_CHECKPOINT_DIR/last; cat $LOWTIDE_NOTICE_FILE > seen; exit 0"
    slow = Terms(4, 0, 30.0, 5.0, checkpoint=3600.0, reserve=Reserve(1.0, 3.0))
    command = ["/bin/sh", "-c", f"trap '{script}' TERM; {READY}; while :; do sleep 0.02; done"]
    attempt = bench.runner.start(Lease.parse(lease(command=command)), (), slow)
    until(lambda: list(bench.state.glob("jobs/*/*/tmp/ready")))
    attempt.warn(Notice("interruption", datetime(2026, 11, 23, 15, tzinfo=UTC)), 12.0)
    assert bench.outcome(attempt).body(attempt.key)["interrupted"] is True
    assert json.loads(bench.file("work/seen")) == {"kind": "interruption", "at": "2026-11-23T15:00:00.000000Z"}
    assert any("/data/" in key for key in bench.store.objects), "saved after its end, long before the period"


def test_a_rebalance_recommendation_is_a_file_and_stops_nothing(bench: Bench) -> None:
    script = f"{READY}; while [ ! -e $LOWTIDE_NOTICE_FILE ]; do sleep 0.02; done; cp $LOWTIDE_NOTICE_FILE seen"
    attempt = bench.started(script)
    attempt.warn(Notice("rebalance", datetime(2026, 11, 23, 15, tzinfo=UTC)), 0.0)
    found = bench.outcome(attempt)
    assert (found.exit_code, found.stopped) == (0, None)
    assert json.loads(bench.file("work/seen"))["kind"] == "rebalance"


def test_a_job_that_ignores_a_notice_is_killed_the_reserve_before_the_end(bench: Bench) -> None:
    attempt = bench.started(f"trap '' TERM; {READY}; while :; do sleep 0.02; done")
    began = time.monotonic()
    attempt.warn(Notice("interruption", datetime.now(UTC)), 1.0)
    found = bench.outcome(attempt)
    assert (found.signal, found.stopped) == (signal.SIGKILL, Stop.INTERRUPTED)
    assert time.monotonic() - began >= 0.6


def test_a_lost_lease_publishes_nothing(bench: Bench) -> None:
    attempt = bench.started(
        f"trap 'echo x > $LOWTIDE_CHECKPOINT_DIR/x; exit 0' TERM; {READY}; while :; do sleep 0.02; done"
    )
    attempt.stop(Stop.LEASE_LOST)
    bench.outcome(attempt)
    assert not [key for key in bench.store.objects if "/data/" in key]


def test_a_job_does_not_begin_without_its_checkpoint(bench: Bench) -> None:
    def away(_operation: str, _key: str) -> None:
        raise OSError("S3 is gone")

    bench.store.before = away
    assert isinstance(bench.run("true"), NeverStarted)


def test_a_last_save_that_fails_changes_no_result(bench: Bench) -> None:
    def away(_operation: str, key: str) -> None:
        if "/data/" in key:
            raise OSError("S3 is gone")

    bench.store.before = away
    found = bench.run("echo x > $LOWTIDE_CHECKPOINT_DIR/x")
    assert found.exit_code == 0
    assert "could not be saved" in bench.logs.text(STREAM)


def test_a_checkpoint_too_large_for_its_last_save_is_warned_of(bench: Bench) -> None:
    def slow(operation: str, key: str) -> None:
        if operation == "put" and "/data/" in key:
            time.sleep(0.4)

    bench.store.before = slow
    bench.run("head -c 3000000 /dev/urandom > $LOWTIDE_CHECKPOINT_DIR/model; sleep 1.5")
    assert "would not fit" in bench.logs.text(STREAM)


def test_environment_values_are_in_no_line_of_the_workers_log(bench: Bench) -> None:
    said: list[str] = []
    bench.runner.log = lambda event, **fields: said.append(f"{event} {fields}")
    bench.run("true", env={"PASSWORD": "hunter2-hunter2"})
    bench.run("", command=["/no/such", "--token"], env={"PASSWORD": "hunter2-hunter2"}, fence=2)
    assert "hunter2" not in "".join(said)


def test_a_job_says_how_far_it_is_and_the_worker_what_its_last_save_kept(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    ended = bench.run("echo 0.25 > $LOWTIDE_PROGRESS_FILE; echo 1 > $LOWTIDE_CHECKPOINT_DIR/last")
    assert (ended.standing["progress"], ended.standing["saved_progress"]) == ("0.250", "0.250")
    assert 0 <= float(ended.standing["saved_seconds"]) <= float(ended.standing["ran_seconds"]) < 60
    assert ended.body(Key("job-1", 1))["standing"] == ended.standing


def test_a_job_that_saves_nothing_and_says_nothing_is_told_to_have_run(tmp_path: Path) -> None:
    assert set(Bench(tmp_path).run("true").standing) == {"ran_seconds"}


@pytest.mark.parametrize(
    "script",
    [
        "echo 1.5 > $LOWTIDE_PROGRESS_FILE",
        "echo nan > $LOWTIDE_PROGRESS_FILE",
        "echo half > $LOWTIDE_PROGRESS_FILE",
        "ln -s /proc/self/stat $LOWTIDE_PROGRESS_FILE",
        "mkfifo $LOWTIDE_PROGRESS_FILE",
        "mkdir $LOWTIDE_PROGRESS_FILE",
    ],
)
def test_what_is_no_number_from_0_to_1_in_a_file_of_its_own_is_no_progress(tmp_path: Path, script: str) -> None:
    assert "progress" not in Bench(tmp_path).run(script).standing
