"""Whether the control plane could launch a pool's instances now: asked by the function that launches them, with its own
rights, and launching nothing.

An invocation `{"dry_run": "gpu"}` is answered with, for each capacity type that the pool may buy, EC2's refusals of the
calls that a pass would make, as reasons. Instead of a name there may be a whole pool's document, for one that is not
applied yet. Nothing is written, no event and no token is taken: the table is only read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from botocore.exceptions import ClientError

from lambdas.adapters.dry_runs import DryRuns
from lambdas.adapters.ec2 import LaunchTemplate
from lambdas.adapters.items import reason_document
from lambdas.adapters.launch_templates import LaunchTemplates
from lambdas.adapters.pool_table import PoolTable
from lambdas.adapters.request_bucket import RequestBucket
from lambdas.adapters.table import Unavailable
from lambdas.domain.buying.offerings import offerings
from lambdas.domain.buying.requests import MOST_OVERRIDES, strategy
from lambdas.domain.fleet.fleet import LaunchRequest, Override
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.pools.machine import template_data, template_name
from lambdas.domain.pools.pools import CapacityType, Pool, TypeFacts
from lambdas.domain.reasons import Reason, in_order
from lambdas.domain.refusals.refusals import Refusal, consequences
from lambdas.domain.settings import Settings

BETWEEN_CALLS = timedelta(seconds=1)
"""Half of what grows back at EC2 (two requests a second), which the whole account shares."""
BUDGET = timedelta(seconds=20)
"""From the first call to the last: whoever waits for the answer waits 30 s and more at most."""
TURN_LOOKS = 4
"""How often a moment is looked for in which no pass needs EC2's request rate, BETWEEN_CALLS apart."""


