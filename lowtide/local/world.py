"""The local AWS in one process: ministack behind a loopback gateway, made faithful where Lowtide rests on it.

Each module beside this one says what stock ministack does in its place and what AWS does. Everything is put back when
the world closes, so that one process may have several worlds, one after the other.
"""

import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, Self

import boto3

from lowtide.local import (
    cloudformation,
    contract,
    credentials,
    dynamodb,
    environment,
    function_url,
    iam,
    pricing,
    sqs,
)
from lowtide.local.cloudwatch import CloudWatch
from lowtide.local.contract import upstream
from lowtide.local.deploy import Deployment, stack_context
from lowtide.local.events import Events
from lowtide.local.gateway import Gateway
from lowtide.local.interface import Credentials, Denied, Part
from lowtide.local.places import ROOT
from lowtide.local.replacements import Replacements
from lowtide.local.runtime import Runtime

RUNTIME_PYTHON = ROOT / ".venv-lambda" / "bin" / "python"

_only_one = threading.Lock()
"""ministack keeps its state in modules: a process has one world at a time."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class World:
    """A context manager; the APIs answer at `endpoint` inside it. Implements `interface.WorldLike`."""

    def __init__(
        self,
        *,
        pace: float = 1.0,
        port: int = 0,
        region: str = environment.REGION,
        random: Random | None = None,
        clock: Callable[[], datetime] = utc_now,
        data_dir: Path | None = None,
        secret_key: str | None = None,
        on_demand_price: Callable[[str], Decimal | None] | None = None,
        parts: Sequence[Part] = (),
    ) -> None:
        """`parts` are installed, in this order, once the APIs answer. `data_dir` None: a temporary one."""
        if pace <= 0:
            raise ValueError(f"pace is {pace}; it takes a number above 0")
        self.account = environment.ACCOUNT
        self.region = region
        self.pace = pace
        self.random = random or Random()  # noqa: S311 - the world's chance is no secret
        self.data_dir = data_dir or Path()
        self.endpoint = ""
        self.port = port
        self._own_data_dir = data_dir is None
        self._clock = clock
        self._secret_key = secret_key or secrets.token_urlsafe(24)
        self._on_demand_price = on_demand_price
        self._parts = tuple(parts)
        self._mounted: dict[str, Callable[..., Any]] = {}
        self._closing = ExitStack()
        self._events: Events | None = None
        self._clients: dict[str, Any] = {}
        self._making = threading.Lock()

    def __enter__(self) -> Self:
        if not _only_one.acquire(blocking=False):
            raise RuntimeError("this process has a world already; close it first")
        try:
            self._closing.callback(_only_one.release)
            self._open()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the parts, then the APIs and the functions' processes. May be called again."""
        self._closing.close()

    # --- what parts rely on (interface.WorldLike) ---------------------------------------------------------------------

    def now(self) -> datetime:
        return self._clock()

    def paced(self, seconds: float) -> float:
        return seconds / self.pace

    def emit(self, source: str, detail_type: str, detail: Mapping[str, Any], resources: Sequence[str] = ()) -> None:
        if self._events is None:
            raise RuntimeError("the world is not open")
        self._events.emit(source, detail_type, detail, resources)

    def enforce(
        self, headers: Mapping[str, str], action: str, resource: str, context: Mapping[str, str | list[str]]
    ) -> Denied | None:
        return iam.enforce(
            headers=headers,
            action=action,
            resource=resource,
            context=context,
            account=self.account,
            region=self.region,
        )

    def role_credentials(self, name_or_arn: str, session_name: str) -> Credentials:
        return credentials.role_credentials(name_or_arn, session_name, account=self.account, now=self.now())

    def on_close(self, action: Callable[[], None]) -> None:
        self._closing.callback(action)

    def mount(self, prefix: str, app: Callable[..., Any]) -> None:
        self._mounted[prefix] = app

    # --- what its owner uses ------------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """The variables that point any AWS SDK at this world, as its root user."""
        return environment.callers_environment(self.endpoint, self._secret_key, self.region)

    def client(self, service: str) -> Any:
        """A boto3 client of this world, as its root user; for a service always the same, for any thread."""
        with self._making:
            if service not in self._clients:
                self._clients[service] = self._client(service)
            return self._clients[service]

    def _client(self, service: str) -> Any:
        session: Any = boto3.session.Session()
        return session.client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint,
            aws_access_key_id=environment.ACCESS_KEY,
            aws_secret_access_key=self._secret_key,
        )

    def deployment(self, *, context: Mapping[str, str], root: Path = ROOT, log: Path | None = None) -> Deployment:
        """The CDK app at `root`, with this context, to be deployed into this world by the real CDK CLI."""
        return Deployment(
            root=root,
            context=context,
            environment=self.environment(),
            account=self.account,
            region=self.region,
            work_dir=root / ".lowtide",
            log=log or self.data_dir / "deploy.log",
        )

    def deploy(self, stack_name: str = "Lowtide", *, context: Mapping[str, str] | None = None) -> dict[str, str]:
        """Bootstraps and deploys Lowtide's own stack; returns its outputs. Raises DeployFailed with the log's end."""
        return self.deployment(context=stack_context(stack_name, self.pace, context or {})).deploy(stack_name)

    # --- opening ------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        if self._own_data_dir:
            self.data_dir = Path(tempfile.mkdtemp(prefix="lowtide-local-"))
            self._closing.callback(shutil.rmtree, self.data_dir, ignore_errors=True)
        gateway = Gateway(self.port)
        self._closing.callback(gateway.close)
        self.port = gateway.port
        self.endpoint = f"http://127.0.0.1:{gateway.port}"
        self._closing.enter_context(
            environment.told(
                environment.variables(
                    port=gateway.port,
                    region=self.region,
                    secret_key=self._secret_key,
                    data_dir=self.data_dir,
                )
            )
        )
        contract.check()
        self._replace(gateway.port)
        self._closing.callback(_forget)
        gateway.start(self._route)
        self._closing.callback(gateway.close)
        for part in self._parts:
            part(self)

    async def _route(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        app = next((app for prefix, app in self._mounted.items() if path.startswith(prefix)), upstream("app").app)
        await app(scope, receive, send)

    def _replace(self, port: int) -> None:
        replacements = Replacements()
        self._closing.callback(replacements.undo)
        _addresses(replacements, port)
        _loopback_is_secure(replacements)
        iam.install(replacements)
        sqs.install(replacements)
        dynamodb.install(replacements)
        cloudformation.install(replacements)
        function_url.install(replacements, endpoint=self.endpoint)
        if self._on_demand_price is not None:
            pricing.install(replacements, price=self._on_demand_price, region=self.region)
        Runtime(python=RUNTIME_PYTHON, directory=self.data_dir / "functions", endpoint=self.endpoint).install(
            replacements
        )
        self._events = Events(account=self.account, region=self.region, pace=self.pace, started=self.now())
        self._events.install(replacements)
        cloudwatch = CloudWatch(account=self.account, region=self.region, pace=self.pace)
        cloudwatch.install(replacements)
        self._closing.callback(cloudwatch.close)


def _addresses(replacements: Replacements, port: int) -> None:
    """Modules of ministack keep the address that the environment named when they were first imported."""
    for module, host_name, port_name in (
        ("services.cloudformation.custom_resource", "_HOST", "_PORT"),
        ("services.sns", "_HOST", "_PORT"),
        ("services.sqs", "DEFAULT_HOST", "DEFAULT_PORT"),
    ):
        replacements.replace(upstream(module), host_name, "127.0.0.1")
        replacements.replace(upstream(module), port_name, str(port))
    replacements.replace(upstream("services.sqs"), "_CANONICAL_NETLOC", f"127.0.0.1:{port}")
    replacements.replace(upstream("services.sqs"), "_HOST_EXPLICIT", True)
    replacements.replace(upstream("app"), "AUTH", True)


def _loopback_is_secure(replacements: Replacements) -> None:
    """CDK's own asset bucket refuses what does not come over TLS; nothing here leaves the machine."""
    app = upstream("app")
    stock = app.pin_request_origin

    def pin(source_ip: str, secure_transport: bool) -> None:
        stock(source_ip, secure_transport or source_ip == "127.0.0.1")

    replacements.replace(app, "pin_request_origin", pin)


def _forget() -> None:
    """Ends the functions' processes and empties every service."""
    upstream("core.lambda_runtime").reset()
    upstream("app")._reset_all_state()
