"""Shorthand for tests of the plan."""

from typing import Any, TypeVar

from lambdas.domain.fleet.actions import Launch, Retire, Terminate
from lambdas.domain.fleet.fleet import Instance, InstanceState, OfferingMark
from lambdas.domain.fleet.snapshot import MarketPrice
from lambdas.domain.plan.plan import Plan, plan
from tests.domain.build import (
    NOW,
    ZONES,
    after,
    instance,
    job,
    kind,
    mark,
    price,
    snapshot,
)

A = TypeVar("A")
LAUNCHING = InstanceState.LAUNCHING
DRAINING = InstanceState.DRAINING
LARGE, SMALL = kind("g5.48xlarge", 8, "16.29"), kind("g5.xlarge", 1, "1.01")


def planned(**world: Any) -> Plan:
    return plan(snapshot(**world), NOW)


def of(kind_of_action: type[A], decided: Plan) -> list[A]:
    return [action for action in decided.actions if isinstance(action, kind_of_action)]


def counts(decided: Plan) -> list[int]:
    return [launch.request.count for launch in of(Launch, decided)]


def launched(decided: Plan) -> int:
    return sum(counts(decided))


def ended(decided: Plan) -> set[str]:
    ends = [action for action in decided.actions if isinstance(action, Retire | Terminate)]
    return {instance_id for action in ends for instance_id in action.instance_ids}


def zones(launch: Launch) -> set[str]:
    return {override.zone for override in launch.request.overrides}


def classes(decided: Plan) -> list[str]:
    return [str(reason.reason_class) for reason in decided.reasons]


def codes(decided: Plan) -> list[str]:
    return [reason.code for reason in decided.reasons]


def jobs(count: int, slots: int = 8) -> tuple[Any, ...]:
    return tuple(job(slots) for _ in range(count))


def interrupted(name: str = "i-1", **changes: Any) -> Instance:
    return instance(name, **{"state": DRAINING, "ends_at": after(110), "idle_since": None, **changes})


def everywhere(code: str = "InsufficientInstanceCapacity", **changes: Any) -> tuple[OfferingMark, ...]:
    return tuple(mark(code, zone, **changes) for zone in ZONES)


def market(amount: str) -> tuple[MarketPrice, ...]:
    return tuple(price(amount, zone) for zone in ZONES)
