"""The whole local AWS in the caller's process: the world, its spot market, and instances that really run."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from lowtide.hosts import Hosts
from lowtide.local import ec2
from lowtide.local.ec2.control import PREFIX, Control, control_app
from lowtide.local.interface import Credentials, Part, WorldLike
from lowtide.local.places import INSTANCES
from lowtide.local.world import World, utc_now
from lowtide.market import catalogue
from lowtide.market.model import Conditions
from lowtide.market.unkindness import Unkindness


def _texts(credentials: Credentials) -> dict[str, str]:
    return {name: str(value) for name, value in credentials.items()}


class LocalAws:
    """A context manager. `market` moves prices, capacity and interruptions; `hosts` are the instances."""

    market: Control
    hosts: Hosts

    def __init__(
        self,
        *,
        pace: float = 1.0,
        port: int = 0,
        region: str = "us-east-1",
        random: Random | None = None,
        clock: Callable[[], datetime] = utc_now,
        data_dir: Path | None = None,
        secret_key: str | None = None,
        unkindness: Unkindness | None = None,
        conditions: Conditions | None = None,
        parts: Sequence[Part] = (),
    ) -> None:
        """The market's own two are in lowtide.market; None is what `lowtide local up` plays."""
        self._unkindness = unkindness
        self._conditions = conditions
        self.world = World(
            pace=pace,
            port=port,
            region=region,
            random=random,
            clock=clock,
            data_dir=data_dir,
            secret_key=secret_key,
            on_demand_price=catalogue.on_demand_price,
            parts=[self._inhabit, *parts],
        )

    def __enter__(self) -> Self:
        self.world.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.world.close()

    def _inhabit(self, world: WorldLike) -> None:
        self.hosts = Hosts(
            world.data_dir / INSTANCES,
            endpoint=world.endpoint,
            region=world.region,
            account=world.account,
            credentials=lambda role, session: _texts(world.role_credentials(role, session)),
        )
        world.on_close(self.hosts.close)
        self.market = ec2.install(world, self.hosts, unkindness=self._unkindness, conditions=self._conditions)
        world.mount(PREFIX, control_app(self.market))
