"""Where benchmarks play: Lowtide deployed into a calm local AWS whose requests are counted.

Calm: capacity for everything at a low price and nothing interrupted, so that figures are the control plane's own.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from random import Random
from types import TracebackType
from typing import Any, Self

from lambdas import names
from lambdas.adapters import keys
from lambdas.adapters.table import Table
from lowtide.hosts import Hosts, Spec
from lowtide.local import ec2
from lowtide.local.contract import upstream
from lowtide.local.interface import WorldLike
from lowtide.local.places import INSTANCES
from lowtide.local.world import World
from lowtide.market import catalogue
from lowtide.market.unkindness import Unkindness

PACE = 12.0
"""A minute of AWS in five seconds, as in the demo: the same assembly is deployed."""
INSTANCE_TYPE = "c7i.large"
"""One slot: every job that waits is an instance that is missing."""
_PLENTY = 1_000
_LOW_PRICE = Decimal("0.01")
_ACCESS_KEY = re.compile(r"Credential=([^/]+)/\d+/[^/]+/([^/]+)/")
_FUNCTIONS = {
    **{"Intake": "intake", "Reconcile": "reconcile", "Tick": "tick", "News": "news", "Api": "worker API"},
    **{"JobEvents": "job events", "Notices": "notices", "Catalogue": "catalogue", "Teardown": "teardown"},
}
"""What a function's role has in its name -> what the function is called."""


class _SomeHosts(Hosts):
    """Real instances, or, while `asleep`, ones whose processes never start."""

    asleep = False

    def launch(self, spec: Spec) -> None:
        if not self.asleep:
            super().launch(spec)


class Stage:
    """A context manager; everything it started ends with it."""

    hosts: _SomeHosts
    market: ec2.Control
    outputs: dict[str, str]

    def __init__(self, *, seed: int) -> None:
        self.random = Random(seed)
        self.calls: Counter[tuple[str, str]] = Counter()
        """(who: a function or `instance`, service) -> AWS calls."""
        self._callers: dict[str, str | None] = {}
        self.world = World(
            pace=PACE, random=self.random, on_demand_price=catalogue.on_demand_price, parts=[self._inhabit, self._count]
        )

    def __enter__(self) -> Self:
        self.world.__enter__()
        try:
            self.outputs = self.world.deploy(names.STACK)
        except BaseException:
            self.world.close()
            raise
        self.market.set_capacity(INSTANCE_TYPE, "*", _PLENTY)
        self.market.set_price(INSTANCE_TYPE, "*", _LOW_PRICE)
        self.table = Table(self.world.client("dynamodb"), self.outputs[names.OUTPUT_TABLE_NAME])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.world.close()

    def apply_pool(self, pool: str, *, most: int, paused: bool = False) -> None:
        """A spot pool of one type, by the command that a user types. `paused`: it takes jobs and launches nothing."""
        place = self.world.data_dir / f"{pool}.yaml"
        place.write_text(
            f"resource_pools:\n  - pool_name: {pool}\n    provider:\n      type: aws\n      spot: true\n"
            f"      instance_type: {INSTANCE_TYPE}\n      max_instances: {most}\n      max_idle_agent_period: 8s\n"
            f"      paused: {str(paused).lower()}\n",
            encoding="utf-8",
        )
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        subprocess.run(
            [sys.executable, "-m", "lowtide", "pools", "apply", str(place), "--yes"],
            env={**inherited, **self.world.environment()},
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def state(self, pool: str) -> Mapping[str, Any]:
        return self.table.get(keys.pool(pool), keys.STATE) or {}

    def at_rest(self, pool: str) -> bool:
        state = self.state(pool)
        return "gpk" not in state and "dirty" not in state and not any(self.table.query(keys.pool(pool), prefix="INST"))

    def _inhabit(self, world: WorldLike) -> None:
        self.hosts = _SomeHosts(
            world.data_dir / INSTANCES,
            endpoint=world.endpoint,
            region=world.region,
            account=world.account,
            credentials=lambda role, session: {k: str(v) for k, v in world.role_credentials(role, session).items()},
        )
        world.on_close(self.hosts.close)
        self.market = ec2.install(world, self.hosts, unkindness=Unkindness.none())

    def _count(self, world: WorldLike) -> None:
        """Sees every request before it is answered."""

        async def counting(scope: Any, receive: Any, send: Any) -> None:
            headers = dict(scope.get("headers", ()))
            signed = _ACCESS_KEY.search(headers.get(b"authorization", b"").decode("latin-1"))
            if signed is not None and (who := self._caller(signed[1], world.account)) is not None:
                self.calls[who, signed[2]] += 1
            await upstream("app").app(scope, receive, send)

        world.mount("/", counting)

    def _caller(self, access_key: str, account: str) -> str | None:
        """None: not Lowtide's, such as this benchmark itself."""
        if access_key not in self._callers:
            arn = str(getattr(upstream("core.iam_evaluator").resolve_principal(access_key, account), "arn", ""))
            self._callers[access_key] = _who(arn)
        return self._callers[access_key]


def _who(arn: str) -> str | None:
    _, assumed, rest = arn.partition(":assumed-role/")
    role, _, session = rest.partition("/")
    if not assumed or not role.startswith(f"{names.STACK}-"):
        return None
    if session.startswith("i-"):
        return "instance"
    return next((told for part, told in _FUNCTIONS.items() if part in role), role)


def await_that(condition: Callable[[], bool], *, what: str, seconds: float = 60.0) -> None:
    """Raises RuntimeError when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.2)
