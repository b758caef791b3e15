"""What instances cost, and what part of that an attempt at a job is charged. USD, `Decimal`; pure.

AWS charges a spot instance, to the second, the price that was in force at the beginning of each of its instance-hours;
an on-demand instance the price list's. Its root volume and public address come on top (spending.beside). An attempt is
charged its share of its instance from its claim to its end: its slots', or the mean of its parts of vCPUs, memory and
GPUs (fit.charged_share). What nobody is charged was idle, so that attempts and idle time add up to the instance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from lambdas.domain.buying.spending import beside
from lambdas.domain.fleet.fleet import Instance, Lease
from lambdas.domain.fleet.observed import LOST
from lambdas.domain.fleet.snapshot import MarketPrice
from lambdas.domain.pools.pools import CapacityType, Pool

HOUR = timedelta(hours=1)
STEPS_MOST = 100
"""Prices kept of one instance: some 1.2 KB of an item that every heartbeat writes. There is at most one an hour, so
that four days are exact in any case, and months at the few changes a week that spot prices see. Beyond that the oldest
are merged into their mean, which leaves the instance's total as it was."""
_MICRO = timedelta(microseconds=1)
_MILLIONTH = Decimal("0.000001")
_PRICE_STEP = Decimal("0.00000001")

Step = tuple[int, Decimal]
"""(from which instance-hour on, USD per hour): hour 0 begins with the launch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """What one instance costs an hour, over its life so far."""

    launched_at: datetime
    prices: tuple[Step, ...]
    """Of the instance alone, oldest first, each until the next; the first from hour 0. Empty: nothing is known."""
    on_demand: Decimal | None
    """USD per hour by the price list when it was launched; None: not known."""
    beside: Decimal
    """USD per hour of its root volume and address."""
    estimated: bool = False
    """True: some of it is reckoned at the limit that the instance was asked for with, or at a price of later, since the
    price in force then was not known: it may be too much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What part of an instance's cost falls to somebody."""

    usd: Decimal
    on_demand_usd: Decimal
    """For the same time on an on-demand instance of the same type. Where that price is not known it is `usd`: nothing
    is told as saved that may not have been."""
    estimated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What the ends of attempts have added up on their instance."""

    leased_slot_seconds: Decimal = Decimal(0)
    """Time times slots, of leases that became attempts."""
    leased_usd: Decimal = Decimal(0)
    """What those attempts were charged."""
    interrupted_usd: Decimal = Decimal(0)
    """What those of them were charged that ended in an interruption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """An instance's life in money: until its end or, of one that runs, until now."""

    pool: str
    instance_id: str
    instance_type: str
    zone: str
    capacity_type: CapacityType
    slots: int
    launched_at: datetime
    ended_at: datetime
    cost_usd: Decimal | None = None
    """None: no price was ever known."""
    on_demand_cost_usd: Decimal | None = None
    """The same time on demand (Charge.on_demand_usd)."""
    cost_estimated: bool = False
    """Tariff.estimated."""
    leased_slot_seconds: Decimal = Decimal(0)
    leased_usd: Decimal = Decimal(0)
    interrupted_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What was spent, whoever or whatever it was spent on. All of it adds up."""

    spent_usd: Decimal = Decimal(0)
    on_demand_usd: Decimal = Decimal(0)
    """What the same time had cost on demand."""
    idle_usd: Decimal = Decimal(0)
    """The part of `spent_usd` that no attempt is charged."""
    interrupted_usd: Decimal = Decimal(0)
    """The part of it that went into interrupted attempts: what their saves kept is not lost."""
    estimated: int = 0
    """How many instances or attempts are reckoned at a price limit, or left out since not even that is known."""

    @property
    def saved_usd(self) -> Decimal:
        return self.on_demand_usd - self.spent_usd

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            spent_usd=self.spent_usd + other.spent_usd,
            on_demand_usd=self.on_demand_usd + other.on_demand_usd,
            idle_usd=self.idle_usd + other.idle_usd,
            interrupted_usd=self.interrupted_usd + other.interrupted_usd,
            estimated=self.estimated + other.estimated,
        )

    def part(self, share: Decimal) -> "Spent":
        """So much of it, to the millionth of a dollar."""
        return Spent(
            spent_usd=_rounded(self.spent_usd * share),
            on_demand_usd=_rounded(self.on_demand_usd * share),
            idle_usd=_rounded(self.idle_usd * share),
            interrupted_usd=_rounded(self.interrupted_usd * share),
            estimated=self.estimated,
        )


def tariff_of(instance: Instance, pool: Pool, market: Mapping[tuple[str, str], MarketPrice]) -> Tariff:
    """The tariff of an instance of which nothing is stored yet. `market`: spot prices by (type, zone).

    A spot price counts from the launch on if it was in force by then; else the instance's limit does, and where it has
    none the on-demand price, which is EC2's own limit."""
    facts = pool.facts(instance.instance_type)
    on_demand = facts and facts.on_demand_price
    spot = instance.capacity_type is CapacityType.SPOT
    found = market.get((instance.instance_type, instance.zone)) if spot else None
    if found is not None and found.seen_at > instance.launched_at:
        found = None
    limits = (found and found.price, instance.price_limit, on_demand) if spot else (on_demand,)
    price = next((each for each in limits if each is not None), None)
    return Tariff(
        launched_at=instance.launched_at,
        prices=() if price is None else ((0, price),),
        on_demand=on_demand,
        beside=beside(pool),
        estimated=spot and found is None,
    )


