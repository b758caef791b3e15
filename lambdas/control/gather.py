"""What a pass reads before it decides: the queue's head, shared facts, prices and images. Nothing is decided here."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from botocore.exceptions import ClientError

from lambdas.adapters.pool_table import Begun, PoolTable, Records
from lambdas.adapters.stack_table import Shared, StackTable
from lambdas.adapters.table import Fault
from lambdas.domain.buying.bills import charged_slots
from lambdas.domain.fleet.observed import OVER
from lambdas.domain.fleet.snapshot import MarketPrice, Snapshot
from lambdas.domain.pools.pools import CapacityType, Pool, TypeFacts
from lambdas.domain.reasons import Reason, ReasonClass
from lambdas.domain.refusals.refusal_words import explain
from lambdas.domain.refusals.refusals import rule_for
from lambdas.domain.settings import Settings

IMAGES_KEPT = timedelta(days=1)
"""How long resolved images are used: AWS publishes new ones every week or two."""
PRICES_KEPT = 5
"""How long spot prices are used, in `settings.look_again` (5 minutes). EC2's own history lags by minutes; one call
serves every pool with the same types."""
PRICES_CHARGED = 15
"""The same for a pool that asks for nothing: its instances are charged by the hour at what they cost then."""
PRICES_SINCE = 60
"""How far back EC2 is asked since when a price holds, in `settings.look_again` (an hour): it holds then at the
beginning of the hour that AWS charges (bills.py). EC2 answers with every change since, some at most."""


class SpotPrices(Protocol):
    def spot_prices(self, instance_types: list[str], since: datetime, now: datetime) -> list[MarketPrice]: ...


class ImageIds(Protocol):
    def of(self, types: tuple[TypeFacts, ...]) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    snapshot: Snapshot
    notes: tuple[str, ...]
    """What could not be read and what is used instead, for the log line."""
    refused: tuple[Reason, ...] = ()
    """What the function may not read, as reasons; they count where the pool lacks instances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gatherer:
    pools: PoolTable
    stack: StackTable
    prices: SpotPrices
    images: ImageIds
    settings: Settings
    subnets: tuple[tuple[str, str], ...]
    """(zone, subnet id) of the stack, for pools that name none."""
    now: Callable[[], datetime]

    def gather(self, begun: Begun, records: Records) -> Gathered:
        pool = records.pool
        subnets = pool.subnets or self.subnets
        offerings = [(facts.name, zone) for facts in pool.types for zone, _ in subnets] if pool.spot else []
        queue, complete = self.pools.queue_head(pool, _room(records))
        if not complete:
            read = {job.job_id for job in queue}
            queue += tuple(job for job in self.pools.deadlines(pool.name, self.now()) if job.job_id not in read)
        shared = self.stack.shared(offerings, self.now())
        growing = (bool(queue) or _below_bounds(records)) and not pool.deleted
        notes: list[str] = []
        refused: list[Reason] = []
        prices = self._prices(offerings, shared, notes, _prices_kept(records, growing=growing))
        images = self._images(records, notes, refused) if growing else _known_images(records)
        snapshot = Snapshot(
            pool=pool,
            epoch=begun.epoch,
            instances=records.instances,
            leases=records.leases,
            intentions=records.intentions,
            marks=records.marks,
            queue=queue,
            queue_complete=complete,
            subnets=subnets,
            images=images,
            prices=prices,
            reasons=begun.reasons,
            unfulfilled_since=begun.unfulfilled_since,
            stack_closing=shared.closing,
            settings=self.settings,
            boot_failures=records.boot_failures,
            launch_times=begun.launch_times,
            availability=begun.availability,
            outage_ended_at=shared.outage_ended_at,
        )
        return Gathered(snapshot=snapshot, notes=tuple(notes), refused=tuple(refused))

    def _prices(
        self, offerings: list[tuple[str, str]], shared: Shared, notes: list[str], kept: int | None
    ) -> tuple[MarketPrice, ...]:
        """Those in the table while they are young; else EC2's, and the table's again where EC2 does not answer.

        `kept`: how long they are young, in `settings.look_again`; None: for ever."""
        now = self.now()
        if not offerings or kept is None:
            return shared.prices
        if shared.read_at is not None and now - shared.read_at < kept * self.settings.look_again:
            return shared.prices
        try:
            since = now - PRICES_SINCE * self.settings.look_again
            found = self.prices.spot_prices(sorted({name for name, _ in offerings}), since, now)
            self.stack.put_prices(offerings, found, now)
        except (Fault, ClientError) as error:
            notes.append(f"spot prices not read, the last known ones are used: {error}")
            return shared.prices
        wanted = set(offerings)
        return tuple(price for price in found if (price.instance_type, price.zone) in wanted)

    def _images(self, records: Records, notes: list[str], refused: list[Reason]) -> tuple[tuple[str, str], ...]:
        """The owner's image, those resolved within a day, else those that the public parameters name now."""
        known, now, pool = _known_images(records), self.now(), records.pool
        looked_up = dict(records.images) if records.images_at and now - records.images_at < IMAGES_KEPT else {}
        if pool.image_id is not None or all(facts.name in looked_up for facts in pool.types):
            return known
        try:
            found = self.images.of(pool.types)
            self.pools.put_images(pool.name, {**{facts.name: "" for facts in pool.types}, **found}, now)
        except (Fault, ClientError) as error:
            notes.append(f"images not resolved, the last known ones are used: {error}")
            refused.extend(_forbidden(error, pool, now))
            return known
        return tuple(sorted({**dict(known), **found}.items()))


