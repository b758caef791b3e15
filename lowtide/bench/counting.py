"""What the control plane calls, counted exactly where every call is seen: in the simulated world (lowtide/sim).

DynamoDB's units are reckoned from what is asked and answered: a write is one unit for each KB of a put item and one for
any other change, once more where it changes an index, and twice all that in a transaction; a read is one for each 4 KB
of its answer, half of that where it need not be consistent.
"""

import json
import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from math import ceil
from typing import Any

from lambdas import names
from lambdas.domain.pools.pools import Pool, TypeFacts
from lambdas.domain.settings import Settings
from lowtide.market import catalogue
from lowtide.market.model import Lifecycle, Offering
from lowtide.market.unkindness import Unkindness
from lowtide.sim.calls import Request, Response
from lowtide.sim.functions import Function
from lowtide.sim.world import World

INSTANCE_TYPE = "c7i.large"
_INDEXED = ("gpk", "gsk")
"""Attributes whose change is one of the index too."""


@dataclass
class Counted:
    calls: Counter[tuple[Function, str]] = field(default_factory=Counter[tuple[Function, str]])
    """(function, `service.operation`) -> calls."""
    invocations: Counter[Function] = field(default_factory=Counter[Function])
    write_units: float = 0
    read_units: float = 0
    partition_writes: Counter[str] = field(default_factory=Counter[str])
    """Partition key -> write units; the index's partitions begin with `index `."""
    partition_reads: Counter[str] = field(default_factory=Counter[str])
    cpu_seconds: float = 0
    """Of the functions, with the fakes that answer them; not of the world around."""

    def of(self, operation: str) -> int:
        return sum(count for (_, each), count in self.calls.items() if each == operation)

    def total(self) -> int:
        return self.calls.total()

    def add(self, other: "Counted") -> None:
        self.calls += other.calls
        self.invocations += other.invocations
        self.write_units += other.write_units
        self.read_units += other.read_units
        self.partition_writes += other.partition_writes
        self.partition_reads += other.partition_reads
        self.cpu_seconds += other.cpu_seconds


class Count:
    """Hears of every call that a function makes, and adds it to `now`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.now = Counted()
        self._invoke, world.functions.invoke = world.functions.invoke, self._timed

    def _timed(self, function: Function, event: Any) -> Any:
        began = time.process_time()
        try:
            return self._invoke(function, event)
        finally:
            self.now.cpu_seconds += time.process_time() - began

    def called(self, function: Function, operation: str, request: Request) -> None:
        self.now.calls[function, operation] += 1
        if operation.startswith("dynamodb."):
            self._written(operation.removeprefix("dynamodb."), request)

    def ended(self, function: Function, *, crashed: bool) -> None:  # noqa: ARG002 - an observer's signature
        self.now.invocations[function] += 1

    def before(self, operation: str, request: Request) -> None: ...

    def after(self, operation: str, request: Request, response: Response) -> None:
        kind = operation.removeprefix("dynamodb.")
        if kind in ("query", "get_item"):
            units = max(1, ceil(_bytes(response.get("Items") or response.get("Item") or {}) / 4096))
            units = units if request.get("ConsistentRead") else units / 2
            self.now.read_units += units
            self.now.partition_reads[_read_place(request)] += ceil(units)
        elif kind == "batch_get_item":
            found = [item for items in response.get("Responses", {}).values() for item in items]
            self.now.read_units += max(1, sum(ceil(_bytes(item) / 4096) for item in found))

    def _written(self, kind: str, request: Request) -> None:
        if kind == "transact_write_items":
            for each in request["TransactItems"]:
                ((what, change),) = each.items()
                self._count(change, 2 * (1 if what == "ConditionCheck" else _units(change)))
        elif kind in ("put_item", "update_item", "delete_item"):
            self._count(request, _units(request))

    def _count(self, change: Mapping[str, Any], units: int) -> None:
        self.now.write_units += units
        place = (change.get("Item") or change["Key"])[names.TABLE_PK]["S"]
        self.now.partition_writes[place] += units
        if _touches_index(change):
            self.now.partition_writes[f"index {_index_place(change)}"] += 1


def _units(change: Mapping[str, Any]) -> int:
    return max(1, ceil(_bytes(change.get("Item", {})) / 1024)) + _touches_index(change)


def _touches_index(change: Mapping[str, Any]) -> bool:
    return "gpk" in change.get("Item", {}) or "gpk" in str(change.get("UpdateExpression", ""))


def _index_place(change: Mapping[str, Any]) -> str:
    values = change.get("Item", {}).get("gpk") or change.get("ExpressionAttributeValues", {}).get(":gpk") or {}
    return str(values.get("S", "due"))


def _read_place(request: Request) -> str:
    if "Key" in request:
        return str(request["Key"][names.TABLE_PK]["S"])
    found = [value["S"] for value in request["ExpressionAttributeValues"].values() if "S" in value]
    return f"index {found[0]}" if "IndexName" in request else str(found[0])


def _bytes(told: object) -> int:
    return len(json.dumps(told, default=str))


class Calm:
    """A market in which everything is to be had at a third of its price, for ever."""

    def price(self, offering: Offering, at: datetime) -> Decimal:  # noqa: ARG002 - a protocol's signature
        return ((catalogue.on_demand_price(offering.instance_type) or Decimal(1)) / 3).quantize(Decimal("0.0001"))

    def capacity(self, offering: Offering, lifecycle: Lifecycle, at: datetime) -> int:  # noqa: ARG002 - as above
        return 10**6

    def next_change(self, offering: Offering, after: datetime) -> datetime | None:  # noqa: ARG002 - as above
        return None


def world() -> tuple[World, Count]:
    """A stack without pools, and who counts its calls."""
    made = World(conditions=Calm(), unkindness=Unkindness.none(), settings=Settings())
    counter = Count(made)
    made.observers.append(counter)
    made.hook = counter
    return made, counter


@contextmanager
def counted(counter: Count) -> Generator[Counted]:
    """What is called inside."""
    counter.now = Counted()
    yield counter.now


def pool(name: str, *, most: int, **changes: Any) -> Pool:
    """Of one type with one slot: every job that waits is an instance that is missing."""
    known = catalogue.facts(INSTANCE_TYPE)
    assert known is not None
    facts = TypeFacts(
        name=INSTANCE_TYPE,
        vcpus=known.vcpus,
        memory_mib=known.memory_mib,
        gpus=known.gpus,
        architecture=known.architectures[0],
        on_demand_price=catalogue.on_demand_price(INSTANCE_TYPE),
        slots=1,
    )
    idle = timedelta(minutes=5)
    return Pool(name=name, types=(facts,), spot=True, max_instances=most, max_idle_agent_period=idle, **changes)