def noted(tariff: Tariff, market: MarketPrice, now: datetime) -> Tariff:
    """The tariff with a spot price as the market names it now; the same one where it says nothing new.

    A price holds from the first instance-hour that begins while it is in force: one that came in the middle of the hour
    that runs counts from the next, when it is noted then. Noting it again changes nothing."""
    hour = _hour_from(tariff.launched_at, market.seen_at)
    if tariff.launched_at + hour * HOUR > now:
        return tariff
    if not tariff.prices:
        return replace(tariff, prices=((0, market.price),), estimated=hour > 0)
    hour = max(hour, tariff.prices[-1][0])
    earlier = tuple(step for step in tariff.prices if step[0] < hour)
    estimated = tariff.estimated and bool(earlier)
    if tariff.prices[-1][1] == market.price:
        return replace(tariff, estimated=estimated)
    return replace(tariff, prices=_bounded((*earlier, (hour, market.price))), estimated=estimated)


def _hour_from(launched_at: datetime, instant: datetime) -> int:
    """The first instance-hour that begins at or after the instant."""
    return max(0, -((launched_at - instant) // HOUR))


def _bounded(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    if len(steps) <= STEPS_MOST:
        return steps
    (first, price), (second, next_price), (third, _), *_ = steps
    mean = (price * (second - first) + next_price * (third - second)) / (third - first)
    return ((first, mean.quantize(_PRICE_STEP)), *steps[2:])


def cost(tariff: Tariff, begin: datetime, end: datetime) -> Charge | None:
    """What the whole instance costs in [begin, end), to the millionth of a dollar; None: no price is known.

    Two hours at $0.30, of which the second at $0.40 instead, with $0.02 beside: 0.30 + 0.40 + 2 x 0.02 = $0.74."""
    if not tariff.prices:
        return None
    starts = [tariff.launched_at + hour * HOUR for hour, _ in tariff.prices]
    spans = zip(tariff.prices, starts, [*starts[1:], end], strict=True)
    paid = sum((price * _hours(max(at, begin), min(until, end)) for (_, price), at, until in spans), Decimal())
    hours = _hours(max(begin, tariff.launched_at), end)
    usd = paid + tariff.beside * hours
    return Charge(
        usd=_rounded(usd),
        on_demand_usd=_rounded(usd if tariff.on_demand is None else (tariff.on_demand + tariff.beside) * hours),
        estimated=tariff.estimated,
    )


def charged_slots(lease: Lease, of: int) -> Decimal:
    """What the lease is charged of an instance with `of` slots; of a job of resources not a whole number."""
    return Decimal(lease.slots) if lease.share is None else lease.share * of


def attempt_charge(tariff: Tariff, *, slots: int | Decimal, of: int, begin: datetime, end: datetime) -> Charge | None:
    """The charge of an attempt that held `slots` of the instance's `of`; None: no price is known.

    An auxiliary job takes no slot and is charged nothing: the slots beside it, used or idle, carry the instance."""
    whole = cost(tariff, begin, end)
    if whole is None or of == 0:
        return whole and replace(whole, usd=Decimal(), on_demand_usd=Decimal())
    share = min(Decimal(slots), Decimal(of)) / of
    return replace(whole, usd=_rounded(whole.usd * share), on_demand_usd=_rounded(whole.on_demand_usd * share))


def end_of(instance: Instance, now: datetime) -> datetime:
    """When an instance stopped costing: now, where EC2 has not reported its end.

    EC2 charges until it begins to end the instance: when it took our request, or at the end that it announced, or
    before it was first seen ending. An instance that called later than that had not ended then."""
    if instance.observed_state not in LOST:
        return now
    told = [instance.termination_requested_at, instance.ends_at, instance.observed_at]
    seen = min((at for at in told if at is not None), default=now)
    return min(now, max(seen, instance.heartbeat_at or instance.launched_at))


def bill_of(
    instance: Instance, tariff: Tariff | None, counted: Counted, now: datetime, leases: Sequence[Lease] = ()
) -> Bill:
    """The bill of an instance that has ended, or of one that runs, with these leases, as if all ended now."""
    ended_at = end_of(instance, now)
    charge = cost(tariff, instance.launched_at, ended_at) if tariff else None
    running = [_so_far(lease, instance, tariff, ended_at) for lease in leases if tariff]
    return Bill(
        pool=instance.pool,
        instance_id=instance.instance_id,
        instance_type=instance.instance_type,
        zone=instance.zone,
        capacity_type=instance.capacity_type,
        slots=instance.slots,
        launched_at=instance.launched_at,
        ended_at=ended_at,
        cost_usd=charge and charge.usd,
        on_demand_cost_usd=charge and charge.on_demand_usd,
        cost_estimated=charge is None or charge.estimated,
        leased_slot_seconds=counted.leased_slot_seconds
        + sum(
            (slot_seconds(charged_slots(each, instance.slots), each.claimed_at, ended_at) for each in leases), Decimal()
        ),
        leased_usd=counted.leased_usd + sum(running, Decimal(0)),
        interrupted_usd=counted.interrupted_usd,
    )


def _so_far(lease: Lease, instance: Instance, tariff: Tariff, ended_at: datetime) -> Decimal:
    slots = charged_slots(lease, instance.slots)
    charge = attempt_charge(tariff, slots=slots, of=instance.slots, begin=lease.claimed_at, end=ended_at)
    return charge.usd if charge else Decimal(0)


def spent_on(bill: Bill, since: datetime) -> Spent:
    """What was spent on an instance since then. Of one that was launched earlier, everything by the part of its life
    that lies in the period."""
    cost_usd = bill.cost_usd or Decimal(0)
    whole = Spent(
        spent_usd=cost_usd,
        on_demand_usd=bill.on_demand_cost_usd or cost_usd,
        idle_usd=max(Decimal(0), cost_usd - bill.leased_usd),
        interrupted_usd=bill.interrupted_usd,
        estimated=int(bill.cost_estimated),
    )
    return whole.part(share_since(bill.launched_at, bill.ended_at, since))


def share_since(begin: datetime, end: datetime, since: datetime) -> Decimal:
    """The part of [begin, end) that is not before `since`, from 0 to 1; of no time at all, all or nothing."""
    if begin >= since:
        return Decimal(1)
    return _hours(since, end) / _hours(begin, end) if end > begin else Decimal(0)


def slot_seconds(slots: Decimal, begin: datetime, end: datetime) -> Decimal:
    return slots * _hours(begin, end) * 3600


def _hours(begin: datetime, end: datetime) -> Decimal:
    """0 where the end is not after the beginning."""
    return Decimal(max(0, (end - begin) // _MICRO)) / (HOUR // _MICRO)


def _rounded(usd: Decimal) -> Decimal:
    return usd.quantize(_MILLIONTH)
