"""The boot program: signing, fetching, checking, and giving up."""

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.worker.control import CREDENTIALS, Control
from worker import boot
from worker.imds import Metadata

BOOT = Path(boot.__file__)
KEYS = boot.Credentials("AKIDEXAMPLE", "secret", "token", "2099-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("service", "method", "url", "body"),
    [
        ("lambda", "POST", "https://abc.lambda-url.us-east-1.on.aws/v1/hello", b'{"a": 1}'),
        ("lambda", "POST", "http://127.0.0.1:4566/_aws/lambda-url/abc/v1/a%20b", b""),
        ("s3", "GET", "https://bucket.s3.us-east-1.amazonaws.com/a%20b/c%2Bd", b""),
    ],
)
def test_a_request_is_signed_as_botocore_signs_it(service: str, method: str, url: str, body: bytes) -> None:
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    request = AWSRequest(method=method, url=url, data=body)
    request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
    signer(Credentials(KEYS.access_key, KEYS.secret_key, KEYS.token), service, "us-east-1").add_auth(request)
    at = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)

    ours = boot.signed_headers(method, url, region="us-east-1", service=service, credentials=KEYS, body=body, at=at)

    assert ours["authorization"].split("Signature=")[1] == request.headers["Authorization"].split("Signature=")[1]


def test_objects_are_addressed_at_the_regions_own_host_without_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    assert boot.object_url("b", "k 1", "eu-west-1") == "https://b.s3.eu-west-1.amazonaws.com/k%201"
    assert boot.object_url("b", "k", "cn-north-1") == "https://b.s3.cn-north-1.amazonaws.com.cn/k"


def test_an_endpoint_for_s3_alone_goes_before_the_common_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://all")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3/")
    assert boot.object_url("b", "k", "eu-west-1") == "http://s3/b/k"


def test_role_credentials_come_from_the_metadata_service_with_a_token(control: Control) -> None:
    assert boot.role_credentials().access_key == CREDENTIALS["AccessKeyId"]


def test_credentials_are_read_once_until_they_are_forgotten(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = Metadata(lambda: datetime.now(UTC))
    first = metadata.credentials()
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
    assert metadata.credentials() is first
    metadata.forget_credentials()
    with pytest.raises(OSError, match="refused"):
        metadata.credentials()


class Machine:
    """A directory to boot in, whose systemctl, shutdown and useradd only note that they were called."""

    def __init__(self, place: Path, control: Control, artefact: bytes, sha256: str) -> None:
        self.place = place
        control.objects["/assets/worker.zip"] = artefact
        (place / "bin").mkdir()
        for name in ("systemctl", "shutdown", "useradd"):
            script = place / "bin" / name
            script.write_text(f'#!/bin/sh\necho "{name} $*" >> {place}/calls\n')
            script.chmod(0o755)
        (place / "boot.py").write_text(BOOT.read_text())
        (place / "worker.json").write_text(
            json.dumps(
                {
                    "region": "us-east-1",
                    "stack": "Lowtide",
                    "api_url": control.url,
                    "artefact": {"bucket": "assets", "key": "worker.zip", "sha256": sha256},
                    "boot_power_off_seconds": 1.5,
                }
            )
        )

    def boot(self) -> int:
        return subprocess.run(
            [sys.executable, "-I", str(self.place / "boot.py"), str(self.place / "worker.json")],
            env={**os.environ, "PATH": f"{self.place}/bin:/usr/bin:/bin"},
            check=False,
            timeout=60,
            capture_output=True,
        ).returncode

    def calls(self) -> list[str]:
        return (self.place / "calls").read_text().splitlines()


def toy_artefact() -> tuple[bytes, str]:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("worker/__main__.py", "print('worker')\n")
    return held.getvalue(), hashlib.sha256(held.getvalue()).hexdigest()


def test_the_artefact_is_unpacked_by_its_hash_and_systemd_runs_it(control: Control, tmp_path: Path) -> None:
    content, sha256 = toy_artefact()
    machine = Machine(tmp_path, control, content, sha256)

    assert machine.boot() == 0

    assert (tmp_path / sha256 / "worker" / "__main__.py").exists()
    assert machine.calls()[-1] == f"systemctl enable --now {tmp_path}/lowtide-worker.service"
    unit = (tmp_path / "lowtide-worker.service").read_text()
    assert f'-m worker "{tmp_path}/worker.json"' in unit
    assert f"WorkingDirectory={tmp_path}/{sha256}" in unit
    assert f'Environment="AWS_ENDPOINT_URL={control.url}"' in unit


def test_an_artefact_with_another_hash_is_never_run_and_the_instance_ends(control: Control, tmp_path: Path) -> None:
    machine = Machine(tmp_path, control, toy_artefact()[0], "0" * 64)

    assert machine.boot() == 1

    assert not list(tmp_path.glob("*/worker"))
    assert machine.calls() == ["shutdown -h now"]


def test_the_boot_program_leaves_room_in_the_user_data() -> None:
    assert len(BOOT.read_bytes()) < 12 * 1024
