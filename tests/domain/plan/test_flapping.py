"""A market that opens and closes every few minutes, and how often a pool with a fallback changes between the two."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from lambdas.domain.fleet.fleet import Instance, InstanceState
from lambdas.domain.plan.plan import plan
from lambdas.domain.pools.pools import CapacityType, OnDemandFallback
from tests.domain.build import NOW, job, pool, snapshot
from tests.domain.effects import applied, claimed, finished

STEP = timedelta(seconds=20)
FALLBACK = OnDemandFallback(after=timedelta(minutes=5), return_after=timedelta(minutes=30))


class Market:
    """Spot capacity for some minutes, none for as many; one job of ten minutes after the other."""

    def __init__(self, minutes: int) -> None:
        self.now = NOW
        self.period = timedelta(minutes=minutes)
        self.world = snapshot(pool=pool(on_demand_fallback=FALLBACK), queue=(job(queued_at=NOW, submitted_at=NOW),))
        self.since: datetime | None = None
        self.done = 0
        self.runs_on: list[CapacityType] = []
        """Each time the job began on another lifecycle than before."""

    def open(self) -> bool:
        return ((self.now - NOW) // self.period) % 2 == 0

    def run(self, hours: int) -> None:
        while self.now < NOW + timedelta(hours=hours):
            self.now += STEP
            self._instances()
            decided = plan(replace(self.world, unfulfilled_since=self.since), self.now)
            self.since = (self.since or self.now) if decided.numbers.unfulfilled else None
            spot = [a for a in decided.actions if getattr(getattr(a, "request", None), "capacity_type", None) == "spot"]
            refused = "InsufficientInstanceCapacity" if spot and not self.open() else None
            self.world = applied(self.world, decided, self.now, refusing=refused)

    def _instances(self) -> None:
        fleet = tuple(map(self._grown, self.world.instances))
        leases = tuple(replace(each, renewed_at=self.now) for each in self.world.leases)
        self.world = replace(self.world, instances=fleet, leases=leases)
        self._finish()
        for each in fleet:
            before = len(self.world.leases)
            if each.state is InstanceState.RUNNING:
                self.world = claimed(self.world, each, self.now)
            if len(self.world.leases) > before and self.runs_on[-1:] != [each.capacity_type]:
                self.runs_on.append(each.capacity_type)

    def _finish(self) -> None:
        for each in self.world.leases:
            if self.now - each.claimed_at >= timedelta(minutes=10):
                self.world = finished(self.world, each.job_id, self.now)
                following = job(queued_at=self.now, submitted_at=self.now)
                self.world = replace(self.world, queue=(*self.world.queue, following))
                self.done += 1

    def _grown(self, each: Instance) -> Instance:
        """Boots in a minute; spot ends when the market shuts; what was asked to end is gone in the next step."""
        if each.termination_requested_at or (each.capacity_type is CapacityType.SPOT and not self.open()):
            return replace(each, state=InstanceState.DRAINING, observed_state="terminated")
        if each.state is InstanceState.LAUNCHING and self.now - each.launched_at >= timedelta(minutes=1):
            return replace(each, state=InstanceState.RUNNING, reported_at=self.now, heartbeat_at=self.now)
        return replace(each, heartbeat_at=self.now) if each.state is InstanceState.RUNNING else each


SWITCHES = {2: 0, 3: 0, 7: 34, 12: 29}
"""Changes in 12 hours, by the minutes for which the market is open and then shut."""
DOCUMENT = Path(__file__).parents[3] / "docs" / "pools.md"


@pytest.mark.parametrize("minutes", SWITCHES)
def test_a_market_that_opens_and_closes_makes_few_changes_between_spot_and_on_demand(minutes: int) -> None:
    """At most two in `return_after` and `after`, however often it shuts."""
    market = Market(minutes)
    market.run(hours=12)
    assert len(market.runs_on) - 1 <= 2 * timedelta(hours=12) / (FALLBACK.return_after + timedelta(minutes=5))
    assert len(market.runs_on) - 1 == SWITCHES[minutes], "docs/pools.md tells the figure"
    assert CapacityType.SPOT in market.runs_on


def test_the_document_tells_these_figures() -> None:
    periods, changes = (", ".join(map(str, each)) for each in (SWITCHES, SWITCHES.values()))
    assert f"open and shut for {periods} minutes at a time: {changes} changes" in DOCUMENT.read_text()


def test_a_market_that_stays_shut_long_enough_leads_to_on_demand_and_back() -> None:
    market = Market(90)
    market.run(hours=3)
    assert market.runs_on[:2] == [CapacityType.SPOT, CapacityType.ON_DEMAND]
