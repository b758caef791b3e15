"""CreateFleet of type `instant` as EC2 decides it: which offering gives how many, and each refusal in EC2's words.

Pure: the answer is a function of the request and of what the market can give at that instant. Nothing is launched here.
Wordings are those that public reports quote; where EC2 appends advice that depends on its own state, the advice is made
from ours.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from lowtide.market import catalogue
from lowtide.market.model import Lifecycle, Offering

LEAST_MAX_PRICE = Decimal("0.001")
"""EC2 refuses a MaxPrice that is not above this (API reference of FleetLaunchTemplateOverridesRequest)."""
MOST_TARGET_CAPACITY = 10_000
SPOT_STRATEGIES = (
    *("lowest-price", "diversified", "capacity-optimized", "capacity-optimized-prioritized"),
    "price-capacity-optimized",
)
ON_DEMAND_STRATEGIES = ("lowest-price", "prioritized")

SPOT_CAPACITY = "There is no Spot capacity available that matches your request."
UNFULFILLABLE = (
    "Unable to fulfill capacity due to your request configuration. Please adjust your request and try again."
)
SPOT_QUOTA = "Max spot instance count exceeded"
DUPLICATE_POOLS = "The fleet configuration contains duplicate instance pools."
THROTTLED = "Request limit exceeded."
TOKEN_REUSED = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."  # noqa: S105 (EC2's wording)


class Refused(Exception):
    """EC2 refuses the request as a whole: an error answer, nothing launched."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """One offering of the request, template and override merged."""

    offering: Offering
    subnet_id: str = ""
    image_id: str = ""
    image_architecture: str | None = None
    """None: not known, so not checked against the type's."""
    max_price: Decimal | None = None
    """USD per unit hour as asked; None: the on-demand price is the limit, EC2's own cap."""
    weight: int = 1
    """WeightedCapacity: units that one instance counts; the limit is per unit."""
    priority: float = 0.0
    """Lower is tried first by the prioritized strategies."""
    denied: tuple[str, str] | None = None
    """Code and message of a refusal that no market mends: a missing permission, an image that does not exist."""

    def limit(self) -> Decimal | None:
        """USD per instance-hour above which no spot instance is given; None: a type without a known price."""
        if self.max_price is not None:
            return self.max_price * self.weight
        return catalogue.on_demand_price(self.offering.instance_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    lifecycle: Lifecycle
    target: int
    """Units; instances where no override has a weight."""
    overrides: tuple[Override, ...]
    strategy: str = "lowest-price"
    minimum: int = 0
    """MinTargetCapacity: launch at least so many units or nothing."""
    client_token: str | None = None
    everything: str = ""
    """The whole request in one canonical text: what a repeated client token is compared by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One entry of the answer's `Errors`."""

    override: Override
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    granted: tuple[tuple[Override, int], ...]
    """Overrides in the order in which they were used, each with a number of instances above 0."""
    refusals: tuple[Refusal, ...]


class Supply(Protocol):
    """What the market can give right now."""

    def spot_price(self, offering: Offering) -> Decimal: ...

    def free(self, offering: Offering, lifecycle: Lifecycle) -> int:
        """Instances that the offering could take on now; 0 or less: none."""
        ...

    def quota_left(self, instance_type: str, lifecycle: Lifecycle) -> int:
        """vCPUs; less than the type has: not one more."""
        ...

    def quota(self, instance_type: str, lifecycle: Lifecycle) -> int:
        """vCPUs of the whole group of families."""
        ...

    def zones_of(self, instance_type: str) -> Sequence[str]: ...


def check(request: Request) -> None:
    """Raise what EC2 raises before it looks at the market at all."""
    if not request.overrides:
        raise Refused("InvalidFleetConfig", "The fleet configuration contains no instance pools.")
    if not 0 < request.target <= MOST_TARGET_CAPACITY:
        raise Refused(
            "InvalidParameterValue", f"Value ({request.target}) for parameter totalTargetCapacity is invalid."
        )
    _check_strategy(request)
    pools = [override.offering for override in request.overrides]
    # Two subnets of one zone are one pool to EC2, whatever the rest of the override says.
    if len(set(pools)) < len(pools):
        raise Refused("InvalidFleetConfig", DUPLICATE_POOLS)
    for override in request.overrides:
        if override.max_price is not None and override.max_price <= LEAST_MAX_PRICE:
            raise Refused(
                "InvalidParameterValue",
                f"Value ({override.max_price}) for parameter maxPrice is invalid. It must be greater than 0.001.",
            )


def _check_strategy(request: Request) -> None:
    spot = request.lifecycle is Lifecycle.SPOT
    if request.strategy not in (SPOT_STRATEGIES if spot else ON_DEMAND_STRATEGIES):
        where = "spotOptions" if spot else "onDemandOptions"
        raise Refused(
            "InvalidParameterValue", f"Value ({request.strategy}) for parameter {where}.allocationStrategy is invalid."
        )


def allocate(request: Request, supply: Supply, chance: random.Random, unfulfillable: float = 0.0) -> Allocation:
    """Who gives what. Offerings are tried in the strategy's order until the target is met; those that could not give
    all that was still wanted are refused with their reason. `unfulfillable` is the share of capacity refusals that
    EC2 words as UnfulfillableCapacity. Ties keep the request's order."""
    refusals = [refusal for override in request.overrides if (refusal := _impossible(override, request, supply))]
    possible = [o for o in request.overrides if all(o is not refusal.override for refusal in refusals)]
    left = _Left(request.lifecycle, supply)
    granted, short = _deal(_in_order(possible, request, supply), request, left)
    refusals += [_shortage(override, request, left, chance, unfulfillable) for override in short]
    if sum(count * override.weight for override, count in granted) < request.minimum:
        return Allocation(granted=(), refusals=(*refusals, *_given_back(granted)))
    return Allocation(granted=tuple(granted), refusals=tuple(refusals))


def _deal(
    ordered: Sequence[Override], request: Request, left: "_Left"
) -> tuple[list[tuple[Override, int]], list[Override]]:
    """What each gives, and which gave less than they were asked for. `diversified` asks everybody for an even share
    first and for the rest after that; the others ask the first for all."""
    even = -(-request.target // max(len(ordered), 1))
    rounds = (even, request.target) if request.strategy == "diversified" else (request.target,)
    granted: dict[int, int] = {}
    short: dict[int, None] = {}
    wanted = request.target
    for share in rounds:
        for index, override in enumerate(ordered):
            asked = -(-min(share, wanted) // override.weight)
            count = left.take(override, asked) if asked > 0 else 0
            wanted -= count * override.weight
            if count:
                granted[index] = granted.get(index, 0) + count
            if count < asked:
                short[index] = None
    return [(ordered[index], count) for index, count in granted.items()], [ordered[index] for index in short]


class _Left:
    """What is still to be had while one request is answered."""

    def __init__(self, lifecycle: Lifecycle, supply: Supply) -> None:
        self._lifecycle = lifecycle
        self._supply = supply
        self._vcpus_taken: dict[str, int] = {}
        self._taken: dict[Offering, int] = {}

    def take(self, override: Override, wanted: int) -> int:
        count = max(0, min(wanted, self.free(override), self.within_quota(override)))
        family, vcpus = _family(override)
        self._taken[override.offering] = self._taken.get(override.offering, 0) + count
        self._vcpus_taken[family] = self._vcpus_taken.get(family, 0) + count * vcpus
        return count

    def free(self, override: Override) -> int:
        return self._supply.free(override.offering, self._lifecycle) - self._taken.get(override.offering, 0)

    def within_quota(self, override: Override) -> int:
        family, vcpus = _family(override)
        left = self._supply.quota_left(override.offering.instance_type, self._lifecycle)
        return (left - self._vcpus_taken.get(family, 0)) // vcpus

    def quota(self, override: Override) -> int:
        return self._supply.quota(override.offering.instance_type, self._lifecycle)

    def elsewhere(self, override: Override) -> list[str]:
        """Zones that do have the type."""
        name = override.offering.instance_type
        return [z for z in self._supply.zones_of(name) if self._supply.free(Offering(name, z), self._lifecycle) > 0]


def _family(override: Override) -> tuple[str, int]:
    facts = catalogue.facts(override.offering.instance_type)
    return (facts.quota_family, facts.vcpus) if facts else ("Standard", 1)


def _impossible(override: Override, request: Request, supply: Supply) -> Refusal | None:
    """What no amount of capacity mends."""
    if wrong := unfit(override, request.lifecycle, supply.zones_of(override.offering.instance_type)):
        return Refusal(override=override, code=wrong[0], message=wrong[1])
    return _too_cheap(override, supply) if request.lifecycle is Lifecycle.SPOT else None


def unfit(override: Override, lifecycle: Lifecycle, zones: Sequence[str]) -> tuple[str, str] | None:
    """What EC2 finds wrong with an override without looking at the market, as a dry run does too: code and message.
    `zones`: where its type is offered. Of a type that is offered and not in the catalogue (recorded markets have types
    that EC2 no longer lists) nothing more is known, so nothing more is wrong with it."""
    name, zone = override.offering
    facts = catalogue.facts(name)
    if override.denied:
        return override.denied
    if facts is None and not zones:
        return "InvalidInstanceType", f"Invalid value '{name}' for InstanceType."
    if zone not in zones:
        return (
            "InvalidFleetConfiguration",
            f"Your requested instance type ({name}) is not supported in your requested Availability Zone ({zone}).",
        )
    if facts is None:
        return None
    if override.image_architecture and override.image_architecture not in facts.architectures:
        return (
            "InvalidParameterValue",
            f"The architecture '{'/'.join(facts.architectures)}' of the specified instance type does not match the "
            f"architecture '{override.image_architecture}' of the specified AMI. Specify an instance type and an AMI "
            "that have matching architectures, and try again. You can use 'describe-instance-types' or "
            "'describe-images' to discover the architecture of the instance type or AMI.",
        )
    if lifecycle is Lifecycle.SPOT and not facts.spot:
        return "UnsupportedOperation", f"Spot Instances are not supported for the requested instance type ({name})."
    return None


def _too_cheap(override: Override, supply: Supply) -> Refusal | None:
    """EC2 compares what was bid with what it would need, and names both; without a bid, the on-demand price."""
    price, limit = supply.spot_price(override.offering), override.limit()
    if limit is None or price <= limit:
        return None
    message = (
        f"Your Spot request price of {_plain(limit)} is lower than the minimum required Spot request fulfillment price "
        f"of {_plain(price)}."
    )
    return Refusal(override=override, code="SpotMaxPriceTooLow", message=message)


def _plain(price: Decimal) -> str:
    """EC2 prints prices without trailing zeros: 0.0319, 2."""
    return f"{price.normalize():f}"


def _in_order(possible: Sequence[Override], request: Request, supply: Supply) -> list[Override]:
    """The strategy's order. EC2 does not publish its measure of capacity; ours is free instances, on which
    price-capacity-optimized drops everything below half of the best before it looks at prices."""

    def price(override: Override) -> Decimal:
        if request.lifecycle is Lifecycle.SPOT:
            return supply.spot_price(override.offering) / override.weight
        return (catalogue.on_demand_price(override.offering.instance_type) or Decimal(0)) / override.weight

    def free(override: Override) -> int:
        return supply.free(override.offering, request.lifecycle)

    match request.strategy:
        case "prioritized":
            return sorted(possible, key=lambda o: o.priority)
        case "capacity-optimized":
            return sorted(possible, key=lambda o: -free(o))
        case "capacity-optimized-prioritized":
            return sorted(possible, key=lambda o: (free(o) <= 0, o.priority, -free(o)))
        case "price-capacity-optimized":
            best = max((free(o) for o in possible), default=0)
            return sorted(possible, key=lambda o: (free(o) * 2 < best, price(o)))
        case _:
            return sorted(possible, key=price)


def _shortage(
    override: Override, request: Request, left: _Left, chance: random.Random, unfulfillable: float
) -> Refusal:
    """Why an offering that could in principle be had gave less than was wanted. The quota is looked at first, as EC2
    does; a shortage of both reads as a quota."""
    spot = request.lifecycle is Lifecycle.SPOT
    if left.within_quota(override) <= 0:
        if spot:
            return Refusal(override=override, code="MaxSpotInstanceCountExceeded", message=SPOT_QUOTA)
        message = (
            f"You have requested more vCPU capacity than your current vCPU limit of {left.quota(override)} allows for "
            "the instance bucket that the specified instance type belongs to. Please visit "
            "http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit."
        )
        return Refusal(override=override, code="VcpuLimitExceeded", message=message)
    if chance.random() < unfulfillable:
        return Refusal(override=override, code="UnfulfillableCapacity", message=UNFULFILLABLE)
    message = SPOT_CAPACITY if spot else _on_demand_shortage(override, left.elsewhere(override))
    return Refusal(override=override, code="InsufficientInstanceCapacity", message=message)


def _on_demand_shortage(override: Override, elsewhere: Sequence[str]) -> str:
    name, zone = override.offering
    advice = f" or choosing {', '.join(elsewhere)}" if elsewhere else ""
    return (
        f"We currently do not have sufficient {name} capacity in the Availability Zone you requested ({zone}). Our "
        f"system will be working on provisioning additional capacity. You can currently get {name} capacity by not "
        f"specifying an Availability Zone in your request{advice}."
    )


def _given_back(granted: Sequence[tuple[Override, int]]) -> list[Refusal]:
    """MinTargetCapacity was out of reach: what could have been had is given back, under the same wording for each."""
    return [Refusal(override=override, code="UnfulfillableCapacity", message=UNFULFILLABLE) for override, _ in granted]


def seeded_chance(*parts: object) -> random.Random:
    """A source of chance of its own for whatever the parts name: order and number of other draws do not move it."""
    text = "/".join(str(part) for part in parts)
    return random.Random(hashlib.sha256(text.encode()).digest())  # noqa: S311 (a model, no secret)
