"""Instances as real processes, in every way that this machine permits."""

import contextlib
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from lowtide.hosts import Hosts, end_orphans
from lowtide.hosts.guests import Guests, Rewritten, rewritten
from tests.worker.control import Instance

Make = Callable[..., Hosts]
ID = Instance().instance_id


@pytest.fixture(params=["root", "user", "rewritten"])
def hosts(request: pytest.FixtureRequest, permitted: dict[str, Guests], make_hosts: Make) -> Hosts:
    if request.param not in permitted:
        pytest.skip(f"this machine permits no guests by way of {request.param!r}")
    return make_hosts(permitted[request.param])


def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.02)


def launch(hosts: Hosts, script: str, **changes: Any) -> None:
    hosts.launch(Instance(user_data=b"#!/bin/bash\n" + textwrap.dedent(script).encode(), **changes))


def says(hosts: Hosts, text: str) -> None:
    until(lambda: text in hosts.console(ID))


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def commands(hosts: Hosts) -> list[list[str]]:
    found: list[list[str]] = []
    for process in hosts.processes(ID):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(process.cmdline())
    return found


def test_user_data_runs_and_its_files_stay_its_own(hosts: Hosts) -> None:
    launch(
        hosts,
        """
        mkdir -p /etc/lowtide /opt/lowtide
        echo '{"a": 1}' > /etc/lowtide/worker.json
        echo pass > /opt/lowtide/boot.py
        python3 -c 'print("config", open("/etc/lowtide/worker.json").read())'
        """,
    )
    says(hosts, 'config {"a": 1}')
    assert not Path("/etc/lowtide").exists()
    assert not Path("/opt/lowtide").exists()


def test_two_instances_share_no_file(hosts: Hosts) -> None:
    script = """
        mkdir -p /opt/lowtide
        [ -e /opt/lowtide/mark ] && echo taken || echo free
        touch /opt/lowtide/mark
        """
    launch(hosts, script)
    says(hosts, "free")
    launch(hosts, script, instance_id="i-2")
    until(lambda: "free" in hosts.console("i-2"))


def test_a_guest_has_a_small_environment_without_the_callers_credentials(hosts: Hosts) -> None:
    launch(hosts, "env; echo end")
    says(hosts, "\nend\n")
    names = {line.split("=")[0] for line in hosts.console(ID).splitlines()}
    assert names - {"end"} <= {
        *("PATH", "HOME", "LANG", "TMPDIR", "AWS_ENDPOINT_URL", "AWS_EC2_METADATA_SERVICE_ENDPOINT"),
        *("PWD", "OLDPWD", "SHLVL", "_"),
    }


def test_a_terminated_instance_leaves_no_process(hosts: Hosts) -> None:
    launch(hosts, "(setsid sh -c 'trap \"\" TERM; echo ready; while :; do sleep 1; done' &)\nsleep 1000")
    says(hosts, "ready")
    running = hosts.processes(ID)
    assert len(running) > 2
    hosts.terminate(ID)
    until(lambda: alive(running) == [])
    until(lambda: hosts.processes(ID) == [])


def test_a_terminated_instance_is_asked_to_end_before_it_is_killed(make_hosts: Make) -> None:
    hosts = make_hosts(grace=10.0)
    launch(hosts, "trap 'echo told; exit' TERM; echo ready; while :; do sleep 0.05; done")
    says(hosts, "ready")
    hosts.terminate(ID)
    says(hosts, "told")


def test_the_jobs_of_an_instance_that_ends_are_left_to_the_worker_to_tell(make_hosts: Make) -> None:
    """systemd tells a service's main process alone (KillMode=mixed): a job that died of a SIGTERM which its worker knew
    nothing of would be reported as the job's own failure."""
    hosts = make_hosts(grace=1.0)
    job = "LOWTIDE_JOB_ID=j sh -c 'trap \"echo a job was told\" TERM; echo ready; while :; do sleep 0.05; done' &"
    launch(hosts, f"trap 'echo the worker was told' TERM\n{job}\nwhile :; do sleep 0.05; done")
    says(hosts, "ready")
    hosts.terminate(ID)
    says(hosts, "the worker was told")
    until(lambda: hosts.processes(ID) == [])
    assert "a job was told" not in hosts.console(ID)


