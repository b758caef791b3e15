"""Which offerings (type x zone, of one capacity type) may be asked for now, and why the others may not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from lambdas.domain.fleet.fleet import OfferingMark, Override
from lambdas.domain.fleet.observed import taken_at
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.pools.pools import CapacityType, Pool, TypeFacts
from lambdas.domain.reasons import OwnCode, Reason, ReasonClass
from lambdas.domain.refusals.refusal_table import PRICE_REMEDY
from lambdas.domain.refusals.refusal_words import price_message
from lambdas.domain.refusals.refusals import ANY, reasons_of_marks, rule_for

_UNTIL_APPLIED = frozenset({ReasonClass.PERMISSION, ReasonClass.CONFIGURATION, ReasonClass.PRICE})
"""Classes that an owner's change of the pool may have mended: older marks of these are asked about again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offering:
    facts: TypeFacts
    zone: str
    subnet_id: str
    image_id: str
    capacity_type: CapacityType
    max_price: Decimal | None
    """What EC2 is told: USD per instance-hour; None: nothing."""
    market_price: Decimal | None
    """Latest known; None: not known, or on-demand."""

    @property
    def expected_price(self) -> Decimal:
        """USD per hour, for comparing: the market's, else the on-demand price, else one that grows with its size."""
        known = self.market_price if self.market_price is not None else self.facts.on_demand_price
        return known if known is not None else Decimal(self.facts.vcpus) / 20 + 2 * self.facts.gpus

    def hopeless(self) -> bool:
        """The market is known to be above the limit."""
        return self.max_price is not None and self.market_price is not None and self.market_price > self.max_price

    def override(self) -> Override:
        return Override(
            instance_type=self.facts.name,
            zone=self.zone,
            subnet_id=self.subnet_id,
            image_id=self.image_id,
            max_price=self.max_price,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Offerings:
    open: tuple[Offering, ...]
    """May be asked for."""
    blocked: tuple[Reason, ...]
    """Why the others may not; no history yet (`since` is the mark's, or now)."""
    next_open_at: datetime | None
    """When the next of the others may be asked for; None: no time is known, or none is blocked."""
    probing: bool
    """True: the market makes every one of `open` hopeless, and one real call is due all the same."""


def offerings(snapshot: Snapshot, capacity_type: CapacityType, now: datetime) -> Offerings:
    """The pool's offerings of this capacity type, in the order of its types, then of its zones."""
    every = _every(snapshot, capacity_type)
    marks = marks_in_force(snapshot, capacity_type, now)
    unmarked = [each for each in every if not any(_covers(mark, each) for mark in marks)]
    hopeful = [each for each in unmarked if not each.hopeless()]
    probe_at = _probe_at(snapshot, capacity_type)
    probing = not hopeful and bool(unmarked) and (probe_at is None or probe_at <= now)
    hopeless = [each for each in unmarked if each.hopeless()]
    ends = [mark.until for mark in marks]
    if hopeless and not probing:
        ends += [probe_at] if probe_at and probe_at > now else []
    return Offerings(
        open=tuple(_calmer(unmarked if probing else hopeful, snapshot, now)),
        blocked=(
            *reasons_of_marks(marks, _highest_limit(every)),
            *_price_reasons(hopeless, capacity_type, probe_at, now),
            *_missing_parts(snapshot, capacity_type, now),
        ),
        next_open_at=min(ends, default=None),
        probing=probing,
    )


def _every(snapshot: Snapshot, capacity_type: CapacityType) -> list[Offering]:
    """One per type and zone; a type without an image is left out."""
    pool, images = snapshot.pool, dict(snapshot.images)
    spot = capacity_type is CapacityType.SPOT
    market = {(price.instance_type, price.zone): price.price for price in snapshot.prices} if spot else {}
    return [
        Offering(
            facts=facts,
            zone=zone,
            subnet_id=subnet,
            image_id=images[facts.name],
            capacity_type=capacity_type,
            max_price=pool.price_limit(facts) if spot else None,
            market_price=market.get((facts.name, zone)),
        )
        for facts in pool.types
        if facts.name in images and not (spot and pool.lacks_price(facts))
        for zone, subnet in snapshot.subnets
    ]


def marks_in_force(snapshot: Snapshot, capacity_type: CapacityType, now: datetime) -> list[OfferingMark]:
    return [
        mark
        for mark in snapshot.marks
        if mark.capacity_type is capacity_type
        and mark.until > now
        and not _mended(mark, snapshot.pool)
        and not _fallen_below_limit(mark, snapshot)
    ]


def _mended(mark: OfferingMark, pool: Pool) -> bool:
    """The owner has changed the pool since EC2 refused, in a way that may have been the remedy."""
    changed = pool.applied_at is not None and mark.marked_at < pool.applied_at
    return changed and rule_for(mark.code, mark.message).reason_class in _UNTIL_APPLIED


def _fallen_below_limit(mark: OfferingMark, snapshot: Snapshot) -> bool:
    """Since EC2 refused for the price, the market has moved to one that the pool pays. Its history lags: a price from
    before the refusal says nothing."""
    if rule_for(mark.code, mark.message).reason_class is not ReasonClass.PRICE:
        return False
    facts = snapshot.pool.facts(mark.instance_type)
    limit = None if facts is None else snapshot.pool.price_limit(facts)
    return limit is not None and any(
        (price.instance_type, price.zone) == (mark.instance_type, mark.zone)
        and price.seen_at > mark.marked_at
        and price.price <= limit
        for price in snapshot.prices
    )


def _covers(mark: OfferingMark, offering: Offering) -> bool:
    return mark.instance_type in (ANY, offering.facts.name) and mark.zone in (ANY, offering.zone)


def _probe_at(snapshot: Snapshot, capacity_type: CapacityType) -> datetime | None:
    """When a real call is due although the market says that it is hopeless: `settings.probe` after the last one that
    EC2 answered with a mark or has not answered yet. None: there was none."""
    asked = [mark.marked_at for mark in snapshot.marks if mark.capacity_type is capacity_type]
    asked += [each.created_at for each in snapshot.intentions if each.request.capacity_type is capacity_type]
    return max(asked) + snapshot.settings.probe if asked else None


def _calmer(found: Sequence[Offering], snapshot: Snapshot, now: datetime) -> Sequence[Offering]:
    """Without those from which EC2 takes an instance back just now, announced or not, while others remain."""
    period = snapshot.settings.interrupted_cooldown
    taken = {
        (each.instance_type, each.zone)
        for each in snapshot.instances
        if (at := taken_at(each)) is not None and now < at + period
    }
    calm = [each for each in found if (each.facts.name, each.zone) not in taken]
    return calm or found


def _highest_limit(found: Sequence[Offering]) -> Decimal | None:
    return max((each.max_price for each in found if each.max_price is not None), default=None)


def _price_reasons(
    hopeless: list[Offering], capacity_type: CapacityType, probe_at: datetime | None, now: datetime
) -> list[Reason]:
    """One reason for all offerings above their limit, naming the one that misses it by least."""
    if not hopeless:
        return []
    nearest = min(hopeless, key=lambda each: (each.expected_price - (each.max_price or 0), each.expected_price))
    where = f"{nearest.zone} ({nearest.facts.name})"
    return [
        Reason(
            reason_class=ReasonClass.PRICE,
            code=OwnCode.PRICE_ABOVE_LIMIT,
            message=price_message((nearest.expected_price, where), nearest.max_price) or "",
            remedy=PRICE_REMEDY,
            since=now,
            last_seen=now,
            capacity_type=capacity_type,
            instance_type=nearest.facts.name,
            availability_zone=nearest.zone,
            next_attempt=probe_at if probe_at and probe_at > now else None,
        )
    ]


def _missing_parts(snapshot: Snapshot, capacity_type: CapacityType, now: datetime) -> list[Reason]:
    """Without a subnet, or an image for a type, there is nothing to ask for."""
    found: list[tuple[OwnCode, str, str, str | None]] = []
    if not snapshot.subnets:
        remedy = "Name subnets in subnet_ids, or deploy the stack with `-c subnet_ids=…`."
        found.append((OwnCode.NO_SUBNETS, "the pool and the stack have no subnet to launch into", remedy, None))
    for facts in snapshot.pool.types:
        if facts.name not in dict(snapshot.images):
            remedy = "Set image_id in the pool file, or apply the pool again: `lowtide pools apply FILE`."
            found.append((OwnCode.NO_IMAGE, f"no image is known for {facts.name}", remedy, facts.name))
        if capacity_type is CapacityType.SPOT and snapshot.pool.lacks_price(facts):
            message = f"the price limit is {snapshot.pool.spot_max_percent}% of the on-demand price of {facts.name}"
            remedy = "Set spot_max_price in dollars, or apply the pool again once the price list has the type."
            found.append((OwnCode.NO_PRICE, f"{message}, which is not known", remedy, facts.name))
    return [
        Reason(
            reason_class=ReasonClass.CONFIGURATION,
            code=code,
            message=message,
            remedy=remedy,
            since=now,
            last_seen=now,
            capacity_type=capacity_type,
            instance_type=instance_type,
        )
        for code, message, remedy, instance_type in found
    ]