def _forbidden(error: Exception, pool: Pool, now: datetime) -> list[Reason]:
    """The reason that names the missing permission, if that is what the error is about."""
    if not isinstance(error, ClientError):
        return []
    said = error.response.get("Error", {})
    code, message = said.get("Code", ""), said.get("Message", "")
    rule = rule_for(code, message)
    if rule.reason_class is not ReasonClass.PERMISSION:
        return []
    told, remedy = explain(rule, code, pool.capacity_type(), [(None, None, message)], None)
    return [Reason(reason_class=rule.reason_class, code=code, message=told, remedy=remedy, since=now, last_seen=now)]


def _prices_kept(records: Records, *, growing: bool) -> int | None:
    """How old prices may get in this pass, in `settings.look_again`; None: nobody needs them."""
    if growing:
        return PRICES_KEPT
    there = (each for each in records.instances if each.observed_state not in OVER)
    return PRICES_CHARGED if any(each.capacity_type is CapacityType.SPOT for each in there) else None


def _below_bounds(records: Records) -> bool:
    """Instances may be asked for without any job: for the minimum, a schedule's too, or to be warm."""
    pool, leased = records.pool, {lease.instance_id for lease in records.leases}
    least = max([pool.min_instances, *(each.min_instances or 0 for each in pool.schedules)])
    idle = sum(each.instance_id not in leased for each in records.instances)
    return len(records.instances) < least or idle < pool.warm_instances


def _known_images(records: Records) -> tuple[tuple[str, str], ...]:
    pool = records.pool
    if pool.image_id is not None:
        return tuple((facts.name, pool.image_id) for facts in pool.types)
    resolved = {name: image for name, image in records.images if image}
    return tuple(sorted({**dict(pool.images), **resolved}.items()))


def _room(records: Records) -> int:
    """Slots that the pool could still fill at its maximum: what it may grow by, and what its instances have free, of
    which a job of resources has its share, rounded down."""
    pool = records.pool
    most_slots = max((facts.slots for facts in pool.types), default=1)
    most = max([pool.max_instances, *(each.max_instances or 0 for each in pool.schedules)])
    return max(0, most * most_slots - int(sum(charged_slots(lease, most_slots) for lease in records.leases)))