@pytest.mark.parametrize("command", ["poweroff", "shutdown -h now", "systemctl poweroff", "shutdown -P +0"])
def test_a_guest_that_powers_off_ends_and_is_reported_once(make_hosts: Make, command: str) -> None:
    hosts = make_hosts()
    told: list[str] = []
    hosts.on_shutdown = told.append
    launch(hosts, f"sleep 1000 & {command}; sleep 1000")
    until(lambda: told)
    assert told == [ID]
    assert hosts.processes(ID) == []


def test_a_terminated_instance_is_not_reported_as_powered_off(make_hosts: Make) -> None:
    hosts = make_hosts()
    told: list[str] = []
    hosts.on_shutdown = told.append
    launch(hosts, "echo ready; sleep 1000")
    says(hosts, "ready")
    hosts.terminate(ID)
    hosts.close()
    assert told == []


def test_a_scheduled_shutdown_ends_the_instance_unless_it_is_cancelled(make_hosts: Make) -> None:
    hosts = make_hosts()
    told: list[str] = []
    hosts.on_shutdown = told.append
    armed = "until [ -e $(dirname $(command -v poweroff))/../run/shutdown.pid ]; do :; done\n"
    arm = "lowtide-timer shutdown 0.3 poweroff &\n" + armed
    launch(hosts, arm + "shutdown -c; sleep 1000", instance_id="i-kept")
    launch(hosts, arm + "sleep 1000", instance_id="i-ended")
    until(lambda: told == ["i-ended"])
    time.sleep(0.5)
    assert told == ["i-ended"]


def test_a_shutdown_in_minutes_waits_for_them(make_hosts: Make) -> None:
    hosts = make_hosts()
    launch(hosts, "shutdown -h +5; sleep 1000")
    until(lambda: ["sleep", "300"] in commands(hosts))


def test_a_service_is_run_again_when_it_dies_and_not_after_it_was_stopped(hosts: Hosts) -> None:
    launch(
        hosts,
        """
        mkdir -p /opt/lowtide
        cat > /opt/lowtide/toy.service <<'END'
        [Service]
        ExecStart="/usr/bin/env" "SPACED=two words"
        WorkingDirectory=/opt/lowtide
        StateDirectory=toy
        Environment="A=b c"
        Restart=always
        RestartSec=0.05
        END
        sed -i 's/^ *//' /opt/lowtide/toy.service
        systemctl enable --now /opt/lowtide/toy.service
        console=$(dirname $(dirname $(command -v systemctl)))/console.log
        until [ $(grep -c "^SPACED=two words" $console) -gt 2 ]; do sleep 0.05; done
        systemctl stop toy && echo stopped
        systemctl is-active toy
        """,
    )
    says(hosts, "stopped\ninactive")
    seen = dict(line.split("=", 1) for line in hosts.console(ID).splitlines() if "=" in line)
    assert seen["A"] == "b c"
    assert seen["STATE_DIRECTORY"].endswith("/var/lib/toy")
    assert set(seen) <= {"A", "SPACED", "STATE_DIRECTORY", "PATH", "LANG"}


def test_an_instance_boots_after_its_delay(make_hosts: Make) -> None:
    hosts = make_hosts()
    began = time.monotonic()
    launch(hosts, "echo up", boot_delay=0.5)
    says(hosts, "up")
    assert time.monotonic() - began >= 0.5


def test_an_instance_that_is_ended_before_it_boots_never_does(make_hosts: Make) -> None:
    hosts = make_hosts()
    launch(hosts, "echo up", boot_delay=30.0)
    hosts.terminate(ID)
    hosts.close()
    assert hosts.console(ID) == ""


def test_an_instance_whose_boot_fails_runs_and_does_nothing(make_hosts: Make) -> None:
    hosts = make_hosts()
    launch(hosts, "echo up", boot_fails=True)
    until(lambda: hosts.processes(ID))
    time.sleep(0.3)
    assert hosts.console(ID) == ""


