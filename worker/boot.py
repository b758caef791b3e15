"""First program of an instance: fetches the worker's artefact from S3, checks its hash, has systemd run it.

It travels inside the user data (16 KiB in all), so it is one small file that imports only the standard library; the
worker takes its request signing and metadata calls from here. The artefact is a zip that holds the package `worker/`.

    python3 /opt/lowtide/boot.py /etc/lowtide/worker.json

Everything is put beside this file: `<sha256>/worker/...` and `lowtide-worker.service`. The power-off that the user data
armed is cancelled by the worker itself, once the control plane has answered it: one that only crashes ends too.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import os
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import zipfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

JOB_USER = "lowtide-job"
UNIT = "lowtide-worker.service"
PASSED_ON = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_EC2_METADATA_SERVICE_ENDPOINT")
"""Standard variables of every AWS SDK that the worker honours as well; systemd would not inherit them."""
UNIT_TEXT = """[Unit]
Description=Lowtide worker
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart="{python}" -m worker "{config}"
WorkingDirectory={home}
StateDirectory=lowtide
{environment}Restart=always
RestartSec=2
Delegate=yes
KillMode=mixed
TimeoutStopSec=60
OOMPolicy=continue

[Install]
WantedBy=multi-user.target
"""
"""Delegate: limits.py makes a group for each job. KillMode=mixed: the worker ends its jobs itself. OOMPolicy=continue:
a job without memory must not end the worker."""


class Credentials(NamedTuple):
    access_key: str
    secret_key: str
    token: str
    expiration: str
    """ISO 8601, UTC."""


def signed_headers(
    method: str,
    url: str,
    *,
    region: str,
    service: str,
    credentials: Credentials,
    body: bytes = b"",
    at: datetime | None = None,
    more: dict[str, str] | None = None,
) -> dict[str, str]:
    """The headers of a request signed with AWS Signature Version 4 at instant `at` (now), `more` among them.

    The path of `url` is percent-encoded already. S3 signs it as it is; every other service signs it encoded once more.
    """
    parts = urllib.parse.urlsplit(url)
    stamp = (at or datetime.now(timezone.utc)).strftime("%Y%m%dT%H%M%SZ")
    payload = hashlib.sha256(body).hexdigest()
    headers = {"host": parts.netloc, "x-amz-content-sha256": payload, "x-amz-date": stamp, **(more or {})}
    if credentials.token:
        headers["x-amz-security-token"] = credentials.token
    path = parts.path or "/"
    query = sorted(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
    canonical = "\n".join(
        (
            method,
            path if service == "s3" else urllib.parse.quote(path),
            urllib.parse.urlencode(query, quote_via=urllib.parse.quote),
            *(f"{name}:{headers[name]}" for name in sorted(headers)),
            "",
            ";".join(sorted(headers)),
            payload,
        )
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = b"AWS4" + credentials.secret_key.encode()
    for part in (stamp[:8], region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    names = ";".join(sorted(headers))
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


def metadata(path: str, *, method: str = "GET", headers: dict[str, str] | None = None, timeout: float = 5.0) -> str:
    """One answer of the instance metadata service, never through a proxy. Raises OSError (HTTPError for 404)."""
    endpoint = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
    url = f"{endpoint.rstrip('/')}/latest/{path}"
    request = urllib.request.Request(url, method=method, headers=headers or {})  # noqa: S310 - as for open_object
    opener = urllib.request.OpenerDirector()  # the usual one would load every CA certificate, and use a proxy
    for kind in (urllib.request.HTTPHandler, urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor):
        opener.add_handler(kind())
    answer = opener.open(request, timeout=timeout)
    if answer is None:
        raise OSError(f"{endpoint} is not an http:// address")
    with answer:
        return answer.read().decode()


def metadata_token(seconds: int = 21600) -> dict[str, str]:
    """The header that IMDSv2 wants on every read, good for `seconds` (at most six hours)."""
    wanted = {"X-aws-ec2-metadata-token-ttl-seconds": str(seconds)}
    return {"X-aws-ec2-metadata-token": metadata("api/token", method="PUT", headers=wanted)}


def role_credentials() -> Credentials:
    """The instance role's present credentials. Raises OSError while the instance has none."""
    token = metadata_token()
    role = metadata("meta-data/iam/security-credentials/", headers=token).split()[0]
    found = json.loads(metadata(f"meta-data/iam/security-credentials/{role}", headers=token))
    return Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["Token"], found["Expiration"])


def object_url(bucket: str, key: str, region: str) -> str:
    """Where S3 serves an object: path style at an endpoint given by the environment, else the Region's own host."""
    quoted = urllib.parse.quote(key)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        return f"{endpoint.rstrip('/')}/{bucket}/{quoted}"
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://{bucket}.s3.{region}.{domain}/{quoted}"


def open_object(bucket: str, key: str, region: str, credentials: Credentials, timeout: float = 60.0) -> Any:
    """The open answer to a signed GetObject; the caller closes it. Raises OSError (HTTPError carries S3's status)."""
    url = object_url(bucket, key, region)
    headers = signed_headers("GET", url, region=region, service="s3", credentials=credentials)
    # S310: the scheme comes from the deployment's own configuration, never from a job.
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)  # noqa: S310


def install(config: dict[str, Any], place: Path) -> Path:
    """The directory that holds the checked artefact. Raises OSError or ValueError (worth trying again)."""
    artefact = config["artefact"]
    home = place / artefact["sha256"]
    if not (home / "worker").is_dir():
        with open_object(artefact["bucket"], artefact["key"], config["region"], role_credentials()) as answer:
            content = answer.read()
        found = hashlib.sha256(content).hexdigest()
        if found != artefact["sha256"]:
            raise ValueError(f"the artefact's sha256 is {found}, not {artefact['sha256']}")
        fresh = place / f"{artefact['sha256']}.{os.getpid()}"
        zipfile.ZipFile(io.BytesIO(content)).extractall(fresh)
        fresh.rename(home)
    return home


def start(home: Path, config_path: Path, place: Path) -> None:
    """Has systemd run the worker now and after every reboot. Raises CalledProcessError."""
    if os.geteuid() == 0:
        subprocess.run(["useradd", "--system", "--no-create-home", "--shell", "/bin/false", JOB_USER], check=False)
    given = [f'Environment="{name}={os.environ[name]}"\n' for name in PASSED_ON if os.environ.get(name)]
    unit = place / UNIT
    unit.write_text(
        UNIT_TEXT.format(python=sys.executable, config=config_path, home=home, environment="".join(given)),
        encoding="utf-8",
    )
    subprocess.run(["systemctl", "enable", "--now", str(unit)], check=True)


def main(config_path: Path) -> int:
    """0 when systemd runs the worker; powers the instance off when that cannot be had in time."""
    config = json.loads(config_path.read_text(encoding="utf-8"))
    place = Path(__file__).resolve().parent
    end, wait = time.monotonic() + float(config["boot_power_off_seconds"]), 1.0
    while time.monotonic() < end:
        try:
            start(install(config, place), config_path, place)
            return 0
        except Exception as error:  # whatever it was, the instance has nothing else to do than try again, then end
            print(f"lowtide boot: {type(error).__name__}: {error}; trying again in {wait:.0f} s", file=sys.stderr)
        time.sleep(wait)
        wait = min(30.0, wait * 2)
    subprocess.run(["shutdown", "-h", "now"], check=False)
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
