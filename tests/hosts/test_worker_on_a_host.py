"""The real worker on an instance of the local AWS: booted from user data, to the end of a job and of the instance."""

import contextlib
import json
import os
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from infra.bundling import build_worker
from lowtide.hosts import Hosts
from lowtide.hosts.guests import Guests
from tests.hosts.test_hosts import until
from tests.worker.control import Control, Instance, lease

ROOT = Path(__file__).resolve().parents[2]
ID = Instance().instance_id


def user_data(control: Control) -> bytes:
    """Boots as the stack's own user data does, from the stack's own artefact, which is put into S3 here."""
    artefact = build_worker(ROOT)
    control.objects["/assets/worker.zip"] = artefact.path.read_bytes()
    config = {
        "region": "us-east-1",
        "stack": "Lowtide",
        "api_url": control.url,
        "artefact": {"bucket": "assets", "key": "worker.zip", "sha256": artefact.digest},
        "boot_power_off_seconds": 60,
    }
    return f"""#!/bin/bash
shutdown -h +1
mkdir -p /etc/lowtide /opt/lowtide
cat > /etc/lowtide/worker.json <<'LOWTIDE-END-OF-FILE'
{json.dumps(config)}
LOWTIDE-END-OF-FILE
cat > /opt/lowtide/boot.py <<'LOWTIDE-END-OF-FILE'
{(ROOT / "worker" / "boot.py").read_text().rstrip()}
LOWTIDE-END-OF-FILE
exec python3 /opt/lowtide/boot.py /etc/lowtide/worker.json
""".encode()


@pytest.fixture(params=["root", "user", "rewritten"])
def hosts(request: pytest.FixtureRequest, permitted: dict[str, Guests], make_hosts: Callable[..., Hosts]) -> Hosts:
    if request.param not in permitted:
        pytest.skip(f"this machine permits no guests by way of {request.param!r}")
    return make_hosts(permitted[request.param])


def test_the_worker_boots_runs_python_jobs_and_survives_its_own_death(hosts: Hosts, control: Control) -> None:
    code = "import os; print(os.getuid()); open('made', 'w').write('x'); raise SystemExit(7)"
    control.queued = [lease(command=["python3", "-c", code])]
    hosts.launch(Instance(user_data=user_data(control)))
    found = control.finished()
    assert (found["exit_code"], found["interrupted"]) == (7, False), hosts.console(ID)

    control.queued = [lease("job-2", command=["sleep", "1000"])]
    control.wait("/v1/heartbeat", lambda body: body["leases"] != [])
    until(lambda: hosts.busy(ID))
    next(
        one for one in hosts.processes(ID) if "-m worker" in " ".join(one.as_dict(["cmdline"])["cmdline"] or [])
    ).kill()
    assert control.finished("job-2")["interrupted"] is True
    assert len(control.calls["/v1/hello"]) == 2


def test_a_notice_reaches_the_job_before_the_instance_ends(hosts: Hosts, control: Control) -> None:
    script = "trap 'echo > $LOWTIDE_DONE_FILE; exit 0' TERM; while :; do sleep 0.02; done"
    control.queued = [lease(command=["/bin/sh", "-c", script])]
    hosts.launch(Instance(user_data=user_data(control)))
    control.wait("/v1/heartbeat", lambda body: body["leases"] != [])
    hosts.notice(ID, "terminate", datetime.now(UTC) + timedelta(seconds=120))
    found = control.finished()
    assert (found["interrupted"], found["done"]) == (True, True)


def test_a_root_instance_runs_jobs_as_a_user_of_their_own(
    permitted: dict[str, Guests], make_hosts: Callable[..., Hosts], control: Control
) -> None:
    if "root" not in permitted:
        pytest.skip("only root can give an instance users of its own")
    hosts = make_hosts(permitted["root"])
    code = "import os; raise SystemExit(os.getuid() == 0 or os.access('/etc/lowtide', os.W_OK))"
    control.queued = [lease(command=["python3", "-c", code])]
    hosts.launch(Instance(user_data=user_data(control)))
    found = control.finished()
    assert found["exit_code"] == 0, found["error"]
    assert "metadata-service-open-to-jobs" not in hosts.console(ID)


def test_an_instance_that_is_told_to_power_off_does(make_hosts: Callable[..., Hosts], control: Control) -> None:
    hosts = make_hosts()
    told: list[str] = []
    hosts.on_shutdown = told.append
    answer = control.answer

    def drained(path: str, body: dict[str, object]) -> dict[str, object]:
        return {**answer(path, body), "drain": True, "power_off": True}

    control.answer = drained  # type: ignore[method-assign]
    hosts.launch(Instance(user_data=user_data(control)))
    until(lambda: told == [ID])


def test_the_callers_own_credentials_never_reach_a_guest(make_hosts: Callable[..., Hosts], control: Control) -> None:
    assert os.environ["AWS_ACCESS_KEY_ID"] == "AKIDOFTHECALLER"
    hosts = make_hosts()
    control.queued = [lease(command=["env"])]
    hosts.launch(Instance(user_data=user_data(control)))
    control.finished()
    for process in hosts.processes(ID):
        assert "AKIDOFTHECALLER" not in str(process.as_dict(["environ"]))
    assert f"Credential=worker-role:{ID}/" in control.headers[0]["authorization"]


THIEF = """
import os, pathlib, re, sys, urllib.request
found = []
for entry in pathlib.Path("/proc").iterdir():
    if entry.name.isdigit():
        try:
            found += re.findall(rb"AWS_EC2_METADATA_SERVICE_ENDPOINT=([^\\0]+)", (entry / "environ").read_bytes())
        except OSError:
            pass
service = sys.argv[1]
headers = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
try:
    asked = urllib.request.Request(service + "/latest/api/token", method="PUT", headers=headers)
    urllib.request.urlopen(asked, timeout=5)
except OSError:
    reached = False
else:
    reached = True
print("told" if found else "untold", "reached" if reached else "kept out")
raise SystemExit(0 if not found and not reached else 9)
"""


def _of_the_worker(hosts: Hosts) -> dict[str, str]:
    """The worker's environment; a child that has not begun its own program yet looks like it and has the same."""
    for process in hosts.processes(ID):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "-m worker" in " ".join(process.cmdline()):
                return process.environ()
    raise AssertionError("no worker runs")


def test_a_job_cannot_get_its_instances_credentials_and_so_cannot_call_the_worker_api_as_its_instance(
    permitted: dict[str, Guests], make_hosts: Callable[..., Hosts], control: Control
) -> None:
    """Even one that was told where the metadata service is; on EC2 everybody knows that."""
    if "root" not in permitted:
        pytest.skip("only root can give an instance users of its own")
    hosts = make_hosts(permitted["root"])
    hosts.launch(Instance(user_data=user_data(control)))
    control.wait("/v1/hello")
    service = _of_the_worker(hosts)["AWS_EC2_METADATA_SERVICE_ENDPOINT"]
    token = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    request = urllib.request.Request(f"{service}/latest/api/token", method="PUT", headers=token)
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200, "it answers everybody else"
    control.queued = [lease(command=["python3", "-c", THIEF, service])]
    found = control.finished()
    assert (found["exit_code"], control.log("cpu/job-1/1")) == (0, ["untold kept out"])