def test_a_busy_instance_is_one_with_a_jobs_process(make_hosts: Make) -> None:
    hosts = make_hosts()
    launch(hosts, "until [ -e /opt/go ]; do sleep 0.02; done; LOWTIDE_JOB_ID=j sleep 1000")
    until(lambda: hosts.processes(ID))
    assert not hosts.busy(ID)
    next(iter(hosts._data_dir.rglob("opt"))).joinpath("go").touch()  # pyright: ignore[reportPrivateUsage]
    until(lambda: hosts.busy(ID))


def test_gpus_are_listed_by_the_drivers_own_tool(make_hosts: Make) -> None:
    hosts = make_hosts()
    launch(hosts, "nvidia-smi -L | wc -l; echo end", gpus=4)
    says(hosts, "4\nend")


def test_an_unknown_instance_is_no_error(make_hosts: Make) -> None:
    hosts = make_hosts()
    hosts.terminate("i-none")
    assert (hosts.console("i-none"), hosts.busy("i-none")) == ("", False)


def test_closing_ends_every_instance(make_hosts: Make) -> None:
    hosts = make_hosts()
    for number in range(3):
        launch(hosts, "sleep 1000", instance_id=f"i-{number}")
    until(lambda: all(len(hosts.processes(f"i-{number}")) > 2 for number in range(3)))
    running = [process for number in range(3) for process in hosts.processes(f"i-{number}")]
    hosts.close()
    assert alive(running) == []


def test_what_a_crashed_world_left_running_is_ended(tmp_path: Path, permitted: dict[str, Guests]) -> None:
    """The rewritten way is the one in which the kernel does not end the guests with their world."""
    script = f"""
import psutil, sys, time
from pathlib import Path
from lowtide.hosts import Hosts
from lowtide.hosts.guests import Rewritten
from tests.worker.control import Instance
hosts = Hosts(Path({str(tmp_path)!r}), endpoint="http://127.0.0.1:9", region="r", account="1",
              credentials=lambda role, instance: {{}}, guests=Rewritten())
hosts.launch(Instance(user_data=b"setsid sleep 4242 & sleep 4242"))
def sleeping():
    try: return [process.name() for process in hosts.processes({ID!r})].count("sleep")
    except psutil.NoSuchProcess: return 0
while sleeping() < 2: time.sleep(0.02)
print(*[process.pid for process in hosts.processes({ID!r})], flush=True)
time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as world:
        assert world.stdout is not None
        left = [found for pid in world.stdout.readline().split() if (found := _running(int(pid)))]
        world.send_signal(signal.SIGKILL)
    assert left
    end_orphans(tmp_path)
    until(lambda: alive(left) == [])


def _running(process_id: int) -> psutil.Process | None:
    """What boots an instance comes and goes: it may have ended since it was seen."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process_id)
    return None


def test_only_the_guests_own_paths_are_rewritten() -> None:
    given = b"cat /etc/lowtide/a /opt/lowtide; ls /etc/passwd /srv/etc/lowtide /opt/lowtide-else x=/etc/lowtide/b"
    assert rewritten(given, Path("/g")) == (
        b"cat /g/etc/lowtide/a /g/opt/lowtide; ls /etc/passwd /srv/etc/lowtide /opt/lowtide-else x=/g/etc/lowtide/b"
    )


def test_a_directory_with_a_blank_is_refused_where_paths_are_rewritten(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without blanks"):
        Rewritten().prepare(tmp_path / "a b", b"", gpus=0)


def test_an_instance_is_launched_once(make_hosts: Make) -> None:
    hosts = make_hosts()
    launch(hosts, "echo up; sleep 1000")
    until(lambda: ["sleep", "1000"] in commands(hosts))
    running = hosts.processes(ID)
    launch(hosts, "echo up; sleep 1000")
    assert {process.pid for process in hosts.processes(ID)} == {process.pid for process in running}
