"""Keeping what a pool's instances cost: each pass notes the spot prices that it read, where they say something new.

Nothing is decided by it, so it never fails a pass: what could not be noted is noted by the next one, with the instant
from which it held.
"""

from collections.abc import Iterator
from datetime import datetime

from lambdas.adapters.pool_table import PoolTable, Records
from lambdas.adapters.table import Fault
from lambdas.domain.buying.bills import Tariff, noted, tariff_of
from lambdas.domain.fleet.observed import OVER
from lambdas.domain.fleet.snapshot import Snapshot
from lambdas.domain.pools.pools import CapacityType

NOTED_A_PASS = 100
"""Instances whose prices one pass notes: half a second. The next pass goes on; a price that came late still counts
from the hour in which it began."""


def note_prices(pools: PoolTable, records: Records, snapshot: Snapshot, now: datetime) -> tuple[str, ...]:
    """Notes for the log line; none where all went well."""
    try:
        for number, (instance_id, tariff) in enumerate(_changed(records, snapshot, now)):
            if number == NOTED_A_PASS:
                break
            pools.put_tariff(snapshot.pool.name, instance_id, tariff)
    except Fault as error:
        return (f"prices not noted, the next pass does: {error}",)
    return ()


def _changed(records: Records, snapshot: Snapshot, now: datetime) -> Iterator[tuple[str, Tariff]]:
    """The instances that have no tariff yet, and those whose market price is another one since an hour of theirs."""
    market = snapshot.market()
    for instance in snapshot.instances:
        if instance.observed_state in OVER:
            continue
        stored = records.tariffs.get(instance.instance_id)
        tariff = stored or tariff_of(instance, snapshot.pool, market)
        price = market.get((instance.instance_type, instance.zone))
        if price is not None and instance.capacity_type is CapacityType.SPOT:
            tariff = noted(tariff, price, now)
        if tariff != stored:
            yield instance.instance_id, tariff
