"""What a backtest adds up while it plays: money, time, what was missing why. Lines over time are means of buckets."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from lambdas.domain.buying.bills import Charge, Tariff, cost
from lambdas.domain.buying.spending import beside
from lambdas.domain.fleet.fleet import Instance
from lambdas.domain.pools.pools import CapacityType, Pool
from lowtide.backtest.control import Told

BUCKETS = 240
"""Points of a line over the whole period."""
LEAST_CHARGED = timedelta(seconds=60)
"""AWS bills Linux instances by the second, a minute at least."""
HOUR = timedelta(hours=1)
HANDOVER = "handover"
"""Nothing is missing: a worker with room is about to ask for the job."""


@dataclass(slots=True)
class Line:
    """A value that holds until the next, kept as the mean of each bucket."""

    begin: datetime
    bucket: timedelta
    sums: list[float] = field(default_factory=list[float])
    """Value times seconds."""
    _value: float = 0.0
    _since: float = 0.0

    def set(self, value: float, now: datetime) -> None:
        if value != self._value:
            self._advance((now - self.begin).total_seconds())
            self._value = value

    def _advance(self, until: float) -> None:
        width, at = self.bucket.total_seconds(), self._since
        # Counted on, not divided anew: the quotient of a bucket's own edge may be rounded down to the one before it.
        number = int(at // width)
        while at < until:
            edge = min(until, (number + 1) * width)
            while len(self.sums) <= number:
                self.sums.append(0.0)
            self.sums[number] += self._value * (edge - at)
            at, number = edge, number + 1
        self._since = max(self._since, until)

    def means(self, end: datetime) -> list[float]:
        """One for each bucket up to the end."""
        until = (end - self.begin).total_seconds()
        self._advance(until)
        width = self.bucket.total_seconds()
        return [total / min(width, max(until - number * width, 1e-9)) for number, total in enumerate(self.sums)]


@dataclass(slots=True)
class Stint:
    """An instance's life, for its bill."""

    launched_at: datetime
    instance_type: str
    zone: str
    capacity_type: CapacityType
    on_demand_price: Decimal | None
    charged_seconds: float = 0.0
    """Time times the part of it that attempts were charged."""
    busy_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    at: datetime
    instance_type: str
    zone: str
    capacity_type: CapacityType


