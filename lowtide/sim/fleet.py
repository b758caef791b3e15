"""The stack's instances from their power to their end, and what EC2's news does to them."""

from collections.abc import Callable
from datetime import datetime, timedelta

from lambdas.domain.settings import Settings
from lowtide.market.instances import Instance, News, RebalanceAdvised, State, StateChanged, Warned
from lowtide.market.market import Market
from lowtide.sim.bus import Bus
from lowtide.sim.clock import VirtualClock
from lowtide.sim.hosts import Call, Host


def unheard(host: Host, why: str) -> None:
    """Nobody minds that a worker powers its instance off."""


class Fleet:
    def __init__(
        self,
        market: Market,
        bus: Bus,
        *,
        clock: VirtualClock,
        ours: Callable[[Instance], bool],
        call: Call,
        settings: Settings,
        seed: object,
    ) -> None:
        """`ours`: whether an instance is the stack's; `call` takes its worker's calls."""
        self.hosts: dict[str, Host] = {}
        """Every instance that has its power, by id."""
        self.saved: dict[str, timedelta] = {}
        """What jobs' checkpoints hold, by job."""
        self.powered_off: Callable[[Host, str], object] = unheard
        """Told before a worker powers its instance off, and why."""
        self._market = market
        self._bus = bus
        self._clock = clock
        self._ours = ours
        self._call = call
        self._settings = settings
        self._seed = seed
        self._launched = False

    def launching(self) -> None:
        """EC2 is asked for instances: some may have to be powered on."""
        self._launched = True

    def busy(self, instance_id: str) -> bool:
        return instance_id in self.hosts and self.hosts[instance_id].busy

    def power_on(self) -> None:
        """Every new instance of the stack gets its power."""
        if not self._launched:
            return
        self._launched = False
        for instance in self._market.instances.values():
            if instance.alive and instance.instance_id not in self.hosts and self._ours(instance):
                self.hosts[instance.instance_id] = Host(
                    instance,
                    now=self._clock,
                    call=self._call,
                    shut_down=self._power_off,
                    settings=self._settings,
                    seed=self._seed,
                    saved=self.saved,
                )

    def run(self, now: datetime) -> bool:
        """What one host has to do now; False: none has."""
        for host in list(self.hosts.values()):
            if (due := host.due()) is not None and due <= now:
                host.run()
                return True
        return False

    def next_instant(self) -> datetime | None:
        return min((due for host in self.hosts.values() if (due := host.due()) is not None), default=None)

    def hear(self, item: News) -> None:
        """An item of the market's news: to the instance it is about, and to EventBridge."""
        host = self.hosts.get(item.instance_id)
        match item:
            case StateChanged():
                if host is not None and item.state in (State.SHUTTING_DOWN, State.TERMINATED):
                    self.hosts.pop(item.instance_id).cut_off()
                detail = {"instance-id": item.instance_id, "state": str(item.state)}
                self._bus.publish("EC2 Instance State-change Notification", detail, item.at)
            case Warned():
                if host is not None:
                    host.notice(item.ends_at)
                detail = {"instance-id": item.instance_id, "instance-action": "terminate"}
                self._bus.publish("EC2 Spot Instance Interruption Warning", detail, item.at)
            case RebalanceAdvised():
                if host is not None:
                    host.advise(item.at)
                detail = {"instance-id": item.instance_id}
                self._bus.publish("EC2 Instance Rebalance Recommendation", detail, item.at)

    def _power_off(self, host: Host, why: str) -> None:
        self.powered_off(host, why)
        self._market.shut_down(host.instance_id, self._clock())