class ImageIds(Protocol):
    def of(self, types: tuple[TypeFacts, ...]) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What EC2 said of one capacity type."""

    capacity_type: CapacityType
    calls: int
    works: bool
    """EC2 said so of at least one instance, and refused nothing that concerns them all."""
    reasons: tuple[Reason, ...]

    def to_document(self) -> dict[str, Any]:
        reasons = [reason_document(reason) for reason in self.reasons]
        return {
            **{"capacity_type": self.capacity_type.value, "calls": self.calls, "works": self.works},
            "reasons": reasons,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    pools: PoolTable
    images: ImageIds
    calls: DryRuns
    templates: LaunchTemplates
    bucket: RequestBucket
    stack: str
    bases: Mapping[CapacityType, LaunchTemplate]
    subnets: tuple[tuple[str, str], ...]
    settings: Settings
    now: Callable[[], datetime]
    pause: Callable[[float], None]
    new_id: Callable[[], str]

    def answer(self, asked: object, time_left: Callable[[], timedelta]) -> dict[str, Any]:
        """`{"pool", "shapes": [{"capacity_type", "calls", "works", "reasons"}], "notes"}`, or `{"error"}` for what is
        no pool: a wrong question is no fault of the function's. Raises Fault where the table cannot be read."""
        pool = self._pool(asked)
        if pool is None:
            return {"error": f"no pool {asked!r} is stored" if isinstance(asked, str) else "not a pool"}
        notes: list[str] = []
        snapshot = self._snapshot(pool, notes)
        ends_at = self.now() + min(BUDGET, time_left() / 2)
        kinds = [pool.capacity_type(), *([CapacityType.ON_DEMAND] if pool.spot and pool.allows_on_demand() else [])]
        shapes = [self._shape(snapshot, kind, ends_at, notes) for kind in kinds]
        return {"pool": pool.name, "shapes": [shape.to_document() for shape in shapes], "notes": notes}

    def _pool(self, asked: object) -> Pool | None:
        if isinstance(asked, str):
            records = self.pools.records(asked)
            return records and records.pool
        try:
            return Pool.from_document(dict(asked)) if isinstance(asked, Mapping) else None
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError):
            return None

    def _snapshot(self, pool: Pool, notes: list[str]) -> Snapshot:
        """The pool with nothing in its way: no marks, no prices, nothing running."""
        return Snapshot(
            pool=pool,
            epoch=0,
            instances=(),
            leases=(),
            intentions=(),
            marks=(),
            queue=(),
            queue_complete=True,
            subnets=pool.subnets or self.subnets,
            images=self._images(pool, notes),
            prices=(),
            reasons=(),
            unfulfilled_since=None,
            stack_closing=False,
            settings=self.settings,
        )

    def _images(self, pool: Pool, notes: list[str]) -> tuple[tuple[str, str], ...]:
        if pool.image_id is not None:
            return tuple((facts.name, pool.image_id) for facts in pool.types)
        try:
            return tuple(sorted(self.images.of(pool.types).items()))
        except (Unavailable, ClientError) as error:
            notes.append(f"the public images could not be read: {error}")
            return ()

    def _shape(self, snapshot: Snapshot, kind: CapacityType, ends_at: datetime, notes: list[str]) -> Shape:
        pool, found = snapshot.pool, offerings(snapshot, kind, self.now())
        overrides = tuple(each.override() for each in found.open[:MOST_OVERRIDES])
        if not overrides:
            return Shape(capacity_type=kind, calls=0, works=False, reasons=found.blocked)
        request = LaunchRequest(
            capacity_type=kind,
            overrides=overrides,
            count=1,
            allocation_strategy=strategy(pool, kind),
        )
        whole, instances, calls = self._asked(pool, request, ends_at, notes)
        refusals = [refusal for refusal in (*whole, *instances) if refusal is not None]
        told = consequences(refusals, request=request, marks=(), now=self.now(), settings=self.settings)
        return Shape(
            capacity_type=kind,
            calls=calls,
            works=not any(whole) and None in instances,
            reasons=in_order((*told.reasons, *found.blocked)),
        )

    def _asked(
        self, pool: Pool, request: LaunchRequest, ends_at: datetime, notes: list[str]
    ) -> tuple[list[Refusal | None], list[Refusal | None], int]:
        """EC2's answers on the request as a whole, those on each instance, and the number of calls."""
        kind = request.capacity_type
        try:
            made_of, template, whole = self._template(pool, kind)
        except (Unavailable, ClientError) as error:
            return [_unreadable(error, kind)], [], 0
        if self._rate_is_free():
            named = replace(request, template=(template.template_id, template.version))
            whole.append(self.calls.rehearse_fleet(named, pool=pool.name, decision=self.new_id()))
        else:
            notes.append(f"{kind}: passes use up the stack's request rate just now, so a fleet was not asked for")
        sample = covering(request.overrides)
        instances = list(self._instances(pool, kind, sample, made_of, ends_at))
        if len(instances) < len(sample):
            left = len(sample) - len(instances)
            notes.append(
                f"{kind}: {left} of {len(sample)} offerings not asked for: no time, or no request rate to spare"
            )
        return whole, instances, len(whole) + len(instances)

    def _instances(
        self,
        pool: Pool,
        kind: CapacityType,
        sample: Sequence[Override],
        made_of: LaunchTemplate | Mapping[str, Any],
        ends_at: datetime,
    ) -> Iterator[Refusal | None]:
        for override in sample:
            self.pause(BETWEEN_CALLS.total_seconds())
            if self.now() >= ends_at or not self._rate_is_free():
                return
            yield self.calls.rehearse_instance(override, kind, made_of, pool=pool.name, decision=self.new_id())

    def _template(
        self, pool: Pool, kind: CapacityType
    ) -> tuple[LaunchTemplate | Mapping[str, Any], LaunchTemplate, list[Refusal | None]]:
        """What instances are made of, the template that the fleet names, and EC2's answer on making the pool's own,
        where it needs one that does not exist."""
        base = self.bases[kind]
        name = template_name(
            pool.machine,
            stack=self.stack,
            pool=pool.name,
            capacity_type=kind,
            base=f"{base.template_id}:{base.version}",
        )
        if name is None:
            return base, base, []
        data = template_data(self.templates.data(base), pool.machine)
        if (found := self.templates.find(name)) is not None:
            return data, found, []
        return data, base, [self.calls.rehearse_template(name, data, kind)]

    def _rate_is_free(self) -> bool:
        for _ in range(TURN_LOOKS):
            if self.bucket.spare():
                return True
            self.pause(BETWEEN_CALLS.total_seconds())
        return False


def covering(overrides: Sequence[Override]) -> list[Override]:
    """As few of them as name every instance type and every zone at least once: what EC2 refuses hangs on one or the
    other, and each costs a call.

    Four types in two zones take four: the first in the first zone, the second in the second, and so on."""
    kinds = list(dict.fromkeys(each.instance_type for each in overrides))
    zones = list(dict.fromkeys(each.zone for each in overrides))
    by_place = {(each.instance_type, each.zone): each for each in overrides}
    wanted = ((kinds[n % len(kinds)], zones[n % len(zones)]) for n in range(max(len(kinds), len(zones))))
    return [by_place[place] for place in wanted if place in by_place]


def _unreadable(error: Exception, kind: CapacityType) -> Refusal:
    """What EC2 said where it said something: a throttled call is Unavailable, caused by EC2's own error."""
    said = error if isinstance(error, ClientError) else error.__cause__
    if isinstance(said, ClientError):
        details = said.response.get("Error", {})
        code, message = details.get("Code", "Unknown"), details.get("Message", str(said))
        return Refusal(code=code, message=f"Launch template: {message}", capacity_type=kind)
    return Refusal(code="RequestTimeout", message=f"Launch template: {error}", capacity_type=kind)