@dataclass(slots=True)
class Accounts:
    """Of one pool."""

    pool: Pool
    price: Callable[[str, str, datetime], Decimal]
    """Spot price by type, zone and instant."""
    begin: datetime
    bucket: timedelta
    cost_usd: Decimal = Decimal(0)
    on_demand_usd: Decimal = Decimal(0)
    """What the same instances had cost on demand."""
    idle_usd: Decimal = Decimal(0)
    idle: timedelta = timedelta(0)
    """Time of instances without any job, booting included."""
    instance_time: timedelta = timedelta(0)
    launches: list[Launched] = field(default_factory=list[Launched])
    interrupted_instances: int = 0
    refusals: Counter[str] = field(default_factory=Counter[str])
    """EC2's refusals by code, one for each offering and request."""
    unfulfilled_time: defaultdict[str, timedelta] = field(default_factory=lambda: defaultdict(timedelta))
    """How long instances were missing, by the class of the first reason."""
    unfulfilled_instances: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """The same times how many, in hours."""
    waiting_jobs: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Hours that jobs waited, by the class of the pool's first reason then."""
    spent: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    """USD by bucket."""
    looks: int = 0
    instances_line: Line = field(init=False)
    waiting_line: Line = field(init=False)
    missing_line: Line = field(init=False)
    _stints: dict[str, Stint] = field(default_factory=dict[str, Stint])
    _told: Told | None = None
    _queued: int = 0
    _since: datetime | None = None

    def __post_init__(self) -> None:
        self.instances_line = Line(self.begin, self.bucket)
        self.waiting_line = Line(self.begin, self.bucket)
        self.missing_line = Line(self.begin, self.bucket)

    # --- shortages ----------------------------------------------------------------------------------------------------

    def concluded(self, told: Told, queued: int, instances: int, now: datetime) -> None:
        """A look was made: what it told holds from now on."""
        self.looks += 1
        self.passed(now)
        self._told = told
        self.counted(queued, instances, now)

    def counted(self, queued: int, instances: int, now: datetime) -> None:
        self.passed(now)
        self._queued = queued
        self.waiting_line.set(queued, now)
        self.instances_line.set(instances, now)
        self.missing_line.set(0 if self._told is None else self._told.unfulfilled, now)

    def passed(self, now: datetime) -> None:
        """The time since the last call went by as that left it."""
        span, told = now - (self._since or now), self._told
        self._since = now
        if not span:
            return
        why = HANDOVER if told is None or told.first is None else told.first
        hours = span / HOUR
        if self._queued:
            self.waiting_jobs[why] += self._queued * hours
        if told is not None and told.unfulfilled:
            self.unfulfilled_time[why] += span
            self.unfulfilled_instances[why] += told.unfulfilled * hours

    # --- money --------------------------------------------------------------------------------------------------------

    def came(self, instance: Instance, on_demand_price: Decimal | None) -> None:
        self.launches.append(
            Launched(
                at=instance.launched_at,
                instance_type=instance.instance_type,
                zone=instance.zone,
                capacity_type=instance.capacity_type,
            )
        )
        self._stints[instance.instance_id] = Stint(
            launched_at=instance.launched_at,
            instance_type=instance.instance_type,
            zone=instance.zone,
            capacity_type=instance.capacity_type,
            on_demand_price=on_demand_price,
        )

    def worked(self, instance_id: str, seconds: float, share: float) -> None:
        """The instance had jobs for so long that were charged so much of it."""
        if (stint := self._stints.get(instance_id)) is not None:
            stint.busy_seconds += seconds
            stint.charged_seconds += seconds * share

    def ended(self, instance_id: str, now: datetime) -> None:
        """It costs no more. Ending it twice changes nothing."""
        if (stint := self._stints.pop(instance_id, None)) is None:
            return
        end = max(now, stint.launched_at + LEAST_CHARGED)
        tariff = self._tariff(stint, end)
        charge = cost(tariff, stint.launched_at, end) or Charge(usd=Decimal(), on_demand_usd=Decimal(), estimated=True)
        life = (end - stint.launched_at).total_seconds()
        self.cost_usd += charge.usd
        self.on_demand_usd += charge.on_demand_usd
        self.idle_usd += charge.usd * Decimal(1 - min(1.0, stint.charged_seconds / life))
        self.idle += timedelta(seconds=max(0.0, life - stint.busy_seconds))
        self.instance_time += end - stint.launched_at
        self._spread(float(charge.usd), stint.launched_at, end)

    def all_ended(self, now: datetime) -> None:
        for instance_id in list(self._stints):
            self.ended(instance_id, now)

    def _tariff(self, stint: Stint, end: datetime) -> Tariff:
        """Of spot, the price at the beginning of each instance-hour, as AWS charges it (domain/buying/bills.py)."""
        steps: list[tuple[int, Decimal]] = []
        if stint.capacity_type is CapacityType.ON_DEMAND:
            steps += [] if stint.on_demand_price is None else [(0, stint.on_demand_price)]
        else:
            for hour in range(-((stint.launched_at - end) // HOUR)):
                price = self.price(stint.instance_type, stint.zone, stint.launched_at + hour * HOUR)
                if not steps or steps[-1][1] != price:
                    steps.append((hour, price))
        return Tariff(
            launched_at=stint.launched_at,
            prices=tuple(steps),
            on_demand=stint.on_demand_price,
            beside=beside(self.pool),
        )

    def _spread(self, usd: float, begin: datetime, end: datetime) -> None:
        """Evenly over the instance's life, for the line of what was spent."""
        first, last = (begin - self.begin) // self.bucket, (end - self.begin) // self.bucket
        for number in range(first, last + 1):
            low = max(begin, self.begin + number * self.bucket)
            high = min(end, self.begin + (number + 1) * self.bucket)
            self.spent[number] += usd * max(0.0, (high - low) / (end - begin))
