"""What the market knows of one instance, and the news it makes."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from lowtide.market.fleet import Override
from lowtide.market.model import Lifecycle, Offering
from lowtide.market.reclaim import Interruption


class State(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"


STATE_CODES = {State.PENDING: 0, State.RUNNING: 16, State.SHUTTING_DOWN: 32, State.TERMINATED: 48}
"""EC2's numbers."""
ALIVE = frozenset({State.PENDING, State.RUNNING})

BY_USER = ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")
BY_ITSELF = ("Client.InstanceInitiatedShutdown", "Client.InstanceInitiatedShutdown: Instance initiated shutdown")
BY_MARKET = ("Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination")
"""State reasons, as EC2's StateReason documents them: code and message."""


@dataclass(slots=True, kw_only=True)
class Instance:
    """The market's own record; only the market changes it."""

    instance_id: str
    override: Override
    lifecycle: Lifecycle
    fleet_id: str
    spot_request_id: str | None
    """None: on-demand."""
    price_limit: Decimal | None
    """USD per hour above which it is taken back; None: on-demand, or a type without a known price."""
    launched_at: datetime
    visible_at: datetime
    """Before it, Describe omits the instance and Terminate does not know it."""
    boot_delay: timedelta
    """From `launched_at` to the first line of user data."""
    boot_fails: bool
    state: State = State.PENDING
    state_reason: tuple[str, str] | None = None
    ended_at: datetime | None = None
    """When it began to shut down."""
    interruption: Interruption | None = None

    @property
    def offering(self) -> Offering:
        return self.override.offering

    @property
    def alive(self) -> bool:
        return self.state in ALIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChanged:
    """Becomes an `EC2 Instance State-change Notification`."""

    instance_id: str
    zone: str
    state: State
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Becomes an `EC2 Spot Instance Interruption Warning`, and the instance's own notice where it is ours."""

    instance_id: str
    zone: str
    at: datetime
    ends_at: datetime
    ours: bool = True
    """False: of somebody else in the account; no such instance is in our Describe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RebalanceAdvised:
    """Becomes an `EC2 Instance Rebalance Recommendation`."""

    instance_id: str
    zone: str
    at: datetime
    ours: bool = True


News = StateChanged | Warned | RebalanceAdvised


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One line of the market's own log, for reports and drills."""

    at: datetime
    what: str
    """launched, refused, warned, interrupted, ended, rebalance, price, capacity or throttled."""
    instance_type: str = ""
    zone: str = ""
    lifecycle: str = ""
    instance_id: str = ""
    code: str = ""
    """EC2's error code of a refusal; the cause of an interruption; the reason of an end."""
    message: str = ""
    count: int = 1
    price: Decimal | None = None
    """USD per hour: the spot price at that instant, or the price that a script holds."""
