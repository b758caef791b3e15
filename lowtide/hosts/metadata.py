"""One instance's metadata service on loopback: IMDSv2 only, the paths that the worker and the AWS SDKs read."""

import json
import secrets
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lowtide.hosts.spec import Spec

TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105 - a header's name
LONGEST_TTL = 21600
CLOSING_POLL_SECONDS = 0.1

RoleCredentials = Callable[[str, str], Mapping[str, str]]
"""(role name, instance id) → AccessKeyId, SecretAccessKey, Token, Expiration. LookupError: no such role."""


Users = Callable[[], Collection[int]]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    rejected: Users = staticmethod(tuple[int, ...])

    def verify_request(self, request: object, client_address: tuple[str, int]) -> bool:  # noqa: ARG002
        """A connection of a user whom the instance's packet filter rejects is closed before a word is read."""
        rejected = self.rejected()
        return not rejected or _user_of(client_address[1]) not in rejected

    def handle_error(self, request: object, client_address: object) -> None:
        """A guest that is killed in the middle of a read is no fault of ours; anything else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # pyright: ignore[reportArgumentType] - it is only printed


class MetadataService:
    """Serves from construction until `close`. `endpoint` goes to the guest as AWS_EC2_METADATA_SERVICE_ENDPOINT."""

    def __init__(
        self,
        spec: Spec,
        *,
        region: str,
        account: str,
        credentials: RoleCredentials,
        rejected: Users = tuple[int, ...],
    ) -> None:
        """`rejected`: user ids that the instance's own packet filter keeps from this service."""
        self._spec = spec
        self._region = region
        self._account = account
        self._credentials = credentials
        self._notices: dict[str, str] = {}
        self._tokens: dict[str, float] = {}
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._server.rejected = rejected
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(
            target=self._server.serve_forever,
            args=(CLOSING_POLL_SECONDS,),
            name=f"metadata {spec.instance_id}",
            daemon=True,
        ).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def notice(self, action: str, at: datetime) -> None:
        self._notices["meta-data/spot/instance-action"] = json.dumps({"action": action, "time": _text(at)})

    def rebalance(self, at: datetime) -> None:
        self._notices["meta-data/events/recommendations/rebalance"] = json.dumps({"noticeTime": _text(at)})

    def new_token(self, ttl: str | None) -> str | None:
        """None when `ttl` is not a number of seconds that EC2 takes."""
        if ttl is None or not ttl.isdigit() or not 1 <= int(ttl) <= LONGEST_TTL:
            return None
        token = secrets.token_urlsafe(32)
        self._tokens[token] = time.monotonic() + int(ttl)
        return token

    def knows(self, token: str | None) -> bool:
        return token is not None and self._tokens.get(token, 0.0) > time.monotonic()

    def read(self, path: str) -> str | None:
        """The text at a path under `latest/`; None: 404."""
        spec, role = self._spec, self._spec.role_name
        if path in self._notices:
            return self._notices[path]
        if path == "user-data":
            return spec.user_data.decode(errors="replace") or None
        if path == "dynamic/instance-identity/document":
            return self._identity()
        if path == "meta-data/iam/security-credentials" and role:
            return role
        if path == f"meta-data/iam/security-credentials/{role}" and role:
            return self._role_credentials(role)
        fixed = {
            "ami-id": spec.image_id,
            "instance-id": spec.instance_id,
            "instance-life-cycle": spec.lifecycle,
            "instance-type": spec.instance_type,
            "local-ipv4": spec.private_ip,
            "placement/availability-zone": spec.zone,
            "placement/region": self._region,
            **spec.extra,
        }
        return fixed.get(path.removeprefix("meta-data/"))

    def _identity(self) -> str:
        spec = self._spec
        return json.dumps(
            {
                "accountId": self._account,
                "availabilityZone": spec.zone,
                "imageId": spec.image_id,
                "instanceId": spec.instance_id,
                "instanceType": spec.instance_type,
                "privateIp": spec.private_ip,
                "region": self._region,
                "version": "2017-09-30",
            }
        )

    def _role_credentials(self, role: str) -> str | None:
        try:
            found = self._credentials(role, self._spec.instance_id)
        except LookupError:
            return None
        return json.dumps({"Code": "Success", "LastUpdated": _text(_now()), "Type": "AWS-HMAC", **found})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                token = service.new_token(self.headers.get(TTL_HEADER)) if self.path == "/latest/api/token" else None
                self._answer(200 if token else 400, token or "")

            def do_GET(self) -> None:
                if not service.knows(self.headers.get(TOKEN_HEADER)):
                    self._answer(401, "")
                    return
                found = service.read(self.path.removeprefix("/latest/").rstrip("/"))
                self._answer(404 if found is None else 200, found or "")

            def _answer(self, status: int, text: str) -> None:
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: a metadata service keeps no log."""

        return Handler


def _user_of(port: int) -> int | None:
    """Whose socket this is that connected from this port of loopback; None where the kernel does not tell."""
    try:
        lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return None
    local = f"0100007F:{port:04X}"
    return next((int(fields[7]) for fields in map(str.split, lines) if fields[1] == local), None)


def _now() -> datetime:
    return datetime.now(UTC)


def _text(instant: datetime) -> str:
    """EC2's form, whole seconds; a fraction is written only when there is one, as after a notice of scaled length."""
    form = "%Y-%m-%dT%H:%M:%S.%fZ" if instant.microsecond else "%Y-%m-%dT%H:%M:%SZ"
    return instant.astimezone(UTC).strftime(form)
